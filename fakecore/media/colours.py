"""From the colours of a file to 8-bit sRGB: profiles, transparency, 16-bit and floating-point values."""

from __future__ import annotations

import io
import math
import re
import struct
import warnings
from collections.abc import Iterator

import numpy as np
from PIL import Image, ImageCms, TiffImagePlugin

_SRGB_NAMES = (b"sRGB", "sRGB".encode("utf-16-be"))  # as profiles of version 2 and 4 write their description
_OF_PROFILES = ("RGB", "CMYK", "L", "LAB", "YCbCr")
_RADIANCE, _RADIANCE_SIZE = (b"#?RADIANCE", b"#?RGBE"), re.compile(rb"\n[-+]Y (\d+) [-+]X (\d+)\n")
_TIFF, _WIDTH, _HEIGHT, _SAMPLES, _SAMPLE_FORMAT = (b"II*\0", b"MM\0*"), 256, 257, 277, 339  # signatures, tags
_BAND = 1 << 20  # pixels that are converted at a time
_SAMPLE = 1 << 22  # values that give the brightest, of larger images
_BRIGHTEST = 99.5  # percentile of floating-point values that is shown as white, if it is above 1


def to_rgb(image: Image.Image) -> np.ndarray | None:
    """Return a Pillow image as uint8 sRGB (H, W, 3); None for values beyond 16 bits.

    Colours with a profile are converted to sRGB, transparent parts laid on white, and 16-bit grey scaled. Floating-point
    values are tone-mapped, see `tone_mapped`.
    """
    if image.mode == "F":
        return tone_mapped(np.asarray(image))
    width, height = image.size
    pixels = np.empty((height, width, 3), np.uint8)
    for rows in _bands(height, width):
        whole = rows.stop - rows.start == height
        band = _band_to_rgb(image if whole else image.crop((0, rows.start, width, rows.stop)))
        if band is None:
            return None
        pixels[rows] = band
    return pixels


def _bands(height: int, width: int) -> Iterator[slice]:
    """Yield the rows of an image in parts of at most _BAND pixels: a conversion of all at once would need several copies."""
    step = max(1, _BAND // max(1, width))
    for start in range(0, height, step):
        yield slice(start, min(start + step, height))


def _band_to_rgb(image: Image.Image) -> np.ndarray | None:
    """Return `to_rgb` of a part of an image."""
    if image.mode in ("I;16", "I;16L", "I;16B", "I;16N", "I"):
        grey = np.asarray(image).astype(np.int64)
        if grey.min() < 0 or grey.max() > 65535:
            return None
        return np.repeat(((grey + 128) // 257).astype(np.uint8)[..., None], 3, axis=2)
    if image.mode in ("RGBA", "LA", "PA", "La", "RGBa") or "transparency" in image.info:
        image = image.convert("RGBA")
        white = Image.new("RGBA", image.size, (255, 255, 255, 255))
        profile = image.info.get("icc_profile")
        image = Image.alpha_composite(white, image).convert("RGB")
        image.info["icc_profile"] = profile
    return np.asarray(_in_srgb(image).convert("RGB"))


def float_size(data: bytes) -> tuple[int, int] | None:
    """Return width and height if `data` is a file of floating-point colours, Radiance HDR or TIFF; else None. Pillow opens
    neither.
    """
    if data.startswith(_RADIANCE):
        found = _RADIANCE_SIZE.search(data[:4096])
        return (int(found[2]), int(found[1])) if found else None
    if not data.startswith(_TIFF):
        return None
    stream = io.BytesIO(data)
    try:
        tags = TiffImagePlugin.ImageFileDirectory_v2(data[:8])
        stream.seek(tags.next)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Pillow warns about damage, which it reports again when it opens the file
            tags.load(stream)
        is_float = 3 in np.atleast_1d(tags.get(_SAMPLE_FORMAT, 1)) and tags.get(_SAMPLES, 1) > 1
        return (int(tags[_WIDTH]), int(tags[_HEIGHT])) if is_float else None
    except (OSError, ValueError, KeyError, TypeError, SyntaxError, struct.error):
        return None  # damaged: Pillow says so


def is_srgb(profile: bytes) -> bool:
    """Return whether an ICC profile calls itself sRGB."""
    return any(name in profile for name in _SRGB_NAMES)


def tone_mapped(values: np.ndarray) -> np.ndarray:
    """Return floating-point values (H, W) or (H, W, 3), linear light, as uint8 sRGB (H, W, 3): 1 is white, or the brightest
    half percent if it is above 1. What is not finite is black.
    """
    height, width = values.shape[:2]
    step = math.ceil(math.sqrt(height * width / _SAMPLE)) or 1
    white = max(1.0, float(np.percentile(_finite(values[::step, ::step]), _BRIGHTEST)))
    pixels = np.empty((height, width, 3), np.uint8)
    for rows in _bands(height, width):
        light = np.clip(_finite(values[rows]) / white, 0, 1)
        encoded = np.where(light <= 0.0031308, 12.92 * light, 1.055 * light ** (1 / 2.4) - 0.055)  # IEC 61966-2-1
        pixels[rows] = (255 * encoded).round().astype(np.uint8)
    return pixels


def _finite(values: np.ndarray) -> np.ndarray:
    """Return values (H, W) or (H, W, C) as float64 (H, W, C), with 0 for those that are not finite."""
    return np.nan_to_num(np.atleast_3d(values).astype(np.float64), nan=0.0, posinf=0.0, neginf=0.0)


def _in_srgb(image: Image.Image) -> Image.Image:
    """Return an image with its colours in sRGB; the image itself if it has no other profile, or a damaged one."""
    profile = image.info.get("icc_profile")
    if not profile or image.mode not in _OF_PROFILES or (image.mode == "RGB" and is_srgb(profile)):
        return image
    try:
        own = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        converted = ImageCms.profileToProfile(image, own, ImageCms.createProfile("sRGB"), outputMode="RGB")
    except (ImageCms.PyCMSError, OSError, ValueError, TypeError):
        return image
    return converted or image
