"""Read the sizes in a GIF file. Nothing is decoded."""

from __future__ import annotations

_IMAGE, _EXTENSION, _END = 0x2C, 0x21, 0x3B
_HEADER = 13  # bytes: signature, then the size and flags of the canvas


def gif_canvas(data: bytes) -> tuple[int, int]:
    """Return the width and height that all frames of a GIF file need: a frame may be larger than the canvas in the header."""
    width, height = _number(data, 6), _number(data, 8)
    place = _HEADER + _palette(data, 10)
    while place < len(data) and data[place] != _END:
        kind = data[place]
        place += 1
        if kind == _IMAGE:  # left, top, width, height, flags; then the palette, the size of codes, and the pixels
            width = max(width, _number(data, place) + _number(data, place + 4))
            height = max(height, _number(data, place + 2) + _number(data, place + 6))
            place = _after_blocks(data, place + 10 + _palette(data, place + 8))
        elif kind == _EXTENSION:
            place = _after_blocks(data, place + 1)
    return width, height


def _number(data: bytes, place: int) -> int:
    return int.from_bytes(data[place : place + 2], "little")


def _palette(data: bytes, place: int) -> int:
    """Return the length of the palette that the flags at `place` announce, bytes."""
    flags = data[place] if place < len(data) else 0
    return 3 << (flags & 7) + 1 if flags & 0x80 else 0


def _after_blocks(data: bytes, place: int) -> int:
    """Return the place after blocks that begin with their length; an empty one is the last."""
    while place < len(data) and data[place]:
        place += 1 + data[place]
    return place + 1
