"""Where the files of a set of images are written: a folder, or a URL."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Protocol

from fakecore import storage
from fakecore.runs.cache import cache_home
from fakecore.urls import is_url


class Target(Protocol):
    """The place of a set. What another process sees there under a file's name is complete, or not yet listed."""

    def write(self, name: str, data: bytes, part: Path) -> None:
        """Write a whole file; `part` is a path, of this process, where it may grow."""

    def put(self, part: Path, name: str) -> None:
        """Move a complete file of this machine to its place."""


class FolderTarget:
    """A folder of this machine, or one that machines share; with `alone`, no other process writes to it now."""

    def __init__(self, root: Path, *, alone: bool):
        self._root, self._alone = root, alone

    def write(self, name: str, data: bytes, part: Path) -> None:
        """See Target."""
        if self._alone:  # an incomplete file is not listed, and is written again
            (self._root / name).write_bytes(data)
            return
        part.write_bytes(data)
        self.put(part, name)

    def put(self, part: Path, name: str) -> None:
        """See Target."""
        part.replace(self._root / name)


class UrlTarget:
    """A folder at a URL, whose files appear complete or not at all."""

    def __init__(self, url: str):
        self._url = url

    def write(self, name: str, data: bytes, part: Path) -> None:
        """See Target. Raises StorageError."""
        storage.write_bytes(storage.join(self._url, name), data)

    def put(self, part: Path, name: str) -> None:
        """See Target. Raises StorageError."""
        storage.upload(part, storage.join(self._url, name))
        part.unlink()


def target_at(place: str | Path, *, alone: bool) -> Target:
    """Return the target at a path or URL."""
    return UrlTarget(str(place)) if is_url(str(place)) else FolderTarget(Path(place), alone=alone)


def ledger_folder(url: str) -> Path:
    """Return the folder of this machine where the manifest of a set at a URL grows, since files at URLs cannot."""
    return cache_home() / "outgoing" / hashlib.sha256(url.rstrip("/").encode()).hexdigest()[:24]
