"""Write a set of images so that a process killed at any moment loses only time.

A set consists of units: a batch of image files, or a range of shards. A unit is listed in metadata.jsonl, in a fixed order,
when it is complete on disk; whatever is not listed is made again. Threads share the batches of a unit and processes share the
units; the result does not depend on their number. Incomplete units are in SET/.parts.
"""

from __future__ import annotations

import json
import os
import re
import shutil
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import IO

import numpy as np

from fakecore.cpus import usable_cpus
from fakecore.distributed import ALONE, World, local_size
from fakecore.errors import UserError, unknown_name
from fakecore.files import atomic_path, read_json, whole_lines, write_json
from fakecore.labels import LABEL_NAMES, LABEL_NUMBERS, SPLITS, Label, Split
from fakecore.media.pixels import JPEG_QUALITY, PNG_LEVEL, encode_jpeg, encode_png
from fakecore.messages import counted
from fakecore.runs.runfolder import versions
from fakecore.sets.imageset import SET_VERSION, ImageRecord, in_shard
from fakecore.sets.shards import tar_end, tar_member

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


_PNG, _JPEG = {"png_level": PNG_LEVEL}, {"quality": JPEG_QUALITY, "subsampling": "4:4:4"}
FORMATS = {
    "png": Format(encode_png, ".png", BATCH, _PNG),
    "jpeg": Format(encode_jpeg, ".jpg", BATCH, _JPEG),
    "webdataset": Format(encode_png, ".png", SHARD, _PNG),
}


@dataclass(frozen=True)
class Wanted:
    """The wanted images of one label. Image i, of `count`, is a function of i; any thread may call it."""

    count: int
    records: Callable[
        [range, Callable[[Split, Label, int], str]], list[ImageRecord]
    ]  # given a function that names files
    pixels: Callable[[range], np.ndarray]  # uint8 (n, C, R, R)


_FOLDERS = re.compile(
    rb'{"file_name": "(%b)/(%b)' % tuple("|".join(names).encode() for names in (SPLITS, LABEL_NUMBERS))
)


class ImageSetWriter:
    """Writes a set, or resumes an unfinished one: construct, exhaust `write`, `finish`; then `close`.

    `done` is the number of images that are already listed, of `total`. Raises UserError if the folder contains other images
    than the wanted ones. All processes of a `world` write one set together.
    """

    def __init__(
        self,
        root: Path,
        wanted: Mapping[Label, Wanted],
        *,
        resolution: int,
        channels: int,
        image_format: str = "png",
        world: World = ALONE,
    ):
        self.root, self._wanted, self._world = root, wanted, world
        self._facts = {"resolution": resolution, "channels": channels}
        self._manifest, self._parts = root / "metadata.jsonl", root / ".parts"
        self._threads = max(1, usable_cpus() // local_size())
        self._pool = ThreadPoolExecutor(self._threads)
        self._waiting: deque[tuple[Future, int | None]] = deque()
        self._lines: list[bytes] = []  # of the current unit
        self._open: set[str] = set()  # its shards
        with self._world.together():
            if image_format not in FORMATS:
                raise unknown_name("image format", image_format, FORMATS)
            self._name, self._format = image_format, FORMATS[image_format]
            # Only the first process checks the existing images; the others wait for it before they write.
            found = self._take_up() if self._world.is_main else None
        self._listed, self.done = self._world.share(found)
        self.total = sum(images.count for images in wanted.values())

    def file_name(self, split: Split, label: Label, index: int) -> str:
        if self._format.sharded:
            return f"{split}/{label}-{index // SHARD:06d}.tar/{label}-{index:06d}{self._format.suffix}"
        return f"{split}/{label}/{index:06d}{self._format.suffix}"

    def write(self) -> Iterator[int]:
        """Write the images that are not listed yet. Yields, often, the number of newly listed images; the caller may stop after
        any of them, and then calls `flush` to keep the work in progress.
        """
        first = self._listed
        for number, (label, indices) in enumerate(self._units()):
            if number < first or number % self._world.size != self._world.rank:
                continue
            for start in range(indices.start, indices.stop, BATCH):
                batch = range(start, min(start + BATCH, indices.stop))
                ends = number if batch.stop == indices.stop else None
                self._waiting.append((self._pool.submit(self._make, label, batch), ends))
                while len(self._waiting) > 2 * self._threads:
                    yield self._complete_oldest()
        yield self.flush()

    def flush(self) -> int:
        """Wait for the work in progress; return the number of newly listed images."""
        listed = 0
        while self._waiting:
            listed += self._complete_oldest()
        return listed

    def finish(self, *, origin: dict) -> dict:
        """When all processes have written their part: write imageset.json, which marks the set as complete, and return it."""
        self._pool.shutdown()
        self._world.wait()
        if self._world.is_main:
            self._merge()
            used = versions()
            library = {"library": "opencv-python-headless", "version": used.get("opencv-python-headless")}
            writer = {"format": self._name, **self._format.facts, **library}
            facts = {"version": SET_VERSION, **self._facts, "counts": self._by_split()}
            write_json(self.root / "imageset.json", {**facts, "writer": writer, "origin": origin, "versions": used})
            shutil.rmtree(self._parts, ignore_errors=True)
        self._world.wait()
        return read_json(self.root / "imageset.json")

    def close(self) -> None:
        """Stop without finishing: listed images stay, and a later writer resumes from there."""
        self._pool.shutdown(cancel_futures=True)

    def _units(self) -> Iterator[tuple[Label, range]]:
        """Yield all units in the order of the manifest: reals and fakes alternate, so that its first lines contain both."""
        size, counts = self._format.unit, {label: images.count for label, images in self._wanted.items()}
        for start in range(0, max(counts.values()), size):
            for label in LABEL_NAMES.values():
                if start < counts.get(label, 0):
                    yield label, range(start, min(start + size, counts[label]))

    def _take_up(self) -> tuple[int, int]:
        """Truncate the manifest to complete units and delete incomplete ones; return the listed (units, images)."""
        for split in SPLITS:
            for label in self._wanted:  # only labels with images: ImageFolder rejects empty folders
                (self.root / split / ("" if self._format.sharded else label)).mkdir(parents=True, exist_ok=True)
        lines = whole_lines(self._manifest)
        units = images = end = 0
        for label, indices in self._units():
            found = list(islice(lines, len(indices)))
            self._refuse_others([line for line, _ in found], label, indices)
            if len(found) < len(indices):
                (self.root / "imageset.json").unlink(missing_ok=True)  # the set is incomplete while images are added
                break
            units, images, end = units + 1, images + len(indices), found[-1][1]
        else:
            if surplus := sum(1 for _ in lines):
                raise UserError(
                    f"{self.root} holds {counted(images + surplus, 'image')} already, and existing images are never deleted",
                    got=f"--count {images}",
                    expected=f"{images + surplus} or more",
                    remedy="For fewer, choose another --out.",
                )
        self._manifest.touch()
        os.truncate(self._manifest, end)
        shutil.rmtree(self._parts, ignore_errors=True)
        self._parts.mkdir()
        return units, images

    def _refuse_others(self, lines: list[dict], label: Label, indices: range) -> None:
        for line, index in zip(lines, indices, strict=False):
            if (line.get("label"), line.get("index")) != (label, index):
                other = f"{line.get('label')} {line.get('index')} in the place of {label} {index}"
                raise UserError(f"{self.root} holds other images", got=other, remedy="Choose another --out.")
            got, split = str(line.get("file_name")), line.get("split", "train")
            if got != (name := self.file_name(split, label, index)):
                remedy = "Use the --format of the existing images, or choose another --out."
                raise UserError(f"{self.root} holds images in another format", got=got, expected=name, remedy=remedy)

    def _make(self, label: Label, batch: range) -> tuple[list[bytes], dict[str, bytearray]]:
        """In a thread: make the images of a batch, write or pack them; return the manifest lines, and packed data by shard."""
        records = self._wanted[label].records(batch, self.file_name)
        lines: list[bytes] = []
        packed: dict[str, bytearray] = {}
        for record, image in zip(records, self._wanted[label].pixels(batch), strict=True):
            data, line = self._format.encode(image, label), json.dumps(record.to_json(), allow_nan=False).encode()
            shard, member = in_shard(record.file_name)
            if member is None:
                (self.root / shard).write_bytes(data)
            else:
                pair = tar_member(member, data) + tar_member(f"{member.rpartition('.')[0]}.json", line)
                packed.setdefault(shard, bytearray()).extend(pair)
            lines.append(line + b"\n")
        return lines, packed

    def _complete_oldest(self) -> int:
        future, ends = self._waiting.popleft()
        lines, packed = future.result()
        self._lines += lines
        for shard, data in packed.items():
            with self._part(shard).open("ab") as file:
                file.write(data)
            self._open.add(shard)
        return 0 if ends is None else self._complete_unit(ends)

    def _complete_unit(self, number: int) -> int:
        """Move the shards of a unit into place, then list the unit; return the number of newly listed images."""
        for shard in sorted(self._open):
            part = self._part(shard)
            with part.open("ab") as file:
                file.write(tar_end(file.tell()))
                file.flush()
                os.fsync(file.fileno())
            part.replace(self.root / shard)
        lines, self._lines, self._open = self._lines, [], set()
        if self._world.alone:
            return self._list(lines)
        half = self._parts / f"{number:08d}.tmp"
        half.write_bytes(b"".join(lines))
        half.replace(self._unit_lines(number))
        return self._merge() if self._world.is_main else 0

    def _merge(self) -> int:
        """List the next units in order, of all processes; return the number of images listed."""
        listed = 0
        while (path := self._unit_lines(self._listed)).exists():
            listed += self._list(path.read_bytes().splitlines(keepends=True))
            path.unlink()
        return listed

    def _list(self, lines: list[bytes]) -> int:
        with self._manifest.open("ab") as file:
            file.write(b"".join(lines))
        self._listed += 1
        return len(lines)

    def _part(self, shard: str) -> Path:
        return self._parts / shard.replace("/", "-")

    def _unit_lines(self, number: int) -> Path:
        return self._parts / f"{number:08d}.jsonl"

    def _by_split(self) -> dict[str, dict[str, int]]:
        """Return {split: {label: images}}. For image files, also write SET/{split}/metadata.jsonl with relative paths, where
        Hugging Face's `imagefolder` looks for columns.
        """
        counts: dict[str, dict[str, int]] = {split: dict.fromkeys(LABEL_NUMBERS, 0) for split in SPLITS}
        with self._manifest.open("rb") as lines, ExitStack() as stack:
            by_split: dict[str, IO[bytes]] = {}
            for split in () if self._format.sharded else SPLITS:
                path = stack.enter_context(atomic_path(self.root / split / "metadata.jsonl"))
                by_split[split] = stack.enter_context(path.open("wb"))
            for line in lines:
                folders = _FOLDERS.match(line)
                assert folders, "the writer itself wrote the line"
                place, label = (part.decode() for part in folders.groups())
                counts[place][label] += 1
                if place in by_split:
                    by_split[place].write(line.replace(f"{place}/".encode(), b"", 1))
        for place, found in counts.items():
            if not any(found.values()):
                (self.root / place / "metadata.jsonl").unlink(missing_ok=True)
        return counts
