"""Photos of high dynamic range, PQ or HLG, in HEIC, AVIF and PNG files: all their bits, as sRGB.

The decoders of other photos give 8 bits of these, and show them as if they were sRGB: pale and dark.
"""

from __future__ import annotations

import io
import struct
from typing import NamedTuple

import cv2
import numpy as np

from fakecore.media import hdr
from fakecore.media.pngchunks import PNG, chunks

_NCLX = b"colrnclx"  # ISO/IEC 14496-12, 12.1.5: a box of numbers of ITU-T H.273
_CICP = 4  # bytes of PNG's chunk of these numbers (PNG 3rd edition, 11.3.2.6)


class Colours(NamedTuple):
    """How a file encodes its colours, as numbers of ITU-T H.273."""

    primaries: int
    transfer: int
    matrix: int


def hdr_colours(data: bytes) -> Colours | None:
    """Return how a HEIC, AVIF or PNG file encodes its colours if that is PQ or HLG, else None."""
    if data.startswith(PNG):
        found = _cicp(data)
    elif data[4:8] == b"ftyp":
        place = data.find(_NCLX) + len(_NCLX)
        is_there = place >= len(_NCLX) and len(data) >= place + 6
        found = Colours(*struct.unpack_from(">HHH", data, place)) if is_there else None
    else:
        return None
    return found if found and found.transfer in (hdr.PQ, hdr.HLG) else None


def decode_hdr(data: bytes, colours: Colours, size: tuple[int, int]) -> np.ndarray | None:
    """Return the pixels of a photo of this width and height, not turned, as uint8 sRGB (H, W, 3); None if its decoder cannot
    give all bits: one with transparency, or in tiles. Raises any error of the decoders for a damaged file.
    """
    if data.startswith(PNG):
        values = _png_values(data)
    elif data[8:11] == b"avi":
        values = _avif_values(data, colours)
    else:
        values = _heic_values(data)
    if values is None or values.shape != (size[1], size[0], 3):
        return None
    return hdr.to_srgb(values, colours.transfer, colours.primaries)


def _cicp(png: bytes) -> Colours | None:
    for kind, start, length in chunks(png):
        if kind == b"cICP" and length == _CICP and len(png) >= start + _CICP:
            primaries, transfer, matrix, _full_range = png[start : start + _CICP]
            return Colours(primaries, transfer, matrix)
        if kind == b"IDAT":
            break
    return None


def _png_values(data: bytes) -> np.ndarray | None:
    """Return uint16 RGB (H, W, 3) of a PNG file without transparency."""
    values = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    if values is None or (values.ndim == 3 and values.shape[2] != 3):
        return None
    if values.dtype == np.uint8:
        values = values.astype(np.uint16) * 257
    return cv2.cvtColor(values, cv2.COLOR_GRAY2RGB if values.ndim == 2 else cv2.COLOR_BGR2RGB)


def _heic_values(data: bytes) -> np.ndarray | None:
    """Return uint16 RGB (H, W, 3) of a HEIC file of more than 8 bits, without transparency."""
    import pillow_heif

    photo = pillow_heif.open_heif(io.BytesIO(data), convert_hdr_to_8bit=False)
    return np.asarray(photo) if photo.mode == "RGB;16" else None


def _avif_values(data: bytes, colours: Colours) -> np.ndarray | None:
    """Return uint16 RGB (H, W, 3) of an AVIF file. Pillow's decoder gives 8 bits; FFmpeg's gives all."""
    import av

    try:
        with av.open(io.BytesIO(data), "r", format="mov") as container:
            frame = next(container.decode(video=0))
            frame.colorspace = colours.matrix
            return frame.to_ndarray(format="rgb48le")
    except (av.error.FFmpegError, StopIteration, ValueError):
        return None
