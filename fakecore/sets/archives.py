"""Read zip and tar archives member by member, in memory: nothing is unpacked to disk, and no name in them is used as a path.

An archive of a few kilobytes can expand to terabytes. What is read of one is limited: the number of members, the size of each
and of all, and how many times larger they are than the archive.
"""

from __future__ import annotations

import bz2
import gzip
import lzma
import stat
import struct
import tarfile
import zipfile
import zlib
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, BinaryIO

from fakecore.errors import why_unreadable
from fakecore.files import is_left_out
from fakecore.media.pixels import starts_as_image
from fakecore.media.videofiles import HEAD_BYTES, is_video
from fakecore.messages import counted

MAX_MEMBERS = 200_000
MAX_MEMBER_BYTES = 256 << 20  # of one member, which is held in memory
MAX_TOTAL_BYTES = 256 << 30
MAX_RATIO = 200  # photos and videos hardly shrink; a bomb expands 1,000 times and more
_FREE_BYTES = 64 << 20  # the ratio counts from here: a small white bitmap may shrink 1,000 times
_MAX_HEADER = 1 << 20  # bytes of a long name or of the extra fields of a tar member
_MAX_DICTIONARY = 256 << 20  # bytes of memory to decompress xz; xz -9 needs 65 MiB
_UNPACK = "unpack it, and score the folder"

_ZIP = (".zip",)
_TAR = (".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tbz2", ".tar.xz", ".txz")
SUFFIXES = _ZIP + _TAR
_OTHERS = (".7z", ".rar", ".gz", ".bz2", ".xz", ".zst")  # as members only: archives that are not read
_METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2)
_ERRORS = (
    *(zipfile.BadZipFile, tarfile.TarError, zlib.error, lzma.LZMAError, gzip.BadGzipFile, OSError, EOFError),
    *(struct.error, ValueError, IndexError, OverflowError, RuntimeError, NotImplementedError),
)


class ArchiveError(Exception):
    """An archive cannot be read, or not further. `status` is "unreadable" or "too_large"; the text gives the reason."""

    def __init__(self, status: str, reason: str):
        super().__init__(" ".join(reason.split()))
        self.status = status


@dataclass(frozen=True, slots=True)
class Member:
    """A file in an archive. `name` is as the archive has it, only to be shown; `data` is None if there is a `problem`, whose
    `status` is "unreadable", "unsupported" or "too_large".
    """

    name: str
    data: bytes | None
    problem: str | None = None
    status: str = "unreadable"


def named_archive(name: str) -> bool:
    """Return whether the name is that of an archive, for files that are not here."""
    return name.lower().endswith(SUFFIXES)


def is_archive(path: str) -> bool:
    """Return whether a file is read as an archive: by its name, unless it is a photo or video of that name."""
    if not named_archive(path):
        return False
    try:
        file = Path(path)
        if not file.is_file():
            return False
        with file.open("rb") as opened:
            head = opened.read(HEAD_BYTES)
    except OSError:
        return False
    return not starts_as_image(head) and not is_video(head, "", ())


def members(path: Path) -> Iterator[Member]:
    """Yield the files in an archive, in its order, one in memory at a time. Folders, hidden files and sidecars are left out, as
    in a folder. Of members of one name, later ones get a number: "a#2.png".

    Raises ArchiveError, at the first member or later, for an archive that cannot be read, or not further.
    """
    seen: Counter[str] = Counter()
    count = 0
    try:
        for one in _zip_members(path) if path.name.lower().endswith(_ZIP) else _tar_members(path):
            count += 1
            if count > MAX_MEMBERS:
                raise ArchiveError("too_large", f"over {MAX_MEMBERS:,} members, the limit: {_UNPACK}")
            seen[one.name] += 1
            yield one if seen[one.name] == 1 else replace(one, name=_numbered(one.name, seen))
        if not count:
            raise ArchiveError("unreadable", "no files in it")
    except PermissionError as error:
        raise ArchiveError("unreadable", why_unreadable(error, path)) from None
    except _ERRORS:
        what = (
            f"truncated or damaged after {counted(count, 'readable file')}" if count else "not an archive, or damaged"
        )
        raise ArchiveError("unreadable", f"{what}: make it again") from None


def _numbered(name: str, seen: Counter[str]) -> str:
    """Return the name of a further member of this name, one that no other has, and count it."""
    folder, slash, last = name.rpartition("/")
    stem, dot, suffix = last.rpartition(".") if "." in last else (last, "", "")
    number = seen[name]
    while seen[free := f"{folder}{slash}{stem}#{number}{dot}{suffix}"]:
        number += 1
    seen[free] = 1
    return free


def _zip_members(path: Path) -> Iterator[Member]:
    with path.open("rb") as file:
        _refuse_long_list(file)
        allowance = _Allowance(path.stat().st_size)
        with zipfile.ZipFile(file) as archive:
            for info in archive.infolist():
                if not info.is_dir() and not _is_hidden(info.filename):
                    problem = _refused_zip(info) or _refused(info.filename, info.file_size)
                    yield Member(info.filename, None, *problem) if problem else _from_zip(archive, info, allowance)


def _refuse_long_list(file: BinaryIO) -> None:
    """Raise ArchiveError for a zip file with a list of members that is too long, before it is read into memory."""
    size = file.seek(0, 2)
    file.seek(max(0, size - (1 << 16) - 98))  # the longest comment, and the records before it
    tail = file.read()
    end = tail.rfind(b"PK\5\6")
    if end < 0 or len(tail) < end + 22:
        raise ArchiveError("unreadable", "no complete zip archive: its list of members, at its end, is missing")
    (count,), (length,) = struct.unpack_from("<H", tail, end + 10), struct.unpack_from("<I", tail, end + 12)
    if (count == 0xFFFF or length == 0xFFFFFFFF) and tail[max(0, end - 20) : end].startswith(b"PK\6\7"):
        file.seek(struct.unpack_from("<Q", tail, end - 12)[0])
        count, length = struct.unpack_from("<QQ", file.read(56), 32)
    if count > MAX_MEMBERS or length > 1_000 * MAX_MEMBERS:  # a list can be longer than it says
        raise ArchiveError("too_large", f"{count:,} members; the limit is {MAX_MEMBERS:,}: {_UNPACK}")
    file.seek(0)


def _refused_zip(info: zipfile.ZipInfo) -> tuple[str, str] | None:
    if info.flag_bits & 1:
        return f"encrypted: {_UNPACK}", "unreadable"
    if stat.S_ISLNK(info.external_attr >> 16):
        return f"a link, which is not followed in an archive: {_UNPACK}", "unsupported"
    if info.compress_type not in _METHODS:
        return f"compressed by method {info.compress_type}; deflate and bzip2 are read: {_UNPACK}", "unsupported"
    if info.file_size > _FREE_BYTES and info.file_size > MAX_RATIO * info.compress_size:
        return f"expands {info.file_size // max(1, info.compress_size):,} times; the limit is {MAX_RATIO}", "too_large"
    return None


def _from_zip(archive: zipfile.ZipFile, info: zipfile.ZipInfo, allowance: _Allowance) -> Member:
    allowance.take(info.file_size)
    try:
        with archive.open(info) as file:
            data = file.read(info.file_size)  # zipfile gives no more than the size that it declares, and checks its CRC
    except _ERRORS:
        return Member(info.filename, None, "truncated or damaged in the archive")
    if len(data) != info.file_size:
        return Member(info.filename, None, "truncated or damaged in the archive")
    return Member(info.filename, data)


def _tar_members(path: Path) -> Iterator[Member]:
    with path.open("rb") as file:
        stream = _inflated(path.name.lower(), file)
        with tarfile.open(fileobj=stream, mode="r|", tarinfo=CheckedHeader, errors="surrogateescape") as archive:
            while info := archive.next():
                archive.members.clear()  # type: ignore[attr-defined]  # it would keep them all
                name = info.name.removeprefix("./")
                if info.isdir() or _is_hidden(name):
                    continue
                problem = _refused_tar(info) or _refused(name, info.size)
                if problem:
                    yield Member(name, None, *problem)
                    continue
                content = archive.extractfile(info)
                assert content, "a regular file"
                yield Member(name, content.read())


class CheckedHeader(tarfile.TarInfo):
    """A tar header whose long names and extra fields are limited: tarfile reads them into memory, whatever their size. A file
    that ends without the block of zeros that ends an archive is truncated: tarfile itself takes a missing header for the end.
    """

    @classmethod
    def frombuf(cls, buf, encoding, errors):
        if len(buf) < tarfile.BLOCKSIZE:
            raise EOFError
        return super().frombuf(buf, encoding, errors)

    def _proc_member(self, archive):
        long = (tarfile.GNUTYPE_LONGNAME, tarfile.GNUTYPE_LONGLINK, tarfile.XHDTYPE, tarfile.XGLTYPE)
        if self.type in (*long, tarfile.SOLARIS_XHDTYPE) and self.size > _MAX_HEADER:
            raise ArchiveError("too_large", f"a header of {self.size:,} bytes; the limit is {_MAX_HEADER:,}")
        return super()._proc_member(archive)  # type: ignore[misc]


def _refused_tar(info: tarfile.TarInfo) -> tuple[str, str] | None:
    if info.issym() or info.islnk():
        return f"a link, which is not followed in an archive: {_UNPACK}", "unsupported"
    if not info.isreg() or info.issparse():
        return f"not a plain file: {_UNPACK}", "unsupported"
    return None


def _refused(name: str, size: int) -> tuple[str, str] | None:
    """Return the problem and the status of a member that is not read, for zip and tar."""
    if name.lower().endswith(SUFFIXES + _OTHERS):
        return f"an archive in an archive, which is not read: {_UNPACK}", "unsupported"
    if size > MAX_MEMBER_BYTES:
        limit = MAX_MEMBER_BYTES >> 20
        return f"{size >> 20:,} MiB; the limit for a file in an archive is {limit} MiB: {_UNPACK}", "too_large"
    return None


def _is_hidden(name: str) -> bool:
    """Return whether a member is one that would be left out in a folder: hidden, in a hidden folder, or a sidecar."""
    parts = [part for part in name.split("/") if part not in ("", ".", "..")]
    return not parts or "__MACOSX" in parts or any(map(is_left_out, parts))


class _Allowance:
    """How much an archive of `size` bytes may expand to."""

    def __init__(self, size: int):
        self.size, self._total = size, 0

    def take(self, count: int) -> None:
        """Count bytes that were or are to be read. Raises ArchiveError if they are too many."""
        self._total += count
        if self._total > MAX_TOTAL_BYTES:
            raise ArchiveError("too_large", f"over {MAX_TOTAL_BYTES >> 30} GiB in all, the limit: {_UNPACK}")
        if self._total > MAX_RATIO * self.size + _FREE_BYTES:
            raise ArchiveError("too_large", f"expands over {MAX_RATIO} times, the limit: {_UNPACK}, if you trust it")


class _Counted:
    """A file that counts the bytes that are read of it."""

    def __init__(self, file: BinaryIO):
        self._file, self.count = file, 0

    def read(self, size: int = -1) -> bytes:
        data = self._file.read(size)
        self.count += len(data)
        return data


class _Inflated:
    """The decompressed bytes of a tar file, for tarfile's streaming mode. Members that are passed over count too."""

    def __init__(self, inflated: Any, source: _Counted):
        self._inflated, self._source, self._allowance = inflated, source, _Allowance(0)

    def read(self, size: int) -> bytes:
        data = self._inflated.read1(size)  # `read` would lose what comes before the end of a truncated file
        self._allowance.size = self._source.count
        self._allowance.take(len(data))
        return data


def _inflated(name: str, file: BinaryIO) -> Any:
    """Return a tar file's decompressed bytes: an object with `read`."""
    source: Any = _Counted(file)
    if name.endswith((".gz", ".tgz")):
        return _Inflated(gzip.GzipFile(fileobj=source, mode="rb"), source)
    if name.endswith((".bz2", ".tbz2")):
        return _Inflated(bz2.BZ2File(source), source)
    if name.endswith((".xz", ".txz")):
        # Reads the first header, which says how much memory is needed.
        lzma.LZMADecompressor(memlimit=_MAX_DICTIONARY).decompress(file.read(4096), max_length=1)
        file.seek(0)
        return _Inflated(lzma.LZMAFile(source), source)
    return file
