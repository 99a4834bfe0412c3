"""A view of a face: turned, moved, recoloured, reduced. The real and the fake of a pair share it, so that no view is a cue."""

from __future__ import annotations

from dataclasses import asdict, dataclass

import cv2
import numpy as np

from fakedetect.blends.blending import recoloured
from fakedetect.data.degrade import moved_while_exposed

_TURN = 12.0  # degrees, at most
_GREY, _REDUCED, _DARK, _MOVING = 0.1, 0.4, 0.15, 0.2  # shares of the views
_LEAST = 0.2  # of the side: as small as faces in videos are


@dataclass(frozen=True)
class View:
    """Sizes are fractions of the side of the square around a face; colours as in Blend."""

    turn: float  # degrees
    zoom: float
    shift_x: float
    shift_y: float
    saturation: float  # 0: grey
    brightness: float
    contrast: float
    red: float
    blue: float
    exposure: float  # factor of all values: below 1, the scene is dark
    motion: float  # length of motion blur
    reduce: float  # the image is reduced to this share of its side in the end

    def to_json(self) -> dict:
        return {f"view_{name}": round(value, 4) for name, value in asdict(self).items()}


def draw_view(random: np.random.Generator) -> View:
    """Draw a view at random."""

    def around(width: float, middle: float = 0.0) -> float:
        return float(random.uniform(middle - width, middle + width))

    grey = random.random() < _GREY
    reduced, dark, moving = (random.random() < share for share in (_REDUCED, _DARK, _MOVING))
    return View(
        turn=around(_TURN),
        zoom=float(random.uniform(0.85, 1.15)),
        shift_x=around(0.04),
        shift_y=around(0.04),
        saturation=0.0 if grey else around(0.25, 1.0),
        brightness=around(20),
        contrast=around(0.2, 1.0),
        red=0.0 if grey else around(8),
        blue=0.0 if grey else around(8),
        exposure=float(random.uniform(0.25, 0.9)) if dark else 1.0,
        motion=float(random.uniform(0.01, 0.08)) if moving else 0.0,
        reduce=float(np.exp(random.uniform(np.log(_LEAST), 0.0))) if reduced else 1.0,
    )


def apply_view(view: View, image: np.ndarray, landmarks: np.ndarray, side: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the middle of `image` at `side` pixels, turned, moved and recoloured, and the landmarks in it, (5, 2).

    `image`, uint8 (S, S, 3) with S > side, shows the square around the face and its surroundings at the same scale.
    """
    middle = (len(image) - 1) / 2
    matrix = np.asarray(cv2.getRotationMatrix2D((middle, middle), view.turn, view.zoom), np.float64)
    matrix[:, 2] += (side - 1) / 2 - middle + side * np.array([view.shift_x, view.shift_y])
    turned = cv2.warpAffine(image, matrix, (side, side), flags=cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE)
    moved = landmarks @ matrix[:, :2].T + matrix[:, 2]
    shown = recoloured(turned, 0.0, view.saturation, view.brightness, view.contrast, view.red, view.blue)
    if view.exposure < 1:
        shown = (view.exposure * shown).round().astype(np.uint8)
    return shown, moved


def filmed(view: View, image: np.ndarray, key: str) -> np.ndarray:
    """Return the image with the view's motion blur, whose direction follows from `key`, and at the size to which the view
    reduces it, at least 32 pixels.
    """
    if view.motion * len(image) >= 1:
        image = moved_while_exposed(image, view.motion * len(image), key)
    side = max(min(32, len(image)), round(view.reduce * len(image)))
    return image if side == len(image) else cv2.resize(image, (side, side), interpolation=cv2.INTER_AREA)
