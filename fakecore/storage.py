"""Files at paths and URLs alike: read, write, list and copy them, by fsspec and the package of each store.

A transfer that fails for a reason that may pass is repeated, see fakecore/retrying.py. Credentials are those that each store's
own library finds; no URL is printed with its secrets: messages show `urls.shown`.
"""

from __future__ import annotations

import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from fakecore import files
from fakecore.errors import UserError, why_unreadable
from fakecore.filesystems import open_filesystem
from fakecore.retrying import Backoff, Failed, Fault, Short, TooSlow, attempt, fault_of
from fakecore.urls import base_name, is_url, is_web, join, scheme_of, shown

Result = TypeVar("Result")
BACKOFF = Backoff()
MAX_BYTES = 256 << 20  # of a file that is read into memory, as of one in an archive
TRANSFERS = 16  # files copied at a time: they wait for the network, not for a core
_CHUNK = 1 << 20
_SLOW_S, _SLOW_RATE = 60, 1024  # a body slower than this rate, bytes a second, after this time is given up


class StorageError(UserError):
    """A file cannot be read, written or listed. `reason` says why in a few words, for a row; `status` is "unreadable" or
    "too_large"; `passing` if it may succeed later; `is_missing` if there is no such file.
    """

    def __init__(
        self, url: str, reason: str, *, status: str = "unreadable", passing: bool = False, is_missing: bool = False
    ):
        super().__init__(f"{shown(url)}: {reason}")
        self.reason, self.status, self.passing, self.is_missing = reason, status, passing, is_missing


class Listed(NamedTuple):
    """A file in a folder: its URL or path, its size in bytes, and a stamp as in Facts; None if the store does not say it."""

    url: str
    size: int | None
    stamp: str | None = None


@dataclass(frozen=True)
class Facts:
    """What a store says of a file: its size in bytes, and a `stamp` that changes with its content; None if unknown."""

    size: int | None
    stamp: str | None


def filesystem(url: str) -> tuple[Any, str]:
    """Return (fsspec file system, path in it) of a URL, or of a path of this machine.

    Raises UserError for an unknown scheme, for a package that is missing, and for a password in the URL of a bucket;
    StorageError if the store cannot be opened.
    """
    try:
        return open_filesystem(url)
    except UserError:
        raise
    except Exception as error:  # of a missing project, an unreadable file of credentials
        raise _error(url, error) from None


def read_bytes(
    url: str,
    *,
    most: int = MAX_BYTES,
    size: int | None = None,
    backoff: Backoff | None = None,
    reserve: Callable[[int], object] | None = None,
) -> bytes:
    """Return the content of a file of at most `most` bytes; `size` if a list gave it. A body that is shorter than the server
    said is an error, and is repeated. `reserve` is called with the number of bytes that are about to be held, before they are,
    in one or more calls at each try, after a call with 0; it may wait, or raise.

    Raises StorageError.
    """
    store, path = filesystem(url)
    if _is_local(url):
        return _read_local(Path(path), most)
    take = reserve or _ignore

    def read() -> bytes:
        take(0)
        if is_web(url):
            return b"".join(_web_chunks(store, url, most, take))
        known = store.info(path)["size"] if size is None else size
        if known is not None:
            _check_size(url, known, most)
            take(known)
        data = store.cat_file(path)
        if known is not None and len(data) < known:
            raise Short(len(data), known)
        _check_size(url, len(data), most)
        return data

    return _tried(url, read, backoff)


def read_range(url: str, start: int, stop: int, *, backoff: Backoff | None = None) -> bytes:
    """Return the bytes `start` to `stop`, exclusive, of a file that has them, or a path's. Raises StorageError."""
    store, path = filesystem(url)

    def read() -> bytes:
        data = store.cat_file(path, start=start, end=stop)
        if is_web(url) and len(data) >= stop and start:
            raise StorageError(url, "the server sends whole files only, and parts of them are needed")
        if len(data) < stop - start:
            raise Short(len(data), stop - start)
        return data[: stop - start]

    return _tried(url, read, backoff)


def write_bytes(url: str, data: bytes, *, backoff: Backoff | None = None) -> None:
    """Write a whole file, which appears complete or not at all: on this machine by a temporary file and a rename; in a store by
    one put, which S3, Google, Azure and Hugging Face (a commit) show when it is complete. Raises StorageError; UserError for
    http(s), which is read only.
    """
    if _is_local(url):
        files.write_bytes(Path(filesystem(url)[1]), data)
        return
    refuse_unwritable(url)
    store, path = filesystem(url)
    _tried(url, lambda: store.pipe_file(path, data), backoff)


def upload(file: Path, url: str, *, backoff: Backoff | None = None) -> None:
    """Copy a file of this machine to a URL or path, in pieces if it is large; it appears there as `write_bytes` says. Raises
    StorageError; UserError for http(s).
    """
    store, path = filesystem(url)
    if _is_local(url):
        with files.atomic_path(Path(path)) as temporary:
            shutil.copyfile(file, temporary)
        return
    refuse_unwritable(url)
    _tried(url, lambda: store.put_file(str(file), path), backoff)


def refuse_unwritable(url: str) -> None:
    """Raise UserError for a URL that cannot be written to: http and https."""
    if is_web(url):
        raise UserError(
            "an http(s) URL cannot be written to", got=shown(url), expected="a path, or s3://, gs://, az://, hf://"
        )


def exists(url: str, *, backoff: Backoff | None = None) -> bool:
    """Return whether there is a file or folder. Raises StorageError if the store does not say."""
    store, path = filesystem(url)
    try:
        _tried(url, lambda: store.info(path), backoff)
    except StorageError as error:
        if error.is_missing:
            return False
        raise
    return True


def facts(url: str, *, backoff: Backoff | None = None) -> Facts:
    """Return what a store says of a file, without its content. Raises StorageError."""
    store, path = filesystem(url)
    info = _tried(url, lambda: store.info(path), backoff)
    return Facts(info.get("size"), _stamp(info))


def list_files(url: str, *, every: bool = False, backoff: Backoff | None = None) -> Iterator[Listed]:
    """Yield the files below a folder or prefix, sorted; of S3 a page of 1,000 names at a time, of others the names of one
    folder. Hidden files and folders, and lists such as metadata.csv are left out, unless `every` file is asked for.

    Raises StorageError, after the first files too; UserError for http(s), which has no lists.
    """
    if is_web(url):
        what = "a folder on a web server cannot be listed"
        raise UserError(what, got=shown(url), expected="URLs of its files, or --files-from a list of them")
    store, path = filesystem(url)
    pages = _s3_pages(url, store, path, backoff) if scheme_of(url) == "s3" else _folders(url, store, path, backoff)
    start = "" if _is_local(url) else f"{scheme_of(url)}://"
    root = len(path.rstrip("/")) + 1
    for name, info in pages:
        parts = name[root:].split("/")
        if parts[-1] and (every or not any(map(files.is_left_out, parts))):
            size = info.get("size", info.get("Size"))
            yield Listed(start + name.lstrip("/") if start else name, size, _stamp(info))


def is_folder(url: str, *, backoff: Backoff | None = None) -> bool:
    """Return whether a URL names a folder, or a prefix with files below it. Raises StorageError, also if there is nothing."""
    if is_web(url):
        return False
    store, path = filesystem(url)
    return _tried(url, lambda: store.info(path), backoff)["type"] == "directory"


def matches(url: str, *, backoff: Backoff | None = None) -> list[str]:
    """Return the URLs of a pattern, sorted, all in memory: `*` within a folder, `**` across. Raises StorageError."""
    store, path = filesystem(url)
    found = _tried(url, lambda: store.glob(path), backoff)
    return [f"{scheme_of(url)}://{name.lstrip('/')}" for name in sorted(found)]


@contextmanager
def local_copy(
    url: str, *, backoff: Backoff | None = None, on_bytes: Callable[[int], object] | None = None
) -> Iterator[Path]:
    """Yield a path at which the file can be read until the block ends: a copy in the folder of temporary files, with its own
    name; a file of this machine itself. `on_bytes` is that of `download`. Raises StorageError.
    """
    if _is_local(url):
        yield Path(filesystem(url)[1])
        return
    with tempfile.TemporaryDirectory(prefix="fakelab-") as folder:
        target = Path(folder, base_name(url)[-100:] or "file")
        download(url, target, backoff=backoff, on_bytes=on_bytes)
        yield target


def download(
    url: str,
    target: Path,
    *,
    size: int | None = None,
    backoff: Backoff | None = None,
    on_bytes: Callable[[int], object] | None = None,
) -> int:
    """Copy a file to `target`, which is then complete, in pieces; return its size in bytes. `size` if a list gave it: it saves
    a request. `on_bytes` is called with the number of bytes of each piece, from any thread; it may raise Stopped, to end the
    transfer. Raises StorageError.
    """
    from fsspec.callbacks import Callback

    store, path = filesystem(url)
    copied = on_bytes or _ignore

    class _Copied(Callback):
        def relative_update(self, inc: int = 1) -> None:
            copied(inc)

    def copy() -> int:
        with files.atomic_path(target) as temporary:
            if is_web(url):
                with temporary.open("wb") as file:
                    for chunk in _web_chunks(store, url, None, _ignore):
                        file.write(chunk)
                        copied(len(chunk))
                return temporary.stat().st_size
            known = store.info(path)["size"] if size is None else size
            store.get_file(path, str(temporary), callback=_Copied())
            got = temporary.stat().st_size
            if known is not None and got < known:
                raise Short(got, known)
            return got

    try:
        return _tried(url, copy, backoff)
    except StorageError as error:
        free = shutil.disk_usage(target.parent).free
        raise StorageError(url, f"{error.reason}; the disk is full", passing=True) from None if free < _CHUNK else error


def _web_chunks(store: Any, url: str, most: int | None, take: Callable[[int], object]) -> Iterator[bytes]:
    """Yield the body of a GET in pieces. A body that is cut short raises; so does one over `most` bytes, before it is held."""
    with store.open(url, "rb", block_size=0, size=1) as file:  # a stream, without a HEAD before
        headers = file.r.headers
        length = headers.get("Content-Length", "")
        expected = int(length) if length.isdecimal() and not headers.get("Content-Encoding") else None
        if expected is not None:
            _check_size(url, expected, most)
            take(expected)
        got, began = 0, time.monotonic()
        while chunk := file.read(_CHUNK):
            got += len(chunk)
            _check_size(url, got, most)
            if expected is None:
                take(len(chunk))
            passed = time.monotonic() - began
            if passed > _SLOW_S and got < _SLOW_RATE * passed:
                raise TooSlow
            yield chunk
    if expected is not None and got < expected:
        raise Short(got, expected)


def _check_size(url: str, size: int, most: int | None) -> None:
    if most is not None and size > most:
        raise StorageError(url, f"over {most >> 20:,} MiB, the limit for a file at a URL", status="too_large")


def _is_local(url: str) -> bool:
    return scheme_of(url) in (None, "file")


def _read_local(path: Path, most: int) -> bytes:
    try:
        _check_size(str(path), path.stat().st_size, most)
        return path.read_bytes()
    except OSError as error:
        missing = isinstance(error, FileNotFoundError)
        raise StorageError(str(path), why_unreadable(error, path), is_missing=missing) from None


def _s3_pages(url: str, store: Any, path: str, backoff: Backoff | None) -> Iterator[tuple[str, dict]]:
    """Yield (bucket/key, what S3 says of it), sorted: the order in which S3 lists."""
    bucket, _, prefix = path.partition("/")
    asked: dict[str, str] = {"Bucket": bucket, "Prefix": f"{prefix.rstrip('/')}/" if prefix else ""}
    while True:
        page = _tried(url, lambda: store.call_s3("list_objects_v2", **asked), backoff)
        for one in page.get("Contents", ()):
            yield f"{bucket}/{one['Key']}", one
        if not page.get("IsTruncated"):
            return
        asked["ContinuationToken"] = page["NextContinuationToken"]


def _folders(url: str, store: Any, path: str, backoff: Backoff | None) -> Iterator[tuple[str, dict]]:
    for one in sorted(_tried(url, lambda: store.ls(path, detail=True), backoff), key=lambda one: one["name"]):
        name = one["name"].rstrip("/")
        if one["type"] != "directory":
            yield name, one
        elif name != path.rstrip("/"):
            yield from _folders(url, store, name, backoff)


def _stamp(info: dict) -> str | None:
    """Return what changes with the content of a file, in what a store says of it."""
    names = ("ETag", "etag", "md5Hash", "content_md5", "blob_id", "Last-Modified", "LastModified", "last_modified")
    return "; ".join(f"{name}={info[name]}" for name in (*names, "mtime", "created") if info.get(name)) or None


def _tried(url: str, action: Callable[[], Result], backoff: Backoff | None) -> Result:
    place = shown(url).partition("://")
    try:
        return attempt(
            action, f"{place[0]}://{place[2].partition('/')[0]}", backoff or BACKOFF, (StorageError, Stopped)
        )
    except Failed as failed:
        raise _as_error(url, failed.fault, failed.tries) from None


class Stopped(Exception):
    """What a caller raises in `reserve`, `on_bytes` or `sleep` to end a transfer."""


def _error(url: str, error: Exception) -> StorageError:
    return _as_error(url, fault_of(error), 1)


def _as_error(url: str, fault: Fault, tries: int) -> StorageError:
    reason = f"{fault.reason}, {tries} times" if tries > 1 else fault.reason
    return StorageError(url, reason, passing=fault.passing, is_missing=fault.is_missing)


def _ignore(_: int) -> None:
    pass


__all__ = [
    "BACKOFF",
    "MAX_BYTES",
    "Facts",
    "Listed",
    "Stopped",
    "StorageError",
    "base_name",
    "download",
    "exists",
    "facts",
    "filesystem",
    "is_folder",
    "is_url",
    "is_web",
    "join",
    "list_files",
    "local_copy",
    "matches",
    "read_bytes",
    "read_range",
    "refuse_unwritable",
    "shown",
    "upload",
    "write_bytes",
]
