"""WebDataset shards: tar files with pairs of `key.json` and `key.png`. Equal members give equal bytes on every machine: times,
owners and modes of the file system are not stored.
"""

from __future__ import annotations

import tarfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from pathlib import Path
from typing import Any

from fakecore import storage
from fakecore.sets.archives import MAX_MEMBER_BYTES, ArchiveError, CheckedHeader
from fakecore.urls import is_url

_BLOCK = tarfile.BLOCKSIZE
_HEADER = tarfile.TarInfo().tobuf(tarfile.USTAR_FORMAT)  # no name, no data; time, owner and group 0, mode 0644
_READ = 8 << 20  # bytes of a shard that are read at a time; two of them are in memory
_NAME, _SIZE, _CHECKSUM = slice(0, 100), slice(124, 135), slice(148, 155)


def tar_member(name: str, data: bytes) -> bytes:
    """Return one member of a tar file: header, data, zero padding. Names are ASCII, up to 100 bytes.

    The bytes are those of tarfile, written eight times as fast: half a minute less for a million images.
    """
    if len(name) > 100:
        raise ValueError(f"{name!r} is longer than a tar header's 100 bytes")
    header = bytearray(_HEADER)
    header[_NAME] = name.encode("ascii").ljust(100, b"\0")
    header[_SIZE] = b"%011o" % len(data)
    header[_CHECKSUM] = b" " * 7  # the checksum counts its own field as blanks
    header[_CHECKSUM] = b"%06o\0" % (sum(header))
    return b"".join((header, data, bytes(-len(data) % _BLOCK)))


def tar_end(size: int) -> bytes:
    """Return the end of a tar file with `size` bytes of members: two zero blocks, padded to a whole record."""
    return bytes(2 * _BLOCK + -(size + 2 * _BLOCK) % tarfile.RECORDSIZE)


def read_member(shard: Path, name: str) -> bytes:
    """Return the data of one member. Raises KeyError if the shard does not contain it, OSError or tarfile.TarError if the shard
    is missing or damaged.
    """
    offset, size = member_places(shard)[name]
    with shard.open("rb") as file:
        file.seek(offset)
        return file.read(size)


def member_places(shard: Path) -> dict[str, tuple[int, int]]:
    """Return {name: (offset, size) of its data, bytes} of every regular file in a shard."""
    return _places(shard, shard.stat().st_mtime_ns)


@lru_cache(maxsize=64)
def _places(shard: Path, changed: int) -> dict[str, tuple[int, int]]:
    with tarfile.open(shard, "r:") as tar:
        return {member.name: (member.offset_data, member.size) for member in tar if member.isreg()}


def shard_facts(shard: str) -> tuple[int, str | None] | None:
    """Return the size of a shard, a URL or a path, in bytes, and a stamp that changes with its content; None if there is none.
    Raises StorageError.
    """
    if not is_url(shard):
        path = Path(shard)
        return (path.stat().st_size, str(path.stat().st_mtime_ns)) if path.is_file() else None
    try:
        said = storage.facts(shard)
    except storage.StorageError as error:
        if error.is_missing:
            return None
        raise
    return said.size or 0, said.stamp


class ShardError(Exception):
    """A shard is damaged; the text says how."""


def read_shard(url: str, size: int) -> Iterator[tuple[str, int, bytes]]:
    """Yield (name, offset of its data, data) of every regular file in a shard of `size` bytes, a URL or a path, in order. It is
    read from its start to its end, in blocks, each of which is repeated if the connection fails.

    Raises StorageError; ShardError, at the first bad member, for a damaged shard.
    """
    try:
        with ThreadPoolExecutor(1) as ahead:
            blocks: Any = _Blocks(url, size, ahead)
            with tarfile.open(fileobj=blocks, mode="r|", bufsize=1 << 20, tarinfo=CheckedHeader) as tar:
                while member := tar.next():
                    tar.members.clear()  # type: ignore[attr-defined]  # it would keep them all
                    if member.size > MAX_MEMBER_BYTES:
                        raise ShardError(f"the shard has a file of over {MAX_MEMBER_BYTES >> 20} MiB")
                    if (content := tar.extractfile(member) if member.isreg() else None) is not None:
                        yield member.name, member.offset_data, content.read()
    except (tarfile.TarError, EOFError, ValueError, ArchiveError):
        raise ShardError("the shard is truncated or damaged") from None


class _Blocks:
    """A shard as a file that is read from its start; the next block is read while this one is used."""

    def __init__(self, url: str, size: int, ahead: ThreadPoolExecutor):
        self._url, self._size, self._ahead = url, size, ahead
        self._block, self._place, self._end = memoryview(b""), 0, 0
        self._next = self._request()

    def _request(self) -> Any:
        start, self._end = self._end, min(self._end + _READ, self._size)
        return self._ahead.submit(storage.read_range, self._url, start, self._end) if start < self._end else None

    def read(self, size: int) -> bytes:
        if self._place == len(self._block) and self._next is not None:
            self._block, self._place = memoryview(self._next.result()), 0
            self._next = self._request()
        data = bytes(self._block[self._place : self._place + size])
        self._place += len(data)
        return data
