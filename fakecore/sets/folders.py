"""Sources: lists of real images that are not decoded yet; and how a folder becomes a source."""

from __future__ import annotations

import csv
import hashlib
import json
import os
import stat
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from fakecore.errors import UserError, unknown_name, why_unreadable
from fakecore.files import is_left_out
from fakecore.media.pixels import read_bytes


@dataclass(frozen=True)
class Source:
    """A list of real images. `names`, `classes` and `groups` are parallel; a class or group is None if unknown."""

    spec: str
    names: list[str]
    classes: list[str | None]
    groups: list[str | None]
    read: Callable[[int], bytes | np.ndarray]  # file bytes, or uint8 pixels (H, W) or (H, W, 3) RGB
    stamp: str  # changes when the listing changes: names, sizes, times
    problems: list[tuple[str, str]] = field(default_factory=list)  # (path, reason) of what could not be listed
    folder: Path | None = None  # the root of `names`; None if they are not files of the user
    faces: dict | None = None  # for crops made by `faces`: their margin and align
    files: list[str] | None = None  # paths, if image i is all of file i

    @property
    def paths(self) -> list[str]:
        """Return the path of each image; for a named data set, its name."""
        return self.names if self.folder is None else [str(self.folder / name) for name in self.names]

    def __len__(self) -> int:
        return len(self.names)


def open_folder(folder: Path, chosen: str | None, spec: str) -> Source:
    """Open a folder, flat or with one sub-folder per class; `chosen` selects one class.

    A `metadata.jsonl` or `metadata.csv` beside the images (Hugging Face `imagefolder`: file_name and more columns)
    can give the `class` and `group` of each.
    """
    problems: list[tuple[str, str]] = []
    root = str(folder).rstrip(os.sep) + os.sep
    files, facts = [], []
    for path, status in _scan(str(folder), problems, set()):
        files.append(path)
        facts.append((status.st_size, status.st_mtime_ns))
    known = _folder_metadata(folder)
    names = [path.removeprefix(root).replace(os.sep, "/") for path in files]
    classes = [
        _text(known.get(name, {}).get("class")) or (name.partition("/")[0] if "/" in name else None) for name in names
    ]
    groups = [_text(known.get(name, {}).get("group")) for name in names]
    if chosen is not None:
        others = {folder / name for name in classes if name not in (None, chosen)}
        problems = [(path, why) for path, why in problems if others.isdisjoint(Path(path).parents)]
        keep = [index for index, name in enumerate(classes) if name == chosen]
        if not keep:
            present = sorted({name for name in classes if name is not None})
            if not present:
                what = f"there is no class {chosen!r} in {folder}: it has no sub-folders"
                raise UserError(what, remedy=f"Use {folder} for all of its images.")
            raise unknown_name("class", chosen, present, where=f"in {folder}")
        files, names, facts = [files[i] for i in keep], [names[i] for i in keep], [facts[i] for i in keep]
        classes, groups = [classes[i] for i in keep], [groups[i] for i in keep]
    return Source(
        spec,
        names,
        classes,
        groups,
        lambda i: read_bytes(Path(files[i])),
        _listing_stamp(folder, names, facts),
        problems,
        folder,
        files=files,
    )


def walk_files(folder: Path, problems: list[tuple[str, str]]) -> Iterator[Path]:
    """Yield every regular file below `folder`, sorted. Links are followed, but no folder is visited twice.

    Hidden files and sidecars are left out. Folders that cannot be read, broken links and special files are appended
    to `problems` as (path, reason).
    """
    for path, _ in _scan(str(folder), problems, set()):
        yield Path(path)


def _scan(
    folder: str, problems: list[tuple[str, str]], seen: set[tuple[int, int]]
) -> Iterator[tuple[str, os.stat_result]]:
    """Yield the path and status of every file, see `walk_files`. Paths are strings: objects would take most of the time. Of a
    folder, names are held, not entries, which are larger.
    """
    try:
        place = os.stat(folder)  # noqa: PTH116
        names = sorted(os.listdir(folder))  # noqa: PTH208
    except OSError as error:
        problems.append((str(Path(folder)), why_unreadable(error, Path(folder))))
        return
    if (place.st_dev, place.st_ino) in seen:
        return  # a link back into a folder that was walked already
    seen.add((place.st_dev, place.st_ino))
    for name in names:
        if is_left_out(name):
            continue
        path = os.path.join(folder, name)  # noqa: PTH118
        try:
            status = os.stat(path)  # noqa: PTH116
        except OSError as error:
            problems.append((str(Path(path)), why_unreadable(error, Path(path))))
            continue
        if stat.S_ISDIR(status.st_mode):
            yield from _scan(path, problems, seen)
        elif stat.S_ISREG(status.st_mode):
            yield path, status
        else:
            problems.append((str(Path(path)), "not a regular file"))


def _folder_metadata(folder: Path) -> dict[str, dict]:
    """Return {file_name: its line}. Raises UserError for an unreadable line: a missing group would leak across splits."""
    for name, read in (("metadata.jsonl", _read_lines), ("metadata.csv", _read_csv)):
        path = folder / name
        if path.is_file():
            try:
                return {str(record["file_name"]): record for record in read(path) if "file_name" in record}
            except ValueError as error:
                got = "bytes that are not UTF-8 text" if isinstance(error, UnicodeDecodeError) else str(error)
                raise UserError(f"{path} cannot be read", got=got) from None
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


def listing_stamp(folder: Path, names: Iterable[str], files: Iterable[Path]) -> str:
    """Return a digest of names, sizes and times, which changes whenever the folder changes."""
    return _listing_stamp(folder, names, map(_size_and_time, files))


def _size_and_time(path: Path) -> tuple[int, int] | None:
    try:
        status = path.stat()
        return status.st_size, status.st_mtime_ns
    except OSError:
        return None


def _listing_stamp(folder: Path, names: Iterable[str], facts: Iterable[tuple[int, int] | None]) -> str:
    digest = hashlib.sha256(os.fsencode(folder.resolve()))
    for name, own in zip(names, facts, strict=True):
        digest.update(f"{name}\0{own}\n".encode(errors="surrogateescape"))
    return digest.hexdigest()
