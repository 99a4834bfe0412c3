"""The folder of a job: which files it judges, in parts, and the rows of the finished ones.

    job.json                       the request, and how many files and parts there are; written last, when the job is created
    listings/0000.parquet          the paths of the files, a row group for each part; 0001 if files were added later, and so on
    parts/part-00000000.parquet    the rows of a part; it appears complete or not at all

A part that is judged twice, because a worker died between writing and reporting it, is written twice under the same name. So
each file has its rows once, whatever dies when.
"""

from __future__ import annotations

import io
import json
import os
import re
from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from importlib.metadata import version
from itertools import accumulate, islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fakecore import storage
from fakecore.errors import UserError
from fakecore.media.videofiles import SUFFIXES as VIDEOS
from fakecore.sets.archives import SUFFIXES as ARCHIVES
from fakecore.urls import base_name, is_url, is_web, join, shown
from fakedetect.engine.request import Request
from fakedetect.engine.rows import need_pyarrow, write_part

if TYPE_CHECKING:
    import pyarrow.parquet as pq

VERSION = 1
_SIZES = ((16, 64), (500, 256), (1000, 1024))  # (parts, files in each) up to that part; in later ones, _LARGEST
_LARGEST = 4096
_LONG, _SUFFIXES = 64, (*VIDEOS, *ARCHIVES)  # a video or an archive counts as so many files
_FACTS, _LISTINGS, _PARTS = "job.json", "listings", "parts"
_MOST_LISTING = 4 << 30  # bytes: a hundred million paths
_PART_NAME = re.compile(r"part-(\d{8})\.parquet")


@dataclass(frozen=True)
class Progress:
    """How many parts of a job have rows, of how many, and how many of its files are in parts without."""

    parts: int
    parts_finished: int
    files: int
    files_left: int

    @property
    def is_complete(self) -> bool:
        return self.parts_finished == self.parts


@dataclass(frozen=True)
class Job:
    """A job in the folder or at the URL `place`. `asked` are the paths that it was created with, `folder` the working folder
    that relative ones are in; `listings` has the number of files in each part, for each listing.
    """

    place: str
    request: Request
    asked: tuple[str, ...]
    folder: str
    listings: tuple[tuple[int, ...], ...]
    _opened: dict[int, pq.ParquetFile] = field(default_factory=dict, compare=False, repr=False)

    @staticmethod
    def exists(place: str) -> bool:
        """Return whether there is a job at `place`. Raises UserError if the store does not say."""
        return storage.exists(join(place, _FACTS))

    @staticmethod
    def create(
        place: str, request: Request, asked: Sequence[str], files: Iterable[str], part_files: int | None = None
    ) -> Job:
        """Write the listing of `files`, `part_files` in each part, and then the facts of the job; return it. By default, the
        first parts are small, so that a small job has work for all workers, and the later ones large: each is a file, and
        `report` opens all of them.

        Raises UserError if it cannot be written, and without pyarrow.
        """
        counts = _write_listing(place, 0, files, part_files)
        job = Job(place, request, tuple(map(shown, asked)), os.getcwd(), (counts,))  # noqa: PTH109  text, for JSON
        job._write_facts()
        return job

    @staticmethod
    def open(place: str) -> Job:
        """Return the job at `place`. Raises UserError if there is none, or one of a newer version."""
        where = join(place, _FACTS)
        try:
            facts = json.loads(storage.read_bytes(where))
            if facts["version"] > VERSION:
                raise UserError(
                    f"{shown(where)} is of a newer fakelab", got=facts["fakelab"], remedy="Upgrade fakelab."
                )
            listings = tuple(tuple(counts) for counts in facts["listings"])
            return Job(place, Request.from_json(facts["request"]), tuple(facts["asked"]), facts["folder"], listings)
        except (ValueError, KeyError, TypeError):
            remedy = "Delete the folder, and create the job again."
            raise UserError(f"{shown(where)} is damaged, or is not a job of score", remedy=remedy) from None

    def extended(self, files: Iterable[str], part_files: int | None = None) -> Job:
        """Add those of `files` that are in no listing yet, as further parts; return the job with them, or itself."""
        known = {path for number in range(self.parts) for path in self.files_of(number)}
        counts = _write_listing(self.place, len(self.listings), (one for one in files if one not in known), part_files)
        if not counts:
            return self
        job = Job(self.place, self.request, self.asked, self.folder, (*self.listings, counts))
        job._write_facts()
        return job

    @property
    def parts(self) -> int:
        return sum(map(len, self.listings))

    @property
    def files(self) -> int:
        return sum(map(sum, self.listings))

    def count_of(self, part: int) -> int:
        """Return the number of files in a part."""
        listing, place = self._place_of(part)
        return self.listings[listing][place]

    def files_of(self, part: int) -> list[str]:
        """Return the paths of the files of a part. Raises UserError if the listing cannot be read."""
        listing, place = self._place_of(part)
        column = self._listing(listing).read_row_group(place, columns=["path"]).column("path")
        return [os.fsdecode(path) for path in column.to_pylist()]

    def commit(self, part: int, rows: list[dict]) -> None:
        """Write the rows of a part. Raises UserError if they cannot be written."""
        content = io.BytesIO()
        write_part(content, rows, detectors=self.request.ids)
        storage.write_bytes(join(self.place, _PARTS, f"part-{part:08}.parquet"), content.getvalue())

    def finished(self) -> set[int]:
        """Return the numbers of the parts whose rows are written."""
        try:
            names = [one.url.rpartition("/")[2] for one in storage.list_files(join(self.place, _PARTS))]
        except storage.StorageError as error:
            if error.is_missing:
                return set()
            raise
        return {int(found[1]) for name in names if (found := _PART_NAME.fullmatch(name))}

    def progress(self) -> Progress:
        """Return how far the job is."""
        finished = self.finished()
        counts = [count for listing in self.listings for count in listing]
        left = [count for part, count in enumerate(counts) if part not in finished]
        return Progress(len(counts), len(counts) - len(left), sum(counts), sum(left))

    def rows_of(self, part: int, columns: list[str]) -> Iterator[dict[str, Any]]:
        """Yield some columns of the rows of a finished part."""
        import pyarrow.parquet as pq

        content = storage.read_bytes(join(self.place, _PARTS, f"part-{part:08}.parquet"))
        yield from pq.read_table(io.BytesIO(content), columns=columns).to_pylist()

    def _place_of(self, part: int) -> tuple[int, int]:
        """Return (the listing that a part is in, its place there)."""
        ends = list(accumulate(map(len, self.listings)))
        listing = bisect_right(ends, part)
        return listing, part - (ends[listing - 1] if listing else 0)

    def _listing(self, number: int) -> pq.ParquetFile:
        if number not in self._opened:
            import pyarrow.parquet as pq

            content = storage.read_bytes(join(self.place, _LISTINGS, f"{number:04}.parquet"), most=_MOST_LISTING)
            self._opened[number] = pq.ParquetFile(io.BytesIO(content))
        return self._opened[number]

    def _write_facts(self) -> None:
        facts = {
            "version": VERSION,
            "fakelab": version("fakelab"),
            "asked": self.asked,
            "folder": self.folder,
            "request": self.request.to_json(),
            "files": self.files,
            "parts": self.parts,
            "listings": self.listings,
        }
        storage.write_bytes(join(self.place, _FACTS), (json.dumps(facts) + "\n").encode())


def progress_of(place: str) -> Progress | None:
    """Return how far the job at a path or URL is, None for other results. Raises UserError if its facts cannot be read."""
    is_file = is_web(place) or Path(base_name(place)).suffix.lower() in (".parquet", ".csv", ".jsonl")
    if is_file or not (is_url(place) or Path(place).is_dir()) or not Job.exists(place):
        return None
    return Job.open(place).progress()


def _write_listing(place: str, number: int, files: Iterable[str], part_files: int | None) -> tuple[int, ...]:
    """Write a listing, and return the number of files in each of its parts; write nothing if there are none."""
    need_pyarrow()
    import pyarrow as pa
    import pyarrow.parquet as pq

    # Bytes: the name of a file need not be valid Unicode.
    schema = pa.schema([pa.field("path", pa.binary(), nullable=False)])
    content, counts = io.BytesIO(), list[int]()
    with pq.ParquetWriter(content, schema, compression="zstd", use_dictionary=False) as writer:
        for part in _parts_of(files, part_files):
            writer.write_table(pa.table({"path": pa.array(map(os.fsencode, part), pa.binary())}, schema))
            counts.append(len(part))
    if counts:
        storage.write_bytes(join(place, _LISTINGS, f"{number:04}.parquet"), content.getvalue())
    return tuple(counts)


def _parts_of(files: Iterable[str], part_files: int | None) -> Iterator[list[str]]:
    """Yield the files in parts of `part_files`, or of the sizes that `Job.create` describes."""
    rest = iter(files)
    if part_files is not None:
        yield from iter(lambda: list(islice(rest, part_files)), [])
        return
    part: list[str] = []
    weight, number, most = 0, 0, _size_of(0)
    for path in rest:
        part.append(path)
        name = base_name(path) if is_url(path) else path
        weight += _LONG if name.lower().endswith(_SUFFIXES) else 1
        if weight >= most:
            yield part
            part, weight, number, most = [], 0, number + 1, _size_of(number + 1)
    if part:
        yield part


def _size_of(number: int) -> int:
    return next((size for end, size in _SIZES if number < end), _LARGEST)
