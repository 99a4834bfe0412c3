"""Write a set of images so that a process killed at any moment loses only time.

A set consists of units, see units.py. A unit is listed in metadata.jsonl, in a fixed order, when it is complete on disk;
whatever is not listed is made again. Processes share the units; the result does not depend on their number. Incomplete units
are in SET/.parts, in a folder for each attempt to write the set: a process of an earlier attempt that still runs finds its
folder gone.
"""

from __future__ import annotations

import os
import re
import shutil
import uuid
from collections.abc import Generator, Iterable, Mapping
from contextlib import ExitStack
from itertools import islice
from pathlib import Path
from typing import IO

from fakecore.cpus import usable_cpus
from fakecore.distributed import ALONE, World, local_size
from fakecore.errors import UserError
from fakecore.files import atomic_path, read_json, whole_lines, write_json
from fakecore.labels import LABEL_NUMBERS, SPLITS, Label
from fakecore.messages import counted
from fakecore.runs.runfolder import versions
from fakecore.sets.imageset import SET_VERSION
from fakecore.sets.targets import target_at
from fakecore.sets.units import Made, UnitWriter, Wanted, choose_format, unit_lines, units_of
from fakecore.storage import TRANSFERS, join, upload
from fakecore.urls import shown

_FOLDERS = re.compile(
    rb'{"file_name": "(%b)/(%b)' % tuple("|".join(names).encode() for names in (SPLITS, LABEL_NUMBERS))
)
_PARTS = ".parts"


def attempt_folder(root: Path, attempt: str) -> Path:
    """Return the folder of what an attempt to write a set has not completed yet."""
    return root / _PARTS / attempt


class ImageSetWriter:
    """Writes a set, or resumes an unfinished one: construct, exhaust `write`, `finish`; then `close`.

    `done` is the number of images that are already listed, of `total`. Raises UserError if the folder contains other images
    than the wanted ones. All processes of a `world` write one set together.

    With `url`, the files of the set are written there, and `root` holds only its manifest until `finish`, which copies it.
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
        url: str | None = None,
    ):
        self.root, self.url, self._wanted, self._world = root, url, wanted, world
        self.name = shown(url) if url else str(root)  # for messages
        self._ahead: dict[int, Made] = {}  # made by others, but not the next to be listed
        self._facts = {"resolution": resolution, "channels": channels}
        self._manifest = root / "metadata.jsonl"
        with self._world.together():
            self.image_format, self._format = image_format, choose_format(image_format)
            self._units = units_of(wanted, self._format.unit)
            # Only the first process checks the existing images; the others wait for it before they write.
            found = self._take_up() if self._world.is_main else None
        self._listed, self.done, self.attempt = self._world.share(found)
        self.total = sum(images.count for images in wanted.values())
        threads = max(TRANSFERS if url else 1, usable_cpus() // local_size())
        self._target = target_at(url or root, alone=world.alone)
        self._maker = UnitWriter(self._target, attempt_folder(root, self.attempt), wanted, image_format, threads)

    def write(self) -> Generator[int]:
        """Write the images that are not listed yet. Yields, often, the number of newly listed images; the caller may stop after
        any of them, and then calls `flush` to keep the work in progress.
        """
        for made in self._maker.write(self.missing()[self._world.rank :: self._world.size]):
            yield self._take(made)

    def flush(self) -> int:
        """Wait for the work in progress; return the number of newly listed images."""
        return sum(map(self._take, self._maker.flush()))

    def missing(self) -> range:
        """Return the numbers of the units that are not listed yet."""
        return range(self._listed, len(self._units))

    def list_units(self, made: Iterable[Made]) -> int:
        """List units that others made, each when those before it are listed; return the number of newly listed images."""
        self._ahead.update({unit.number: unit for unit in made})
        listed = 0
        while self._listed in self._ahead:
            listed += self._list(self._ahead.pop(self._listed).lines)
        return listed

    def list_made(self) -> int:
        """List the next units that other processes made and saved, in order; return the number of images listed."""
        listed = 0
        while self.missing() and (path := unit_lines(attempt_folder(self.root, self.attempt), self._listed)).exists():
            listed += self._list(path.read_bytes().splitlines(keepends=True))
            path.unlink()
        return listed

    def finish(self, *, origin: dict) -> dict:
        """When all processes have written their part: write imageset.json, which marks the set as complete, and return it."""
        self._maker.close()
        self._world.wait()
        if self._world.is_main:
            self.list_made()
            used = versions()
            library = {"library": "opencv-python-headless", "version": used.get("opencv-python-headless")}
            writer = {"format": self.image_format, **self._format.facts, **library}
            facts = {"version": SET_VERSION, **self._facts, "counts": self._by_split()}
            write_json(self.root / "imageset.json", {**facts, "writer": writer, "origin": origin, "versions": used})
            if self.url:
                self._copy_manifests(self.url)
            shutil.rmtree(self.root / _PARTS, ignore_errors=True)
        self._world.wait()
        return read_json(self.root / "imageset.json")

    def _copy_manifests(self, url: str) -> None:
        """Copy what `root` holds to the URL; last the file that marks the set as complete."""
        for name in (*(f"{split}/metadata.jsonl" for split in SPLITS), "metadata.jsonl", "imageset.json"):
            if (self.root / name).exists():
                upload(self.root / name, join(url, name))

    def close(self) -> None:
        """Stop without finishing: listed images stay, and a later writer resumes from there."""
        self._maker.close()

    def _take_up(self) -> tuple[int, int, str]:
        """Truncate the manifest to complete units and delete incomplete ones; return the listed (units, images), and a new
        attempt to write the others.
        """
        for split in SPLITS:
            for label in self._wanted:  # only labels with images: ImageFolder rejects empty folders
                (self.root / split / ("" if self._format.sharded else label)).mkdir(parents=True, exist_ok=True)
        lines = whole_lines(self._manifest)
        units = images = end = 0
        for label, indices in self._units:
            found = list(islice(lines, len(indices)))
            self._refuse_others([line for line, _ in found], label, indices)
            if len(found) < len(indices):
                (self.root / "imageset.json").unlink(missing_ok=True)  # the set is incomplete while images are added
                break
            units, images, end = units + 1, images + len(indices), found[-1][1]
        else:
            if surplus := sum(1 for _ in lines):
                raise UserError(
                    f"{self.name} holds {counted(images + surplus, 'image')} already, and existing images are never deleted",
                    got=f"--count {images}",
                    expected=f"{images + surplus} or more",
                    remedy="For fewer, choose another --out.",
                )
        self._manifest.touch()
        os.truncate(self._manifest, end)
        shutil.rmtree(self.root / _PARTS, ignore_errors=True)
        attempt = uuid.uuid4().hex
        attempt_folder(self.root, attempt).mkdir(parents=True)
        return units, images, attempt

    def _refuse_others(self, lines: list[dict], label: Label, indices: range) -> None:
        for line, index in zip(lines, indices, strict=False):
            if (line.get("label"), line.get("index")) != (label, index):
                other = f"{line.get('label')} {line.get('index')} in the place of {label} {index}"
                raise UserError(f"{self.name} holds other images", got=other, remedy="Choose another --out.")
            got, split = str(line.get("file_name")), line.get("split", "train")
            if got != (name := self._format.file_name(split, label, index)):
                remedy = "Use the --format of the existing images, or choose another --out."
                raise UserError(f"{self.name} holds images in another format", got=got, expected=name, remedy=remedy)

    def _take(self, made: Made | None) -> int:
        """List a unit that this process made, or save it for the process that lists; return the number of images listed."""
        if made is None:
            return 0
        if self._world.alone:
            return self._list(made.lines)
        made.save(attempt_folder(self.root, self.attempt))
        return self.list_made() if self._world.is_main else 0

    def _list(self, lines: list[bytes]) -> int:
        with self._manifest.open("ab") as file:
            file.write(b"".join(lines))
        self._listed += 1
        return len(lines)

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
