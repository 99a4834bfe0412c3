"""A set of images on disk: SET/{split}/{label}/NNNNNN.png, metadata.jsonl (a line per image), imageset.json (the whole).

A set can also keep its images in WebDataset shards, SET/{split}/{label}-NNNNNN.tar; file_name is then the path of the shard
followed by the member, train/fake-000000.tar/fake-000123.png. `fakecore.sets.setwriter` writes both.
"""

from __future__ import annotations

import sys
import tarfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from fakecore.errors import UserError
from fakecore.files import read_json, whole_lines
from fakecore.labels import LABEL_NUMBERS, SPLITS, Label, Split
from fakecore.media.pixels import ImageError, read_bytes
from fakecore.schema import OBJECT, TEXT_OR_NONE, Kind, check_fields, one_of, whole
from fakecore.sets.folders import listing_stamp
from fakecore.sets.shards import read_member
from fakecore.urls import join, shown

SET_VERSION = 1
_REMEDY = "Copy the set again, or create it again."
_COUNTS = {split: {label: whole(0) for label in LABEL_NUMBERS} for split in SPLITS}
_FIELDS = {"resolution": whole(1, 1024), "channels": one_of(1, 3), "counts": _COUNTS, "origin": OBJECT}
_ANYTHING = Kind("anything", lambda value: True)  # checked in detail elsewhere
_LINE_FIELDS = dict.fromkeys(("file_name", "label", "split"), _ANYTHING)
_LINE_FIELDS |= {"index": whole(0), "class": TEXT_OR_NONE, "group": TEXT_OR_NONE}


@dataclass(frozen=True, slots=True)
class ImageRecord:
    """One image of a set. Fields that do not apply are None and are omitted from metadata.jsonl."""

    file_name: str
    label: Label
    split: Split
    index: int
    class_: str | None = None
    group: str | None = None
    run: str | None = None  # fakes: the run's name, epoch, the checkpoint's sha256 and the seed of the latents
    epoch: int | None = None
    checkpoint_sha256: str | None = None
    latent_seed: int | None = None
    truncation: float | None = None  # scale of the latents, if not 1
    source: str | None = None  # reals: the source's name for it, and the sha256 of its bytes there
    source_sha256: str | None = None

    def to_json(self) -> dict:
        values = ((key, getattr(self, name)) for key, name in _KEYS.items())
        return {key: value for key, value in values if value is not None}

    @staticmethod
    def from_json(line: dict) -> ImageRecord:
        values: dict[str, Any] = {_KEYS[key]: _shared(key, value) for key, value in line.items() if key in _KEYS}
        return ImageRecord(**values)


_KEYS = {field.name.rstrip("_"): field.name for field in fields(ImageRecord)}
_REPEATED = {"label", "split", "class", "group", "run", "checkpoint_sha256"}


@dataclass(frozen=True)
class ImageSet:
    """A set that was read: `records` in the order written; `info` is the content of imageset.json. Of a set at the URL `at`,
    `root` has a copy of the two lists only. `streamed`: its shards are read where they are, and no pixels are kept.
    `elsewhere`: of shards that others wrote, {name in the records: path or URL, with its secrets}.
    """

    root: Path
    records: list[ImageRecord]
    info: dict
    at: str | None = None
    streamed: bool = False
    elsewhere: dict[str, str] | None = None

    @property
    def place(self) -> str:
        """The path or URL of the set; a URL with its secrets."""
        return self.at or str(self.root)

    def shard(self, name: str) -> str:
        """Return the path or URL of a shard, with its secrets."""
        return self.elsewhere[name] if self.elsewhere else join(self.place, name)

    def shown_at(self, name: str) -> str:
        """Return where an image or a shard is, for the user."""
        return name if self.elsewhere else join(shown(self.place), name)

    @property
    def named(self) -> dict[str, str]:
        """Where the images are, for the user: {"set": its place}, or the two sources of shards that others wrote."""
        return dict(self.info["origin"]) if self.elsewhere else {"set": shown(self.place)}

    def labels(self) -> np.ndarray:
        """Return the labels, (N,) int: real = 0, fake = 1."""
        return np.array([LABEL_NUMBERS[record.label] for record in self.records], dtype=np.int64)

    def splits(self) -> np.ndarray:
        """Return the splits, (N,) of "train" | "val" | "test"."""
        return np.array([record.split for record in self.records])

    def path(self, record: ImageRecord) -> Path:
        """Return the path of the file that contains an image: its own file, or its shard."""
        return self.root / in_shard(record.file_name)[0]

    def read(self, record: ImageRecord) -> bytes:
        """Return the bytes of an image file, from its folder or shard. Raises ImageError if they are missing."""
        shard, member = in_shard(record.file_name)
        if member is None:
            return read_bytes(self.root / record.file_name)
        try:
            return read_member(self.root / shard, member)
        except KeyError:
            raise ImageError("unreadable", f"not found in {shard}") from None
        except (OSError, tarfile.TarError) as error:
            raise ImageError("unreadable", f"{shard}: {error}") from None

    def stamp(self, records: Sequence[ImageRecord] | None = None) -> str:
        """Return a digest that changes when the list of images or a file that contains one of them changes."""
        records = self.records if records is None else records
        return listing_stamp(self.root, (r.file_name for r in records), (self.path(r) for r in records))


def is_imageset(root: Path) -> bool:
    return (root / "metadata.jsonl").is_file() and (root / "imageset.json").is_file()


def in_shard(file_name: str) -> tuple[str, str | None]:
    """Split a file_name into (shard, member); the member is None for an image in a file of its own."""
    before, tar, member = file_name.partition(".tar/")
    return (before + ".tar", member) if tar else (file_name, None)


def read_imageset(root: Path, at: str | None = None) -> ImageSet:
    """Read a set that fakelab wrote; `root` has its lists, and its images unless they are at the URL `at`. Raises UserError if
    it is not a set, is unfinished, or is damaged.
    """
    if not root.is_dir():
        what = f"{root} is a file" if root.exists() else f"there is no folder {root}"
        raise UserError(what, expected="a set, or a run of `generate`")
    if not (root / "imageset.json").is_file():
        if (root / "metadata.jsonl").is_file():
            raise UserError(
                f"the set in {root} is unfinished", remedy="Repeat the command that wrote it, with --resume."
            )
        raise UserError(
            f"{root} is not a set of images",
            expected="a folder with imageset.json and metadata.jsonl",
            remedy="Give a set or run that fakelab wrote. Two plain folders go to --real and --fake, if the command has them.",
        )
    info = read_json(root / "imageset.json", remedy=_REMEDY)
    check_fields(info, {"version": whole()}, root / "imageset.json", remedy=_REMEDY)
    if info["version"] != SET_VERSION:
        raise UserError(f"{root}/imageset.json has another format version", got=info["version"], expected=SET_VERSION)
    check_fields(info, _FIELDS, root / "imageset.json", remedy=_REMEDY)
    records = list(iter_records(root))
    counts = count_images(records)
    if counts != info["counts"]:
        raise UserError(
            f"{root}/metadata.jsonl is truncated or was changed: its images do not match the counts in imageset.json",
            got=format_counts(counts),
            expected=format_counts(info["counts"]),
            remedy=_REMEDY,
        )
    return ImageSet(root, records, info, at)


def iter_records(root: Path) -> Iterator[ImageRecord]:
    """Yield the records of metadata.jsonl, of a finished or unfinished set; nothing if the file does not exist.

    Raises UserError, with the line number, for a line that is not a valid record.
    """
    lines = whole_lines(root / "metadata.jsonl")
    yield from (_checked(line, number, root) for number, (line, _) in enumerate(lines, 1))


def count_images(records: Sequence[ImageRecord]) -> dict[str, dict[str, int]]:
    """Return {split: {label: images}}."""
    counts: dict[str, dict[str, int]] = {split: dict.fromkeys(LABEL_NUMBERS, 0) for split in SPLITS}
    for record in records:
        counts[record.split][record.label] += 1
    return counts


def format_counts(counts: dict[str, dict[str, int]]) -> str:
    """Return the counts of `count_images` as text: "train 80 real + 80 fake, val ..."."""
    return ", ".join(f"{split} {own['real']:,} real + {own['fake']:,} fake" for split, own in counts.items())


def _checked(line: dict, number: int, root: Path) -> ImageRecord:
    where = f"{root}/metadata.jsonl, line {number}"
    check_fields({"class": None, "group": None, **line}, _LINE_FIELDS, where, remedy=_REMEDY)
    if line["label"] not in tuple(LABEL_NUMBERS) or line["split"] not in SPLITS:
        got = f"label {line['label']!r}, split {line['split']!r}"
        expected = "label real or fake; split train, val or test"
        raise UserError(f"{where}, has an invalid label or split", got=got, expected=expected, remedy=_REMEDY)
    name = line["file_name"]
    if not isinstance(name, str) or PurePosixPath(name).is_absolute() or ".." in PurePosixPath(name).parts:
        raise UserError(f"{where}, names a file outside the set", got=repr(name), remedy=_REMEDY)
    return ImageRecord.from_json(line)


def _shared(key: str, value: object) -> object:
    """Return one object for equal strings: a million records of a run repeat its checkpoint's sha256 a million times."""
    return sys.intern(value) if key in _REPEATED and isinstance(value, str) else value
