"""Read the size in a JPEG XL file (ISO/IEC 18181): the decoder takes memory for all pixels before Pillow could ask."""

from __future__ import annotations

_CODESTREAM, _CONTAINER = b"\xff\x0a", b"\0\0\0\x0cJXL \r\n\x87\n"
JXL_SIGNATURES = (_CODESTREAM, _CONTAINER)
_WIDTHS = (9, 13, 18, 30)  # bits of a side, as two bits before it say
_RATIOS = {1: (1, 1), 2: (12, 10), 3: (4, 3), 4: (3, 2), 5: (16, 9), 6: (5, 4), 7: (2, 1)}  # width : height
_HEADER_BYTES = 12  # hold the largest size


def jxl_size(data: bytes) -> tuple[int, int] | None:
    """Return width and height of a JPEG XL file, as stored; None if they are missing."""
    stream = data if data.startswith(_CODESTREAM) else _boxed(data)
    if not stream.startswith(_CODESTREAM):
        return None
    bits = _Bits(stream[2 : 2 + _HEADER_BYTES])
    small = bits.take(1)  # sides are multiples of 8, up to 256

    def side() -> int:
        return 8 * (1 + bits.take(5)) if small else 1 + bits.take(_WIDTHS[bits.take(2)])

    height = side()
    ratio = bits.take(3)
    width = height * _RATIOS[ratio][0] // _RATIOS[ratio][1] if ratio else side()
    return None if bits.short else (width, height)


class _Bits:
    """Bits of bytes, the lowest first. `short` is True after more were taken than there are."""

    def __init__(self, data: bytes):
        self._value, self._left, self.short = int.from_bytes(data, "little"), 8 * len(data), False

    def take(self, count: int) -> int:
        self.short |= count > self._left
        value = self._value & ((1 << count) - 1)
        self._value >>= count
        self._left -= count
        return value


def _boxed(data: bytes) -> bytes:
    """Return the start of the codestream in a container: a box consists of its size, four letters and its content."""
    place = 0
    while place + 8 <= len(data):
        length, kind, head = int.from_bytes(data[place : place + 4], "big"), data[place + 4 : place + 8], 8
        if length == 1:
            length, head = int.from_bytes(data[place + 8 : place + 16], "big"), 16
        if kind == b"jxlp":
            head += 4  # the number of the part; the first stands first
        if kind in (b"jxlc", b"jxlp"):
            return data[place + head : place + head + 2 + _HEADER_BYTES]
        if length < 8:  # 0: to the end of the file
            return b""
        place += length
    return b""
