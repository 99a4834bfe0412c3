"""Parameters of generators hidden in the lowest bits of pixels, as NovelAI and extensions of web UIs store them.

The bits follow the columns, from the top: a signature of 15 letters, the number of bits of the text (32 bits), and the text,
compressed by gzip or not. They are bits of the alpha channel, or of red, green and blue in turn.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from contextlib import suppress

import numpy as np

from fakecore.media.pixels import ImageError, open_image

_LOSSLESS = ("PNG", "WEBP", "TIFF", "BMP", "AVIF", "JXL")  # formats that can keep the lowest bits
_SIGNATURES = {  # of each: whether in the alpha channel, whether compressed
    b"stealth_pnginfo": (True, False),
    b"stealth_pngcomp": (True, True),
    b"stealth_rgbinfo": (False, False),
    b"stealth_rgbcomp": (False, True),
}
_LETTERS = 15
_MOST_BYTES = 1 << 20


def hidden_texts(data: bytes) -> Iterator[tuple[str, str]]:
    """Yield (where, text) of a text hidden in the pixels of an image file. Nothing for damaged ones."""
    with suppress(ImageError), open_image(data) as image:
        if image.format not in _LOSSLESS or image.mode not in ("RGB", "RGBA"):
            return
        pixels = np.asarray(image)
        for channels, where in ((slice(3, 4), "hidden in the alpha channel"), (slice(0, 3), "hidden in the colours")):
            text = _read(pixels[..., channels])
            if text is not None:
                yield where, text


def _read(pixels: np.ndarray) -> str | None:
    """Return the text in the lowest bits of `pixels`, uint8 (H, W, C), or None."""
    channels = pixels.shape[2]
    if not channels:
        return None
    head = _bytes(pixels, 0, _LETTERS + 4)
    kind = _SIGNATURES.get(head[:_LETTERS])
    if kind is None or kind[0] != (channels == 1):
        return None
    length = min(int.from_bytes(head[_LETTERS:]) // 8, _MOST_BYTES)
    held = _bytes(pixels, _LETTERS + 4, length)
    if kind[1]:
        with suppress(zlib.error):
            return zlib.decompressobj(zlib.MAX_WBITS | 16).decompress(held, _MOST_BYTES).decode("utf-8", "replace")
        return ""  # the signature alone is evidence
    return held.decode("utf-8", "replace")


def _bytes(pixels: np.ndarray, start: int, count: int) -> bytes:
    """Return `count` bytes from byte `start` of the lowest bits, fewer at the end."""
    height, width, channels = pixels.shape
    first = start * 8 // (height * channels)  # only the columns that hold them
    last = min(width, (start + count) * 8 // (height * channels) + 1)
    bits = (pixels[:, first:last] & 1).transpose(1, 0, 2).ravel()
    skipped = start * 8 - first * height * channels
    return np.packbits(bits[skipped : skipped + count * 8]).tobytes()[:count]
