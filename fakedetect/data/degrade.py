"""Degradations of images, named with their strength, such as `jpeg75` or `blur1`.

Training draws the same changes at random (fakedetect.data.augment); tests apply them one at a time.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import cv2
import numpy as np

from fakecore.device import derive_seed
from fakecore.errors import UserError, unknown_name
from fakedetect.data.videocodec import compressed_as_video

# The primitives: uint8 (R, R, C) -> the same shape, C 1 or 3 (RGB), the layout of OpenCV.


def blurred(layout: np.ndarray, sigma: float) -> np.ndarray:
    """Return the image after a Gaussian blur with `sigma` in pixels."""
    return _layout(cv2.GaussianBlur(layout, (0, 0), float(sigma)), layout)


def resized_and_back(layout: np.ndarray, factor: float) -> np.ndarray:
    """Return the image resized to `factor` times its side and back: area averaging to shrink, bilinear to enlarge."""
    side = layout.shape[0]
    return _to_side(_to_side(layout, max(1, round(side * factor))), side)


def saved_as_jpeg(layout: np.ndarray, quality: int) -> np.ndarray:
    """Return the image after JPEG compression with this quality, 1 to 100, and 4:2:0 colour, as most programs write it."""
    return _encoded(layout, ".jpg", cv2.IMWRITE_JPEG_QUALITY, quality)


def saved_as_webp(layout: np.ndarray, quality: int) -> np.ndarray:
    """Return the image after lossy WebP compression with this quality, 1 to 100."""
    return _encoded(layout, ".webp", cv2.IMWRITE_WEBP_QUALITY, quality)


def moved_while_exposed(layout: np.ndarray, length: float, key: str) -> np.ndarray:
    """Return the image with motion blur along a line of `length` pixels, whose direction follows from `key`."""
    angle = np.random.default_rng(derive_seed("motion", key)).uniform(0, np.pi)
    half = int(np.ceil(length / 2))
    kernel = np.zeros((2 * half + 1, 2 * half + 1), np.float32)
    end = length / 2 * np.array([np.cos(angle), np.sin(angle)])
    shift = 4  # bits of the fraction of a pixel
    ends = [tuple(int(v) for v in np.round((half + sign * end) * 2**shift)) for sign in (-1, 1)]
    cv2.line(kernel, ends[0], ends[1], 1.0, 1, cv2.LINE_AA, shift)
    return _layout(cv2.filter2D(layout, -1, kernel / kernel.sum(), borderType=cv2.BORDER_REFLECT), layout)


def with_gamma(layout: np.ndarray, exponent: float) -> np.ndarray:
    """Return the image with each value raised to `exponent`, values scaled to [0, 1]: 1 changes nothing."""
    table = (255 * (np.arange(256) / 255) ** exponent).round().astype(np.uint8)
    return table[layout]


def _video_frame(codec: str, layout: np.ndarray, crf: float, key: str) -> np.ndarray:
    return compressed_as_video(layout, codec, int(crf))


def _encoded(layout: np.ndarray, suffix: str, option: int, quality: float) -> np.ndarray:
    # OpenCV expects BGR: otherwise red would be compressed as blue.
    _, data = cv2.imencode(suffix, layout[..., ::-1], [option, int(quality)])
    grey = layout.shape[-1] == 1
    back: Any = cv2.imdecode(data, cv2.IMREAD_GRAYSCALE if grey else cv2.IMREAD_COLOR)
    return _layout(back, layout)[..., ::-1]


def _to_side(layout: np.ndarray, side: int) -> np.ndarray:
    how = cv2.INTER_AREA if side < layout.shape[0] else cv2.INTER_LINEAR
    return cv2.resize(layout, (side, side), interpolation=how).reshape(side, side, -1)


def _layout(pixels: np.ndarray, like: np.ndarray) -> np.ndarray:
    return pixels.reshape(like.shape)  # OpenCV drops the axis of a single channel


def _noisy(layout: np.ndarray, sigma: float, key: str) -> np.ndarray:
    # The same noise pattern at every strength: cells of a grid then differ only in the strength.
    random = np.random.default_rng(derive_seed("noise", key))
    return (layout + sigma * random.standard_normal(layout.shape)).round().clip(0, 255).astype(np.uint8)


def _cropped_and_back(layout: np.ndarray, share: float) -> np.ndarray:
    side = layout.shape[0]
    kept = max(1, round(side * share))
    first = (side - kept) // 2
    return _to_side(layout[first : first + kept, first : first + kept], side)


@dataclass(frozen=True)
class Kind:
    """A kind of degradation: its range of strengths, its text, and its function (layout, amount, key) -> layout."""

    low: float
    high: float
    unit: str
    words: str
    change: Callable[[np.ndarray, float, str], np.ndarray]
    whole: bool = False


KINDS = {
    "jpeg": Kind(1, 100, "quality", "JPEG, quality {}", lambda im, q, key: saved_as_jpeg(im, int(q)), whole=True),
    "webp": Kind(1, 100, "quality", "WebP, quality {}", lambda im, q, key: saved_as_webp(im, int(q)), whole=True),
    "blur": Kind(0.1, 20, "sigma in pixels", "Gaussian blur, sigma {} px", lambda im, sigma, key: blurred(im, sigma)),
    "resize": Kind(0.05, 8, "factor", "resized {}x and back", lambda im, factor, key: resized_and_back(im, factor)),
    "noise": Kind(0.1, 128, "sigma in grey levels", "Gaussian noise, sigma {} grey levels", _noisy),
    "crop": Kind(0.1, 1, "share of the side", "centre {} of the side, enlarged", lambda im, s, key: _cropped_and_back(im, s)),
    "gamma": Kind(0.2, 5, "exponent", "gamma {}", lambda im, exponent, key: with_gamma(im, exponent)),
    "motion": Kind(1, 64, "pixels", "motion blur, {} px", moved_while_exposed),
    "avc": Kind(0, 51, "CRF", "frame of an H.264 video, CRF {}", partial(_video_frame, "avc"), whole=True),
    "hevc": Kind(0, 51, "CRF", "frame of an H.265 video, CRF {}", partial(_video_frame, "hevc"), whole=True),
}  # fmt: skip
NONE = "none"
GRID = (
    *(NONE, "jpeg95", "jpeg75", "jpeg50", "jpeg30", "webp60", "blur0.5", "blur1", "blur2"),
    *("resize0.5", "resize0.75", "resize2", "noise2", "noise5", "crop0.9"),
)


@dataclass(frozen=True)
class Degradation:
    """A degradation: `kind` is a name in KINDS, or "none", which changes nothing."""

    kind: str
    amount: float

    @property
    def name(self) -> str:
        return NONE if self.kind == NONE else f"{self.kind}{self.amount:g}"

    @property
    def words(self) -> str:
        return "unchanged" if self.kind == NONE else KINDS[self.kind].words.format(f"{self.amount:g}")

    def apply(self, image: np.ndarray, key: str) -> np.ndarray:
        """Return the degraded image, uint8 (C, R, R). `key` names the image; noise and direction of motion follow from it."""
        if self.kind == NONE:
            return image
        layout = np.ascontiguousarray(image.transpose(1, 2, 0))  # (R, R, C)
        changed = KINDS[self.kind].change(layout, self.amount, key)
        return np.ascontiguousarray(changed.transpose(2, 0, 1))  # (C, R, R)


def parse_degradation(text: str) -> Degradation:
    """Parse `jpeg75`, `blur0.5`, `resize2`, `noise5`, `crop0.9` or `none`. Raises UserError with the choices and ranges."""
    word = text.strip().lower()
    if word == NONE:
        return Degradation(NONE, 0)
    kind = re.split(r"[\d.]", word, maxsplit=1)[0]
    digits = word.removeprefix(kind)
    if kind not in KINDS:
        raise unknown_name("degradation", kind or text, [*KINDS, NONE], remedy="A strength follows its name: jpeg75.")
    own = KINDS[kind]
    expected = f"{own.unit}, {'a whole number' if own.whole else 'a number'}, {own.low:g} to {own.high:g}"
    if not re.fullmatch(r"\d+" if own.whole else r"\d+(\.\d+)?|\.\d+", digits):
        what = f"the strength of the degradation {kind!r} {'could not be read' if digits else 'is missing'}"
        raise UserError(what, got=repr(text), expected=expected)
    if not own.low <= float(digits) <= own.high:
        raise UserError(f"the degradation {text!r} is out of range", got=digits, expected=expected)
    return Degradation(kind, float(digits))
