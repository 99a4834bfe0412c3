"""A set of images on disk: SET/{split}/{label}/NNNNNN.png, metadata.jsonl (a line per image), imageset.json (the whole).

Lines are appended only after their files are complete, so what metadata.jsonl lists is whole, however the writer ended.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, fields
from pathlib import Path, PurePosixPath

import numpy as np

from fakecore.errors import UserError, unknown_name
from fakecore.fields import OBJECT, TEXT_OR_NONE, Kind, check_fields, one_of, whole
from fakecore.files import append_jsonl, cut_jsonl, read_json, read_jsonl, write_json
from fakecore.labels import LABEL_NUMBERS, SPLITS, Label, Split
from fakecore.pixels import JPEG_QUALITY, PNG_LEVEL, encode_jpeg, encode_png
from fakecore.runfolder import versions

FORMATS = {"png": (encode_png, ".png"), "jpeg": (encode_jpeg, ".jpg")}
SET_VERSION = 1
_REMEDY = "Copy the set again, or make it anew."
_COUNTS = {split: {label: whole(0) for label in LABEL_NUMBERS} for split in SPLITS}
_FIELDS = {"resolution": whole(1, 1024), "channels": one_of(1, 3), "counts": _COUNTS, "origin": OBJECT}
_ANYTHING = Kind("anything", lambda value: True)  # it is looked at more closely than a kind can
_LINE_FIELDS = dict.fromkeys(("file_name", "label", "split"), _ANYTHING)
_LINE_FIELDS |= {"index": whole(0), "class": TEXT_OR_NONE, "group": TEXT_OR_NONE}


@dataclass(frozen=True)
class ImageRecord:
    """One image of a set. Fields that do not apply are None and are left out of metadata.jsonl."""

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
    source: str | None = None  # reals: the source's name for it, and the sha256 of its bytes there
    source_sha256: str | None = None

    def to_json(self) -> dict:
        return {name.rstrip("_"): value for name, value in vars(self).items() if value is not None}

    @staticmethod
    def from_json(line: dict) -> ImageRecord:
        known = {field.name.rstrip("_"): field.name for field in fields(ImageRecord)}
        return ImageRecord(**{known[key]: value for key, value in line.items() if key in known})


@dataclass(frozen=True)
class ImageSet:
    """A set as read back: `records` in the order written; `info` is imageset.json."""

    root: Path
    records: list[ImageRecord]
    info: dict

    def labels(self) -> np.ndarray:
        """(N,) int: real = 0, fake = 1."""
        return np.array([LABEL_NUMBERS[record.label] for record in self.records], dtype=np.int64)

    def splits(self) -> np.ndarray:
        """(N,) of "train" | "val" | "test"."""
        return np.array([record.split for record in self.records])

    def path(self, record: ImageRecord) -> Path:
        return self.root / record.file_name


class ImageSetWriter:
    """Writes a set with encoding and disk in threads beside the caller; resumes where an earlier writer was killed.

    `done[label]` says how many images of each label are complete already; go on from there, in index order.
    """

    def __init__(self, root: Path, *, resolution: int, channels: int, image_format: str = "png"):
        if image_format not in FORMATS:
            raise unknown_name("image format", image_format, FORMATS)
        self.root, self._format = root, image_format
        self._facts = {"resolution": resolution, "channels": channels}
        self._encode, self._suffix = FORMATS[image_format]
        self._threads = os.cpu_count() or 1
        self._pool = ThreadPoolExecutor(self._threads)
        self._waiting: deque[tuple[Future, Sequence[ImageRecord]]] = deque()
        for split in SPLITS:
            for label in LABEL_NUMBERS:
                (root / split / label).mkdir(parents=True, exist_ok=True)
        whole = cut_jsonl(root / "metadata.jsonl", keep=1 << 62)
        self.done = {label: sum(line["label"] == label for line in whole) for label in LABEL_NUMBERS}

    def file_name(self, split: Split, label: Label, index: int) -> str:
        return f"{split}/{label}/{index:06d}{self._suffix}"

    def add(self, records: Sequence[ImageRecord], make: Callable[[], np.ndarray]) -> None:
        """Queue a batch: a thread calls `make` for its pixels, uint8 (N, C, R, R), encodes and writes them.

        Blocks while too many batches wait.
        """
        (self.root / "imageset.json").unlink(missing_ok=True)  # a set that is being added to is not complete
        self._waiting.append((self._pool.submit(self._write, records, make), records))
        while len(self._waiting) > 2 * self._threads:
            self._complete_oldest()

    def finish(self, *, origin: dict) -> dict:
        """Wait for everything, then write imageset.json, which marks the set as complete, and return it."""
        self.flush()
        self._pool.shutdown()
        counts = count_images([ImageRecord.from_json(line) for line in read_jsonl(self.root / "metadata.jsonl")])
        quality = (
            {"png_level": PNG_LEVEL} if self._format == "png" else {"quality": JPEG_QUALITY, "subsampling": "4:4:4"}
        )
        used = versions()
        library = {"library": "opencv-python-headless", "version": used.get("opencv-python-headless")}
        writer = {"format": self._format, **quality, **library}
        facts = {"version": SET_VERSION, **self._facts, "counts": counts, "writer": writer, "origin": origin}
        write_json(self.root / "imageset.json", facts)
        return facts

    def flush(self) -> None:
        while self._waiting:
            self._complete_oldest()

    def close(self) -> None:
        """Stop without finishing: what is complete stays listed, and a later writer goes on from there."""
        self._pool.shutdown(cancel_futures=True)

    def _write(self, records: Sequence[ImageRecord], make: Callable[[], np.ndarray]) -> None:
        for record, image in zip(records, make(), strict=True):
            (self.root / record.file_name).write_bytes(self._encode(image, record.label))

    def _complete_oldest(self) -> None:
        future, records = self._waiting.popleft()
        future.result()
        append_jsonl(self.root / "metadata.jsonl", (record.to_json() for record in records))


def is_imageset(root: Path) -> bool:
    return (root / "metadata.jsonl").is_file() and (root / "imageset.json").is_file()


def read_imageset(root: Path) -> ImageSet:
    """Read a set that fakelab wrote. Raises UserError when it is not one, is unfinished, or is damaged."""
    if not root.is_dir():
        what = f"{root} is a file" if root.exists() else f"there is no folder {root}"
        raise UserError(what, expected="a set, or a run of `generate`")
    if not (root / "imageset.json").is_file():
        if (root / "metadata.jsonl").is_file():
            raise UserError(
                f"the set in {root} is unfinished", remedy="Repeat the command that was writing it with --resume."
            )
        raise UserError(
            f"{root} is not a set of images",
            expected="a folder with imageset.json and metadata.jsonl",
            remedy="For two plain folders, give --real DIR --fake DIR.",
        )
    info = read_json(root / "imageset.json", remedy=_REMEDY)
    check_fields(info, {"version": whole()}, root / "imageset.json", remedy=_REMEDY)
    if info["version"] != SET_VERSION:
        raise UserError(f"{root}/imageset.json is of another version", got=info["version"], expected=SET_VERSION)
    check_fields(info, _FIELDS, root / "imageset.json", remedy=_REMEDY)
    records = []
    for number, line in enumerate(read_jsonl(root / "metadata.jsonl"), 1):
        records.append(_checked(line, number, root))
    counts = count_images(records)
    if counts != info["counts"]:
        raise UserError(
            f"{root}/metadata.jsonl was cut short or altered: it does not list what imageset.json counts",
            got=told_counts(counts),
            expected=told_counts(info["counts"]),
            remedy=_REMEDY,
        )
    return ImageSet(root, records, info)


def count_images(records: Sequence[ImageRecord]) -> dict[str, dict[str, int]]:
    """{split: {label: images}}."""
    counts = {split: dict.fromkeys(LABEL_NUMBERS, 0) for split in SPLITS}
    for record in records:
        counts[record.split][record.label] += 1
    return counts


def told_counts(counts: dict[str, dict[str, int]]) -> str:
    """`count_images` in words: "train 80 real + 80 fake, val ..."."""
    return ", ".join(f"{split} {own['real']:,} real + {own['fake']:,} fake" for split, own in counts.items())


def _checked(line: dict, number: int, root: Path) -> ImageRecord:
    where = f"{root}/metadata.jsonl, line {number}"
    check_fields({"class": None, "group": None, **line}, _LINE_FIELDS, where, remedy=_REMEDY)
    if line["label"] not in tuple(LABEL_NUMBERS) or line["split"] not in SPLITS:
        got = f"label {line['label']!r}, split {line['split']!r}"
        expected = "label real or fake; split train, val or test"
        raise UserError(f"{where}, cannot be used", got=got, expected=expected, remedy=_REMEDY)
    name = line["file_name"]
    if not isinstance(name, str) or PurePosixPath(name).is_absolute() or ".." in PurePosixPath(name).parts:
        raise UserError(f"{where}, names a file outside the set", got=repr(name), remedy=_REMEDY)
    return ImageRecord.from_json(line)
