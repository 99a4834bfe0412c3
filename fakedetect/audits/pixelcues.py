"""Traces of storage in decoded pixels: the 8x8 grid of JPEG, and the use of the colour space.

They also depend on the content, so they are a reason to check further and never a leak.
"""

from __future__ import annotations

import cv2
import numpy as np

from fakecore.media.pixels import is_grey

BLOCK = 8  # pixels: JPEG's grid
MAX_SIDE = 1024  # pixels, from the corner where the grid starts: enough for a photo of any size
_FLAT = 0.1  # grey levels; avoids a division by zero in images without detail


def traces(image: np.ndarray) -> dict[str, float]:
    """Return for uint8 RGB (H, W, 3): blockiness (0: no visible 8x8 grid), grey (0 or 1), and the mean and standard deviation
    of the saturation, [0, 1]. NaN if the image is too small.
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
    """Return the log ratio of the steps across the lines of the 8x8 grid to those elsewhere, for (H, W) float32.

    A step is the difference that the neighbours on both sides do not explain: |x1 - x0 - (x0 - x_1 + x2 - x1) / 2|.
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
