"""Damage the bytes of a file, as transfers, editors and attackers do."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Sequence
from typing import Literal

import numpy as np

_EXTREMES = (0, 1, 0x7F, 0x80, 0xFF, 0x7FFF, 0x8000, 0xFFFF, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF, 20_000, 100_000)
_HEAD = 512  # bytes; half of all edits are in them
_MOST_EDITS = 4
_PNG = b"\x89PNG\r\n\x1a\n"

Random = np.random.Generator


def mutant(seed: bytes, others: Sequence[bytes], random: Random) -> bytes:
    """Return `seed` after one to four edits; `others` are files to splice with. Half of the PNG files get right checksums
    again: without them, only the outermost layer of the decoder would be tested.
    """
    data = bytearray(seed)
    edits = 1 if random.random() < 0.5 else random.integers(2, _MOST_EDITS + 1)
    for _ in range(edits):
        edit = _EDITS[random.integers(len(_EDITS))]
        edit(data, others, random)
        if not data:
            break
    if data.startswith(_PNG) and random.random() < 0.5:
        _repair_png(data)
    return bytes(data)


def _place(data: bytearray, random: Random) -> int:
    """Return a position, in half of all cases one in the header."""
    limit = min(len(data), _HEAD) if random.random() < 0.5 else len(data)
    return int(random.integers(limit))


def _length(data: bytearray, random: Random) -> int:
    """Return a length, 1 byte to a quarter of the file: short ones as often as long ones."""
    return max(1, int(np.exp(random.uniform(0, np.log(max(2, len(data) / 4))))))


def _flip(data: bytearray, others: Sequence[bytes], random: Random) -> None:
    for _ in range(random.integers(1, 9)):
        data[_place(data, random)] ^= 1 << int(random.integers(8))


def _overwrite(data: bytearray, others: Sequence[bytes], random: Random) -> None:
    start, length = _place(data, random), _length(data, random)
    length = min(length, len(data) - start)
    kind = random.integers(3)
    data[start : start + length] = random.bytes(length) if kind == 2 else (b"\0", b"\xff")[kind] * length


def _truncate(data: bytearray, others: Sequence[bytes], random: Random) -> None:
    del data[_place(data, random) :]


def _duplicate(data: bytearray, others: Sequence[bytes], random: Random) -> None:
    start, length = _place(data, random), _length(data, random)
    data[start:start] = data[start : start + length] * int(random.integers(1, 4))


def _delete(data: bytearray, others: Sequence[bytes], random: Random) -> None:
    start, length = _place(data, random), _length(data, random)
    del data[start : start + length]


def _set_size(data: bytearray, others: Sequence[bytes], random: Random) -> None:
    """Set what may be a size field to an extreme value, of 1, 2, 4 or 8 bytes, in either order."""
    width = (1, 2, 4, 8)[random.integers(4)]
    value = _EXTREMES[random.integers(len(_EXTREMES))] % (1 << 8 * width)
    start = _place(data, random)
    order: Literal["big", "little"] = "big" if random.random() < 0.5 else "little"
    data[start : start + width] = value.to_bytes(width, order)[: len(data) - start]


def _set_sides(data: bytearray, others: Sequence[bytes], random: Random) -> None:
    """Set what may be width and height to sides that a limit of pixels just allows, or just not."""
    width = (2, 4)[random.integers(2)]
    order: Literal["big", "little"] = "big" if random.random() < 0.5 else "little"
    sides = random.integers(4_000, 11_000, 2)
    start = _place(data, random)
    pair = b"".join(int(side).to_bytes(width, order) for side in sides)
    data[start : start + len(pair)] = pair[: len(data) - start]


def _splice(data: bytearray, others: Sequence[bytes], random: Random) -> None:
    """Put a part of another file in the place of the file's own, or the rest of it after a start of the file."""
    other = others[random.integers(len(others))]
    start, length = _place(data, random), _length(data, random)
    there = int(random.integers(len(other)))
    if random.random() < 0.5:
        data[start : start + length] = other[there : there + length]
    else:
        data[start:] = other[there:]


_EDITS: tuple[Callable[[bytearray, Sequence[bytes], Random], None], ...] = (
    *(_flip, _overwrite, _truncate, _duplicate, _delete, _set_size, _set_size, _set_sides, _splice),
)


def _repair_png(data: bytearray) -> None:
    """Write the right checksum into each chunk."""
    start = len(_PNG)
    while start + 12 <= len(data):
        end = start + 8 + int.from_bytes(data[start : start + 4], "big")
        if end + 4 > len(data):
            return
        data[end : end + 4] = zlib.crc32(data[start + 4 : end]).to_bytes(4, "big")
        start = end + 4
