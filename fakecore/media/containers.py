"""Check whether a video file is complete, from the sizes that its container states. Nothing is decoded.

The frame count in a header can be wrong in a complete file and right in a truncated one; comparing the sizes of boxes and
chunks with the file size distinguishes the two.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import BinaryIO

_SEGMENT = 0x18538067  # the Matroska element that contains the whole video


def is_whole(path: Path) -> bool | None:
    """Return True or False for MP4 and related formats, AVI, Matroska and WebM; None if the container does not show it.

    Raises OSError if the file cannot be read.
    """
    size = path.stat().st_size
    with path.open("rb") as file:
        head = file.read(12)
        file.seek(0)
        if head.startswith(b"\x1aE\xdf\xa3"):
            return _matroska(file, size)
        if head.startswith(b"RIFF"):
            return _chunks(file, size)
        if head[4:8].isalnum():
            return _boxes(file, size)
    return None


def _boxes(file: BinaryIO, size: int) -> bool | None:
    """ISO/IEC 14496-12: a box consists of its size, four letters and its content."""
    place = 0
    while place + 8 <= size:
        file.seek(place)
        head = file.read(16)
        length = int.from_bytes(head[:4], "big")
        if length == 1:
            length = int.from_bytes(head[8:16], "big")
        if length == 0:
            return None  # "to the end of the file"
        if length < 8 or not head[4:8].isalnum():
            return None if place == 0 else True  # something else was appended
        place += length
    return place <= size


def _chunks(file: BinaryIO, size: int) -> bool | None:
    """AVI: one RIFF chunk, or several in videos above a gigabyte."""
    place = 0
    while place + 12 <= size:
        file.seek(place)
        head = file.read(8)
        length = int.from_bytes(head[4:8], "little")
        if not head.startswith(b"RIFF"):
            return True
        if length == 0:
            return None  # the writer was stopped before it wrote the size
        place += 8 + length
    return place <= size


def _matroska(file: BinaryIO, size: int) -> bool | None:
    """EBML: an element consists of its number, size and content; the first is a header, the second the video."""
    for _ in range(4):
        number, length = _vint(file, keep_marker=True), _vint(file, keep_marker=False)
        if number is None or length is None:
            return None
        if number == _SEGMENT:
            return file.tell() + length <= size
        if file.tell() + length > size:
            return False
        file.seek(length, os.SEEK_CUR)
    return None


def _vint(file: BinaryIO, *, keep_marker: bool) -> int | None:
    """Read an EBML number of variable length; None at the end of the file and for "unknown" (all ones)."""
    first = file.read(1)
    if not first or not first[0]:
        return None
    width = 9 - first[0].bit_length()
    value = int.from_bytes(first + file.read(width - 1), "big")
    if keep_marker:
        return value
    value -= 1 << (7 * width)
    return None if value == (1 << (7 * width)) - 1 else value
