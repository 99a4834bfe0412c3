"""Compare the thumbnail in a photo's EXIF data with the photo: many editors keep the thumbnail of the original.

Both are reduced to the same small grey picture. Brightness and contrast are matched, since cameras and converters render the
two differently; what remains is compared as a whole (correlation) and in small windows (a pasted part).
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from PIL import ExifTags, Image

from fakecore.media.pixels import ImageError, open_image
from fakedetect.inspection.findings import Finding

# Chosen on photos re-encoded, cropped and edited, docs/lab/inspect.md.
MIN_CORRELATION = 0.9
MOST_DIFFERENCE = 0.9  # of a window, in standard deviations of the picture
_SIDE = 64  # pixels: the longer side of what is compared
_WINDOW = 9  # pixels
_MIN_SIDE, _MOST_PIXELS = 32, 2_000_000  # of a thumbnail
_MIN_CONTRAST = 6.0  # grey levels: a flat picture has nothing to compare
_BAR = 12.0  # grey levels: letterbox bars vary less
_FORGED = "replacing or removing the thumbnail hides this"


@dataclass(frozen=True)
class Agreement:
    """How far a thumbnail agrees with its photo: `correlation`, 1 for the same picture, and the greatest `difference` of a
    window, in standard deviations of the picture, 0 for the same.
    """

    correlation: float
    difference: float

    @property
    def same(self) -> bool:
        """Whether both can be the same picture."""
        return self.correlation >= MIN_CORRELATION and self.difference <= MOST_DIFFERENCE


def findings_in_thumbnail(data: bytes) -> Iterator[Finding]:
    """Yield whether the embedded thumbnail of a photo shows the same. Nothing without a thumbnail."""
    found = None
    with suppress(ImageError):  # of the photo or of the thumbnail
        found = compare_thumbnail(data)
    if found is None:
        return
    measured = f"correlation {found.correlation:.2f}, greatest local difference {found.difference:.1f}"
    if found.same:
        yield Finding(f"agrees with the photo ({measured})", "EXIF thumbnail", "nothing", "weak", _FORGED)
    else:
        what = "another picture than the photo" if found.correlation < MIN_CORRELATION else "a part otherwise"
        yield Finding(f"shows {what} ({measured})", "EXIF thumbnail", "edited", "medium", _FORGED)


def compare_thumbnail(data: bytes) -> Agreement | None:
    """Compare the thumbnail in the EXIF data of a photo with the photo.

    Returns None if there is no thumbnail, or if either is too small or too flat to compare. Raises ImageError.
    """
    with open_image(data) as image:
        held = _embedded(image)
        if held is None:
            return None
        image.draft("L", (4 * _SIDE, 4 * _SIDE))  # a JPEG file is decoded at a fraction of its size
        photo = _grey(image)
    with open_image(held) as small:
        if min(small.size) < _MIN_SIDE or small.width * small.height > _MOST_PIXELS:
            return None
        thumbnail = _grey(small)
    if min(photo.std(), thumbnail.std()) < _MIN_CONTRAST:
        return None
    pairs = [pair for turns in range(4) for pair in _pairs(photo, np.rot90(thumbnail, turns))]
    return max((_agreement(*pair) for pair in pairs), key=lambda one: (one.correlation, -one.difference))


def _embedded(image: Image.Image) -> bytes | None:
    """Return the bytes of the thumbnail in the second directory of EXIF data (EXIF 2.32, section 4.5.5)."""
    stored: Any = image.info.get("exif")
    if not isinstance(stored, bytes):
        return None
    directory = image.getexif().get_ifd(ExifTags.IFD.IFD1)
    start, length = directory.get(ExifTags.Base.JpegIFOffset), directory.get(ExifTags.Base.JpegIFByteCount)
    if not isinstance(start, int) or not isinstance(length, int) or min(start, length) <= 0:
        return None
    held = stored.removeprefix(b"Exif\0\0")[start : start + length]
    return held if len(held) == length and held.startswith(b"\xff\xd8") else None


def _grey(image: Image.Image) -> np.ndarray:
    """Return a grey picture with a longer side of at most 4 _SIDE pixels, float32 (H, W), as stored: not turned upright."""
    grey = image.convert("L")
    grey.thumbnail((4 * _SIDE, 4 * _SIDE))
    return np.asarray(grey, np.float32)


def _pairs(photo: np.ndarray, thumbnail: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yield (photo, thumbnail) in the ways in which programs fit a photo into the shape of a thumbnail."""
    yield photo, thumbnail  # the same shape, or stretched
    inside = _centre(thumbnail, photo.shape[1] / photo.shape[0])
    if inside.size < 0.98 * thumbnail.size and _has_bars(thumbnail, inside):
        yield photo, inside  # letterboxed
    part = _centre(photo, thumbnail.shape[1] / thumbnail.shape[0])
    if part.size < 0.98 * photo.size:
        yield part, thumbnail  # filled


def _centre(picture: np.ndarray, aspect: float) -> np.ndarray:
    """Return the largest part in the centre that has this ratio of width to height."""
    height, width = picture.shape
    high, wide = min(height, max(1, round(width / aspect))), min(width, max(1, round(height * aspect)))
    top, left = (height - high) // 2, (width - wide) // 2
    return picture[top : top + high, left : left + wide]


def _has_bars(thumbnail: np.ndarray, inside: np.ndarray) -> bool:
    """Return whether what is outside of the centre is of one grey, without the pixels beside the border."""
    top, left = ((whole - part) // 2 for whole, part in zip(thumbnail.shape, inside.shape, strict=True))
    bars = [thumbnail[: top - 1], thumbnail[thumbnail.shape[0] - top + 1 :]] if top > 1 else []
    bars += [thumbnail[:, : left - 1], thumbnail[:, thumbnail.shape[1] - left + 1 :]] if left > 1 else []
    return bool(bars) and max(float(bar.std()) for bar in bars) < _BAR


def _agreement(photo: np.ndarray, thumbnail: np.ndarray) -> Agreement:
    """Compare two pictures that should show the same."""
    height, width = photo.shape
    scale = _SIDE / max(height, width)
    size = (max(8, round(width * scale)), max(8, round(height * scale)))
    one, two = (_normal(each, size) for each in (photo, thumbnail))
    correlation = float((one * two).mean())
    rest = (one - correlation * two) ** 2
    windows = cv2.blur(rest, (_WINDOW, _WINDOW))
    return Agreement(correlation, float(np.sqrt(windows.max())))


def _normal(picture: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Return a picture of this (width, height), a little blurred, with mean 0 and deviation 1."""
    small = cv2.resize(np.ascontiguousarray(picture), size, interpolation=cv2.INTER_AREA)
    small = cv2.GaussianBlur(small, (0, 0), 1)
    return (small - small.mean()) / max(float(small.std()), 1e-3)
