"""Regions of a face by its mesh, and faces carried to other positions of the mesh.

A mesh is (468, 3), float: x and y in pixels of the image, z towards the back (fakedetect.faces.mesh). Images are uint8 RGB.
"""

from __future__ import annotations

import cv2
import numpy as np
from scipy.interpolate import LinearNDInterpolator

# Points of MediaPipe's mesh, canonical_face_model_uv_visualization.
_JAW = (454, 323, 361, 288, 397, 365, 379, 378, 400, 377, 152, 148, 176, 149, 150, 136, 172, 58, 132, 93, 234)
_BROWS = (70, 63, 105, 66, 107, 336, 296, 334, 293, 300)
_UNDER_EYES = (111, 117, 118, 119, 120, 121, 6, 350, 349, 348, 347, 346, 340, 143, 372)
_LIPS = (61, 146, 91, 181, 84, 17, 314, 405, 321, 375, 291, 409, 270, 269, 267, 0, 37, 39, 40, 185)
_CHIN = (397, 365, 379, 378, 400, 377, 152, 148, 176, 149, 150, 136, 172)
_REGIONS: dict[str, tuple[int, ...]] = {
    "face": tuple(range(468)),
    "inner": _JAW + _BROWS,  # without the forehead: the hull of the 68 landmarks that face swaps use
    "eyes": _BROWS + _UNDER_EYES,
    "mouth": _LIPS,
    "lower": _LIPS + _CHIN,
}
REGIONS = tuple(_REGIONS)
_STEP = 4  # pixels between the points at which a displacement is computed; linear between them
_BEYOND = 0.4  # of the side: how far beyond the image its surroundings end
_JAW_MOVES = 0.2  # of the distance from eyes to mouth: so far below the mouth, the jaw moves fully


def region_mask(region: str, mesh: np.ndarray, side: int, grow: float) -> np.ndarray:
    """Return the convex hull of one of REGIONS, `grow` times as large about its middle, float32 (side, side), 0 or 1 but for
    its border.
    """
    points = mesh[list(_REGIONS[region]), :2]
    middle = (points.min(axis=0) + points.max(axis=0)) / 2
    grown = (middle + grow * (points - middle)).astype(np.float32)
    mask = np.zeros((side, side), np.uint8)
    cv2.fillConvexPoly(mask, cv2.convexHull(grown).round().astype(np.int32), 255, cv2.LINE_AA)
    return mask.astype(np.float32) / 255


def carry(image: np.ndarray, mesh: np.ndarray, wanted: np.ndarray, side: int, *, still: bool = False) -> np.ndarray:
    """Return `image` with its `mesh` carried to `wanted`, (side, side, 3): linear between the points. The surroundings move
    with the face, or stand still.
    """
    here, there = mesh[:, :2].astype(np.float64), wanted[:, :2].astype(np.float64)
    frame = _frame(side)
    back = None if still else cv2.estimateAffinePartial2D(there, here, method=cv2.LMEDS)[0]
    sources = np.vstack([here, frame if back is None else frame @ back[:, :2].T + back[:, 2]])
    where = LinearNDInterpolator(np.vstack([there, frame]), sources)
    steps = np.arange(0, side + _STEP, _STEP, dtype=np.float64)
    coarse = where(*np.meshgrid(steps, steps)).astype(np.float32)
    x, y = np.meshgrid(np.arange(side, dtype=np.float32) / _STEP, np.arange(side, dtype=np.float32) / _STEP)
    fine = cv2.remap(coarse, x, y, cv2.INTER_LINEAR)
    return cv2.remap(image, fine[..., 0], fine[..., 1], cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT)


def pose(mesh: np.ndarray, yaw: float, pitch: float, opened: float) -> np.ndarray:
    """Return the mesh of the face turned by `yaw` and `pitch` degrees, its jaw moved down by `opened` times the distance from
    eyes to mouth (negative: up): what programs do that animate a face. Where it stands is kept.
    """
    eyes, mouth = mesh[[33, 263], :2].mean(axis=0), mesh[[61, 291], :2].mean(axis=0)
    unit = max(float(np.linalg.norm(mouth - eyes)), 1.0)
    down = (mouth - eyes) / unit
    below = (mesh[:, :2] - mouth) @ down / (_JAW_MOVES * unit)
    moved = mesh.astype(np.float64)
    moved[:, :2] += opened * unit * np.clip(below, 0, 1)[:, None] * down
    middle = moved.mean(axis=0)
    turn = cv2.Rodrigues(np.radians([pitch, yaw, 0.0]))[0]
    return (moved - middle) @ turn.T + middle


def _frame(side: int) -> np.ndarray:
    """Return points around the image, (16, 2), beyond its border."""
    low, high = -_BEYOND * side, (1 + _BEYOND) * side
    along = np.linspace(low, high, 5)[:-1]
    return np.array([p for t in along for p in ((t, low), (high, t), (low + high - t, high), (low, low + high - t))])
