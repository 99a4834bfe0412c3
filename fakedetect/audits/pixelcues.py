"""What decoded pixels keep of how a picture was stored: the 8x8 grid of a JPEG, and how much of the colour space is used.

None of it is independent of what the picture shows, so it is a reason to look closer and never an alarm.
"""

from __future__ import annotations

import cv2
import numpy as np

from fakecore.media.pixels import is_grey

BLOCK = 8  # pixels: JPEG's grid
MAX_SIDE = 1024  # pixels, from the corner where the grid begins: enough to tell, however large a photo is
_FLAT = 0.1  # grey levels; a picture without any detail has no discontinuities to compare


def traces(image: np.ndarray) -> dict[str, float]:
    """Of uint8 RGB (H, W, 3): blockiness (0: no 8x8 grid to be seen), grey (0 or 1), and the mean and the spread of its
    saturation, [0, 1]. NaN where a picture is too small to tell.
    """
    corner = np.ascontiguousarray(image[:MAX_SIDE, :MAX_SIDE])
    saturation = cv2.cvtColor(corner, cv2.COLOR_RGB2HSV)[..., 1].astype(np.float32) / 255
    grey = cv2.cvtColor(corner, cv2.COLOR_RGB2GRAY).astype(np.float32)
    return {
        "blockiness": blockiness(grey),
        "grey": float(is_grey(corner)),
        "saturation": float(saturation.mean()),
        "saturation_spread": float(saturation.std()),
    }


def blockiness(grey: np.ndarray) -> float:
    """How much larger steps are across the lines of the 8x8 grid than elsewhere, as a logarithm, for (H, W) float32.

    A step is what neighbours on both sides do not lead one to expect: |x1 - x0 - (x0 - x_1 + x2 - x1) / 2|.
    """
    ratios = [_grid_ratio(grey), _grid_ratio(grey.T)]
    return float(np.mean(ratios))


def _grid_ratio(grey: np.ndarray) -> float:
    if grey.shape[1] < 2 * BLOCK + 2:
        return float("nan")
    steps = np.diff(grey, axis=1)
    unexpected = np.abs(steps[:, 1:-1] - (steps[:, :-2] + steps[:, 2:]) / 2).mean(axis=0)  # between x and x + 1
    on_grid = (np.arange(1, 1 + len(unexpected)) + 1) % BLOCK == 0
    return float(np.log((unexpected[on_grid].mean() + _FLAT) / (unexpected[~on_grid].mean() + _FLAT)))
