"""The chunks of a PNG file (PNG 1.2, chapter 3), without decoding."""

from __future__ import annotations

import struct
from collections.abc import Iterator

PNG = b"\x89PNG\r\n\x1a\n"
TEXTS = (b"tEXt", b"zTXt", b"iTXt")
EXIF = b"eXIf"


def chunks(data: bytes) -> Iterator[tuple[bytes, int, int]]:
    """Yield (type, start of its content in the file, stated length) of each chunk of a PNG file; the last may be incomplete."""
    place = len(PNG)
    while place + 8 <= len(data):
        length, kind = struct.unpack_from(">I4s", data, place)
        yield kind, place + 8, length
        place += length + 12


def has_late_texts(data: bytes) -> bool:
    """Return whether texts or EXIF data follow pixels, where Pillow finds them only once it has decoded these."""
    pixels = False
    for kind, _, _ in chunks(data):
        pixels |= kind == b"IDAT"
        if pixels and kind in (*TEXTS, EXIF):
            return True
    return False
