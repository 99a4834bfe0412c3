"""Receive multipart/form-data (RFC 7578) into files, with the limits enforced while the bytes arrive.

A request that is refused, cut off or too slow leaves nothing behind. The client's file names are kept as text to show; on disk
a file has a random name, and of the client's only a suffix of letters and digits.
"""

from __future__ import annotations

import asyncio
import os
import re
import secrets
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, BinaryIO

from fastapi import Request
from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header
from starlette.requests import ClientDisconnect

from fakedetect.web.problems import Problem
from fakedetect.web.settings import MEBIBYTE, ServeSettings

if TYPE_CHECKING:
    from python_multipart.multipart import MultipartCallbacks

FILES = "files"  # the name of the field that holds them
_MOST_FIELD_BYTES, _MOST_FIELDS = 4096, 32
_MOST_NAME = 255  # characters of a file name
_SILENCE_S = 30.0  # without a byte
_MIN_RATE, _GRACE_S = 1024, 30.0  # bytes a second over the whole request, after this time
_OVERHEAD = 64 * 1024  # bytes of a request besides its files
_SUFFIX = re.compile(r"\.[A-Za-z0-9]{1,5}")


@dataclass(frozen=True)
class Upload:
    """A received file: the client's name for it, where it is, and its size in bytes."""

    name: str
    path: Path
    size: int


@dataclass
class Received:
    """What a request held: files, and the last value of each other field. `discard` deletes what was not moved away."""

    root: Path
    files: list[Upload] = field(default_factory=list)
    fields: dict[str, str] = field(default_factory=dict)
    _created: list[Path] = field(default_factory=list)

    def create(self, suffix: str) -> BinaryIO:
        """Open a new file of the request."""
        self._created.append(self.root / f"{secrets.token_hex(16)}{suffix}")
        return self._created[-1].open("xb")

    def discard(self) -> None:
        """Delete the files of the request that are still where they were received."""
        for path in self._created:
            path.unlink(missing_ok=True)


async def receive(request: Request, root: Path, settings: ServeSettings, *, lasting: bool = False) -> Received:
    """Read the request into new files in the folder `root`; with `lasting`, they are on the disk, not only in its cache, when
    this returns. Raises Problem, and leaves nothing, if the request is no form, exceeds a limit or does not arrive.
    """
    kind, parameters = parse_options_header(request.headers.get("content-type", ""))
    if kind != b"multipart/form-data" or not parameters.get(b"boundary"):
        raise Problem(415, f"Send the files as multipart/form-data, in the field {FILES!r}.")
    declared = request.headers.get("content-length", "")
    if declared.isdecimal() and int(declared) > settings.max_bytes + _OVERHEAD:
        raise _too_large(settings)
    form = _Form(Received(root), settings, lasting)
    try:
        parser = MultipartParser(parameters[b"boundary"], form.callbacks())
        async for chunk in _in_time(request):
            await _parse(parser, form, chunk)
        parser.finalize()
        form.check_complete()
    except (FormParserError, UnicodeDecodeError, ClientDisconnect):
        form.abandon()
        raise Problem(400, "The form is damaged or was cut off.") from None
    except BaseException:
        form.abandon()
        raise
    return form.received


async def _parse(parser: MultipartParser, form: _Form, chunk: bytes) -> None:
    form.count(len(chunk))
    if len(chunk) >= MEBIBYTE or form.lasting:
        await asyncio.to_thread(parser.write, chunk)  # writes, and waits for the disk where asked to
    else:
        parser.write(chunk)


async def _in_time(request: Request) -> AsyncIterator[bytes]:
    """Yield the body as it arrives. Raises Problem if it stops arriving or trickles."""
    loop = asyncio.get_running_loop()
    begin, received = loop.time(), 0
    chunks = request.stream().__aiter__()
    while True:
        try:
            chunk = await asyncio.wait_for(anext(chunks), _SILENCE_S)
        except StopAsyncIteration:
            return
        except TimeoutError:
            raise Problem(408, f"No byte arrived for {_SILENCE_S:.0f} s.") from None
        received += len(chunk)
        took = loop.time() - begin
        if took > _GRACE_S and received < _MIN_RATE * took:
            raise Problem(408, f"The request arrives too slowly: at least {_MIN_RATE} bytes a second are expected.")
        yield chunk


def _too_large(settings: ServeSettings) -> Problem:
    return Problem(413, f"The request is too large; the limit is {settings.max_mb} MiB.", max_mb=settings.max_mb)


class NoFile(Problem):
    """A request without a file."""

    def __init__(self) -> None:
        super().__init__(422, f"The request holds no file. Send files in the field {FILES!r}.")


class _Form:
    """Takes the events of the parser: parts into files and fields."""

    def __init__(self, received: Received, settings: ServeSettings, lasting: bool):
        self.received, self.lasting = received, lasting
        self._settings, self._total, self._ended = settings, 0, False
        self._header = self._value = b""
        self._disposition: bytes = b""
        self._name, self._file_name = "", ""
        self._file: BinaryIO | None = None
        self._text = bytearray()

    def callbacks(self) -> MultipartCallbacks:
        """Return the parser's callbacks."""
        return {
            "on_part_begin": self._begin,
            "on_header_field": lambda data, start, end: self._grow("_header", data[start:end]),
            "on_header_value": lambda data, start, end: self._grow("_value", data[start:end]),
            "on_header_end": self._header_end,
            "on_headers_finished": self._headers_finished,
            "on_part_data": lambda data, start, end: self._data(data[start:end]),
            "on_part_end": self._end,
            "on_end": self._end_form,
        }

    def count(self, size: int) -> None:
        """Add `size` bytes to the request. Raises Problem if it becomes too large."""
        self._total += size
        if self._total > self._settings.max_bytes + _OVERHEAD:
            raise _too_large(self._settings)

    def check_complete(self) -> None:
        """Raise Problem unless the form ended, and held a file."""
        if not self._ended:
            raise Problem(400, "The form is damaged or was cut off.")
        if not self.received.files:
            raise NoFile

    def abandon(self) -> None:
        """Close and delete everything."""
        if self._file:
            self._file.close()
        self.received.discard()

    def _grow(self, attribute: str, data: bytes) -> None:
        grown = getattr(self, attribute) + data
        if len(grown) > _MOST_FIELD_BYTES:
            raise Problem(400, "A header of the form is too long.")
        setattr(self, attribute, grown)

    def _begin(self) -> None:
        self._disposition, self._name, self._file_name, self._text = b"", "", "", bytearray()

    def _header_end(self) -> None:
        if self._header.lower() == b"content-disposition":
            self._disposition = self._value
        self._header = self._value = b""

    def _headers_finished(self) -> None:
        _, options = parse_options_header(self._disposition)
        self._name = options.get(b"name", b"").decode()
        if b"filename" not in options:
            return
        # A browser sends a part without a name for a file field that was left empty: `_end` drops it.
        self._file_name = shown_name(options[b"filename"].decode(errors="replace"))
        if len(self.received.files) >= self._settings.max_files:
            raise Problem(413, f"There are too many files; the limit is {self._settings.max_files}.")
        suffix = PurePosixPath(self._file_name).suffix
        safe = suffix.lower() if _SUFFIX.fullmatch(suffix) else ""
        self._file = self.received.create(safe)

    def _data(self, data: bytes) -> None:
        if self._file:
            self._file.write(data)
        else:
            self._text += data
            if len(self._text) > _MOST_FIELD_BYTES:
                raise Problem(400, f"The field {self._name!r} is too long.")

    def _end(self) -> None:
        if self._file is None:
            if len(self.received.fields) >= _MOST_FIELDS:
                raise Problem(400, "The form has too many fields.")
            self.received.fields[self._name] = self._text.decode()
            return
        file, self._file = self._file, None
        path, size = Path(file.name), file.tell()
        file.flush()
        if self.lasting:
            os.fsync(file.fileno())
        file.close()
        if not size and not self._file_name:
            path.unlink()
            return
        self.received.files.append(Upload(self._file_name or "unnamed", path, size))

    def _end_form(self) -> None:
        self._ended = True


def shown_name(name: str) -> str:
    """Return a client's file name as text to show: without folders and control characters, of limited length. Browsers and curl
    write a quote as %22 and line ends as %0D and %0A (HTML standard, multipart/form-data).
    """
    for escaped, char in (("%22", '"'), ("%0D", "\r"), ("%0A", "\n")):
        name = name.replace(escaped, char)
    last = name.replace("\\", "/").rpartition("/")[2]
    return "".join(char for char in last if char.isprintable())[:_MOST_NAME]
