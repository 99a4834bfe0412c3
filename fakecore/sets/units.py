"""Make the units of a set of images: a batch of image files, or a range of shards.

Threads share the batches of a unit. Incomplete files are in a folder of the process, and appear in the set complete or not at
all, so that several processes may make the same unit at the same time.
"""

from __future__ import annotations

import json
import os
import uuid
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np

from fakecore import files
from fakecore.errors import unknown_name
from fakecore.labels import LABEL_NAMES, Label, Split
from fakecore.media.pixels import JPEG_QUALITY, PNG_LEVEL, encode_jpeg, encode_png
from fakecore.sets.imageset import ImageRecord, in_shard
from fakecore.sets.shards import tar_end, tar_member
from fakecore.sets.targets import Target

BATCH = 64  # images that a thread makes, encodes and writes in one call
SHARD = 1024  # consecutive images of one label, whose splits make one shard each


@dataclass(frozen=True)
class Format:
    """A file format of sets. `unit` is the number of images, by index, that are listed together."""

    encode: Callable[[np.ndarray, Label], bytes]
    suffix: str
    unit: int
    facts: dict  # for imageset.json

    @property
    def sharded(self) -> bool:
        return self.unit == SHARD

    def file_name(self, split: Split, label: Label, index: int) -> str:
        """Return the name of an image in the manifest."""
        if self.sharded:
            return f"{split}/{label}-{index // SHARD:06d}.tar/{label}-{index:06d}{self.suffix}"
        return f"{split}/{label}/{index:06d}{self.suffix}"


_PNG, _JPEG = {"png_level": PNG_LEVEL}, {"quality": JPEG_QUALITY, "subsampling": "4:4:4"}
FORMATS = {
    "png": Format(encode_png, ".png", BATCH, _PNG),
    "jpeg": Format(encode_jpeg, ".jpg", BATCH, _JPEG),
    "webdataset": Format(encode_png, ".png", SHARD, _PNG),
}


def choose_format(name: str) -> Format:
    """Return a format. Raises UserError for an unknown one."""
    if name not in FORMATS:
        raise unknown_name("image format", name, FORMATS)
    return FORMATS[name]


@dataclass(frozen=True)
class Wanted:
    """The wanted images of one label. Image i, of `count`, is a function of i; any thread may call it."""

    count: int
    records: Callable[
        [range, Callable[[Split, Label, int], str]], list[ImageRecord]
    ]  # given a function that names files
    pixels: Callable[[range], np.ndarray]  # uint8 (n, C, R, R)


def units_of(wanted: Mapping[Label, Wanted], size: int) -> list[tuple[Label, range]]:
    """Return all units, of `size` images, in the order of the manifest: reals and fakes alternate, so that its first lines
    contain both.
    """
    counts = {label: images.count for label, images in wanted.items()}
    return [
        (label, range(start, min(start + size, counts[label])))
        for start in range(0, max(counts.values()), size)
        for label in LABEL_NAMES.values()
        if start < counts.get(label, 0)
    ]


class Made(NamedTuple):
    """A unit whose files are complete in the set, and its lines of the manifest."""

    number: int
    lines: list[bytes]

    def save(self, folder: Path) -> None:
        """Write the lines to a folder, for the process that lists them."""
        files.write_bytes(unit_lines(folder, self.number), b"".join(self.lines))


def unit_lines(folder: Path, number: int) -> Path:
    """Return the path of the lines of a unit that another process made."""
    return folder / f"{number:08d}.jsonl"


class UnitWriter:
    """Makes units of a set at `target`. Files grow in `folder`, which exists and may be that of other processes too; for a
    target that is a folder, it is on the same file system.
    """

    def __init__(self, target: Target, folder: Path, wanted: Mapping[Label, Wanted], image_format: str, threads: int):
        self._target, self._wanted = target, wanted
        self._format = choose_format(image_format)
        self._units = units_of(wanted, self._format.unit)
        self._own = folder / uuid.uuid4().hex
        self._own.mkdir()
        self._threads = threads
        self._pool = ThreadPoolExecutor(threads)
        self._waiting: deque[tuple[Future, int | None]] = deque()
        self._lines: list[bytes] = []  # of the current unit
        self._open: set[str] = set()  # its shards

    def write(self, numbers: Iterable[int]) -> Iterator[Made | None]:
        """Make units; yield each when it is complete, and None from time to time. The caller may stop after any of them, and
        then calls `flush` to keep the work in progress.
        """
        for number in numbers:
            label, indices = self._units[number]
            for start in range(indices.start, indices.stop, BATCH):
                batch = range(start, min(start + BATCH, indices.stop))
                ends = number if batch.stop == indices.stop else None
                self._waiting.append((self._pool.submit(self._make, label, batch), ends))
                while len(self._waiting) > 2 * self._threads:
                    yield self._complete_oldest()
        yield from self.flush()

    def flush(self) -> Iterator[Made | None]:
        """Wait for the work in progress; yield the units that are complete."""
        while self._waiting:
            yield self._complete_oldest()

    def close(self) -> None:
        """Stop: batches that wait for a thread are not made."""
        self._pool.shutdown(cancel_futures=True)

    def _make(self, label: Label, batch: range) -> tuple[list[bytes], dict[str, bytearray]]:
        """In a thread: make the images of a batch, write or pack them; return the manifest lines, and packed data by shard."""
        records = self._wanted[label].records(batch, self._format.file_name)
        lines: list[bytes] = []
        packed: dict[str, bytearray] = {}
        for record, image in zip(records, self._wanted[label].pixels(batch), strict=True):
            data, line = self._format.encode(image, label), json.dumps(record.to_json(), allow_nan=False).encode()
            shard, member = in_shard(record.file_name)
            if member is None:
                self._target.write(shard, data, self._part(shard))
            else:
                pair = tar_member(member, data) + tar_member(f"{member.rpartition('.')[0]}.json", line)
                packed.setdefault(shard, bytearray()).extend(pair)
            lines.append(line + b"\n")
        return lines, packed

    def _complete_oldest(self) -> Made | None:
        future, ends = self._waiting.popleft()
        lines, packed = future.result()
        self._lines += lines
        for shard, data in packed.items():
            with self._part(shard).open("ab") as file:
                file.write(data)
            self._open.add(shard)
        return None if ends is None else self._complete_unit(ends)

    def _complete_unit(self, number: int) -> Made:
        """Move the shards of a unit into place."""
        for shard in sorted(self._open):
            part = self._part(shard)
            with part.open("ab") as file:
                file.write(tar_end(file.tell()))
                file.flush()
                os.fsync(file.fileno())
            self._target.put(part, shard)
        made = Made(number, self._lines)
        self._lines, self._open = [], set()
        return made

    def _part(self, name: str) -> Path:
        return self._own / name.replace("/", "-")
