"""The SHA-256 of files at URLs, by what the list of their store said of them: a file of which it says the same as at an earlier
call is not fetched again to compare its content. They are kept in the cache folder, which may be deleted at any time.
"""

from __future__ import annotations

import hashlib
import sqlite3
from contextlib import suppress
from pathlib import Path

from fakecore.runs.cache import cache_home

_FILE = ("urls", "stamps.sqlite")
_WAIT_S = 5.0  # for another process that writes
_TOGETHER = 256  # files that are written in one transaction


class Stamps:
    """Maps (URL, stamp) of a file to its SHA-256; a stamp is its size, ETag and time, as a list says them. Only digests of URLs
    are written: they may be secret. Without a cache folder that can be written to, nothing is known.
    """

    def __init__(self) -> None:
        self._new: list[tuple[bytes, bytes, bytes]] = []
        self._database: sqlite3.Connection | None = None
        with suppress(sqlite3.Error, OSError):
            path = Path(cache_home(), *_FILE)
            path.parent.mkdir(parents=True, exist_ok=True)
            database = sqlite3.connect(path, timeout=_WAIT_S, check_same_thread=False)
            database.execute(
                "CREATE TABLE IF NOT EXISTS stamps (url BLOB PRIMARY KEY, stamp BLOB, sha256 BLOB) WITHOUT ROWID"
            )
            self._database = database

    def digest_of(self, url: str, stamp: str) -> bytes | None:
        """Return the SHA-256 of a file, None if it is not known."""
        with suppress(sqlite3.Error):
            query = "SELECT sha256 FROM stamps WHERE url = ? AND stamp = ?"
            found = self._database and self._database.execute(query, (_digest(url), _digest(stamp))).fetchone()
            return found[0] if found else None
        return None

    def add(self, url: str, stamp: str, sha256: bytes) -> None:
        """Keep the SHA-256 of a file, in place of an earlier one of this URL; it is written soon, or at `close`."""
        self._new.append((_digest(url), _digest(stamp), sha256))
        if len(self._new) >= _TOGETHER:
            self._write()

    def close(self) -> None:
        """Write what is new."""
        self._write()
        if self._database:
            self._database.close()
            self._database = None

    def _write(self) -> None:
        if self._database and self._new:
            with suppress(sqlite3.Error), self._database:
                self._database.executemany("INSERT OR REPLACE INTO stamps VALUES (?, ?, ?)", self._new)
        self._new = []


def _digest(text: str) -> bytes:
    return hashlib.sha256(text.encode(errors="surrogateescape")).digest()
