"""Where real images come from, behind one grammar: `digits[:3]`, `mnist[:3]`, `celeba[:Male,Smiling]`, `folder[:class]`.

A source lists its images without decoding them; `read(i)` gives the bytes of a file or the pixels of an array.
"""

from __future__ import annotations

import csv
import hashlib
import json
import os
import stat
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from fakecore.errors import UserError, unknown_name
from fakecore.imageset import is_imageset, read_imageset
from fakecore.labels import Label
from fakecore.pixels import read_bytes

# Files that describe a folder of images; never themselves images to be judged or learned from.
SIDECARS = {"metadata.jsonl", "metadata.csv", "imageset.json", "attributes.csv", "Thumbs.db", "desktop.ini"}


@dataclass(frozen=True)
class Source:
    """Real images, listed. `names`, `classes` and `groups` run parallel; a class or group may be None (unknown)."""

    spec: str
    names: list[str]
    classes: list[str | None]
    groups: list[str | None]
    read: Callable[[int], bytes | np.ndarray]  # file bytes, or uint8 pixels (H, W) or (H, W, 3) RGB
    stamp: str  # changes when the listing changes: names, sizes, times
    problems: list[tuple[str, str]] = field(default_factory=list)  # (path, reason) of what could not be listed

    def __len__(self) -> int:
        return len(self.names)


def open_source(spec: str, data_root: Path | None = None, *, label: Label = "real") -> Source:
    """Open a source by its `spec`. `data_root` is where downloads live (default: FAKELAB_DATA, else ~/.cache/fakelab/data).

    Of a set or run that fakelab wrote, only the images of `label` are taken. A folder called like a named source is
    written ./digits. Raises UserError when there is no such source, class or attribute, or it holds no image, or it
    cannot be fetched.
    """
    from fakecore.torchvision_sources import LOADERS, open_torchvision

    name, _, selection = spec.partition(":")
    if name == "digits":
        source = _digits(selection or None, spec)
    elif name in LOADERS:
        source = open_torchvision(name, selection or None, spec, data_root or default_data_root())
    elif is_imageset(Path(spec)) or is_imageset(Path(spec) / "set"):
        source = _open_set(Path(spec) if is_imageset(Path(spec)) else Path(spec) / "set", label, spec)
    elif Path(spec).is_dir():
        source = open_folder(Path(spec), None, spec)
    else:
        folder, _, chosen = spec.rpartition(":")
        if not folder or not Path(folder).is_dir():
            if os.sep in spec or "." in spec:
                raise UserError(f"there is no folder {spec!r}", remedy="Check the path.")
            raise unknown_name("source of images", spec, ["digits", *LOADERS, "a folder"])
        source = open_folder(Path(folder), chosen, spec)
    if not len(source):
        raise UserError(f"{spec} holds no image", expected="a folder of images, flat or one sub-folder per class")
    return source


def default_data_root() -> Path:
    """Where downloaded data sets live: the environment variable FAKELAB_DATA, else below the user's cache."""
    return Path(os.environ.get("FAKELAB_DATA") or Path.home() / ".cache" / "fakelab" / "data")


def open_folder(folder: Path, chosen: str | None, spec: str) -> Source:
    """A folder, flat or with one sub-folder per class; `chosen` names one class.

    A `metadata.jsonl` or `metadata.csv` beside the images (Hugging Face `imagefolder`: file_name and more columns)
    may give `class` and `group` for each.
    """
    problems: list[tuple[str, str]] = []
    files = list(walk_files(folder, problems))
    known = _folder_metadata(folder)
    relative = [path.relative_to(folder) for path in files]
    names = [path.as_posix() for path in relative]
    classes = [
        _text(known.get(name, {}).get("class")) or (path.parts[0] if len(path.parts) > 1 else None)
        for name, path in zip(names, relative, strict=True)
    ]
    groups = [_text(known.get(name, {}).get("group")) for name in names]
    if chosen is not None:
        keep = [index for index, name in enumerate(classes) if name == chosen]
        if not keep:
            present = sorted({name for name in classes if name is not None})
            raise unknown_name(f"class in {folder}", chosen, present or ["(the folder has no sub-folders)"])
        files, names, classes, groups = ([column[i] for i in keep] for column in (files, names, classes, groups))
    stamp = _stamp(folder, names, files)
    return Source(spec, names, classes, groups, lambda i: read_bytes(files[i]), stamp, problems)


def _open_set(root: Path, label: Label, spec: str) -> Source:
    """The images of one label in a set that fakelab wrote, with the classes and groups of its manifest."""
    records = [record for record in read_imageset(root).records if record.label == label]
    files = [root / record.file_name for record in records]
    names = [record.file_name for record in records]
    stamp = _stamp(root, names, files)
    classes, groups = [record.class_ for record in records], [record.group for record in records]
    return Source(spec, names, classes, groups, lambda i: read_bytes(files[i]), stamp)


def _stamp(folder: Path, names: list[str], files: list[Path]) -> str:
    digest = hashlib.sha256(os.fsencode(folder.resolve()))
    for name, path in zip(names, files, strict=True):
        status = path.stat() if path.exists() else None
        facts = (status.st_size, status.st_mtime_ns) if status else None
        digest.update(f"{name}\0{facts}\n".encode(errors="surrogateescape"))
    return digest.hexdigest()


def walk_files(folder: Path, problems: list[tuple[str, str]]) -> Iterator[Path]:
    """Every regular file below `folder`, sorted, links followed but never twice into one place.

    Hidden files and sidecars are left out. Folders that cannot be read, broken links and special files are appended
    to `problems` as (path, reason).
    """
    yield from _walk(folder, problems, set())


def _walk(folder: Path, problems: list[tuple[str, str]], seen: set[tuple[int, int]]) -> Iterator[Path]:
    try:
        place = folder.stat()
        with os.scandir(folder) as scan:
            entries = sorted(scan, key=lambda entry: entry.name)
    except OSError as error:
        problems.append((str(folder), error.strerror or str(error)))
        return
    if (place.st_dev, place.st_ino) in seen:
        return  # a link back into a folder that was walked already
    seen.add((place.st_dev, place.st_ino))
    for entry in entries:
        if entry.name.startswith(".") or entry.name in SIDECARS:
            continue
        path = folder / entry.name
        try:
            mode = path.stat().st_mode
        except OSError as error:
            problems.append((str(path), f"link that leads nowhere: {error.strerror}"))
            continue
        if stat.S_ISDIR(mode):
            yield from _walk(path, problems, seen)
        elif stat.S_ISREG(mode):
            yield path
        else:
            problems.append((str(path), "not a regular file"))


def _folder_metadata(folder: Path) -> dict[str, dict]:
    """file_name -> its line. Raises UserError for a line that cannot be read: a lost group would leak across splits."""
    for name, read in (("metadata.jsonl", _read_lines), ("metadata.csv", _read_csv)):
        path = folder / name
        if path.is_file():
            try:
                return {str(record["file_name"]): record for record in read(path) if "file_name" in record}
            except ValueError as error:
                raise UserError(f"{path} cannot be read", got=str(error), expected="UTF-8 text") from None
    return {}


def _read_lines(path: Path) -> list[dict]:
    records = []
    for number, line in enumerate(path.read_text(encoding="utf-8-sig").splitlines(), 1):
        if line.strip():
            try:
                record = json.loads(line)
            except ValueError:
                record = None
            if not isinstance(record, dict):
                raise ValueError(f"line {number} is not a JSON object")
            records.append(record)
    return records


def _read_csv(path: Path) -> list[dict]:
    with path.open(newline="", encoding="utf-8-sig") as file:  # spreadsheets put a byte-order mark first
        return list(csv.DictReader(file))


def _text(value: object) -> str | None:
    return None if value in (None, "") else str(value)


def _digits(chosen: str | None, spec: str) -> Source:
    """scikit-learn's 1,797 handwritten digits, 8x8, 17 grey levels (Alpaydin and Kaynak, 1998; UCI repository)."""
    from sklearn.datasets import load_digits

    data = load_digits()
    pixels = np.round(data.images * (255 / 16)).astype(np.uint8)  # (1797, 8, 8)
    classes = [str(target) for target in data.target]
    keep = [i for i, name in enumerate(classes) if chosen in (None, name)]
    if not keep:
        raise unknown_name("class in digits", chosen, sorted(set(classes)))
    names = [f"digits/{i:04d}" for i in keep]
    return Source(
        spec, names, [classes[i] for i in keep], [None] * len(keep), lambda i: pixels[keep[i]], f"digits-1797-{chosen}"
    )
