"""Find faces in photos and videos, and crop them.

Boxes are xyxy in pixels of the original frame; landmarks are (5, 2): left eye, right eye, nose, left and right corner of
the mouth, left and right as seen by the viewer.
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial

import cv2
import numpy as np

from fakecore.cpus import usable_cpus
from fakecore.device import choose_device, keep_freed_memory, one_thread
from fakecore.errors import UserError
from fakecore.media.pixels import fit_square

BATCH = 8  # frames per call of the face finder: more are not faster, and each 1080p frame takes 6 MB
PART = 4  # frames that pass through the networks together, on one CPU thread
SMALLEST = 20  # pixels; the minimum for MTCNN's first network, which has an input of 12
SHARPNESS_SIDE = 96  # pixels: sharpness is measured at this size, so that it does not depend on the size of the face
# The first network searches for faces slightly below the minimum size, because its boxes vary by as much. A value of 2/3
# finds no more faces of 60 pixels in faces-1080p.mp4, and takes a quarter longer.
_REACH = 0.8
MARGIN = 0.2  # around a face, as a fraction of its side: chin, ears and hair, where pasted faces end
_TAKEN = 0.9  # the box of a face varies by a tenth between frames; this must not interrupt its track
# Where a face's landmarks lie in an aligned crop without margin, as fractions of its side (ArcFace's 112x112 template).
_TEMPLATE = np.array([[38.29, 51.70], [73.53, 51.50], [56.03, 71.74], [41.55, 92.37], [70.73, 92.20]]) / 112


@dataclass(frozen=True)
class Face:
    """A face in a frame: `box` (4,) xyxy and `landmarks` (5, 2) float32, pixels; `confidence` of the face finder, [0, 1]."""

    box: np.ndarray
    landmarks: np.ndarray
    confidence: float

    @property
    def side(self) -> float:
        """The longer side of the box, pixels."""
        return float((self.box[2:] - self.box[:2]).max())


class FaceFinder:
    """Finds faces whose longer side is `min_face` pixels or more (or slightly less: nine tenths of it).

    Raises UserError for a size below SMALLEST, and if facenet-pytorch is not installed.
    """

    def __init__(self, min_face: float = 60, device: str = "auto"):
        from fakedetect.faces.mtcnn import Cascade

        if not min_face >= SMALLEST:
            raise UserError("--min-face is too small", got=min_face, expected=f"{SMALLEST} pixels or more")
        self._min_face = min_face
        place = choose_device(device)
        keep_freed_memory()
        self._cascade = Cascade(place)
        self._at_once = PART if place.type == "cpu" else BATCH
        self._pool = ThreadPoolExecutor(usable_cpus() if place.type == "cpu" else 1)

    def find(self, frames: Sequence[np.ndarray], min_face: float | None = None) -> list[list[Face]]:
        """Return the faces of each frame, uint8 RGB (H, W, 3), highest confidence first. Frames can differ in size; consecutive
        frames of one size are processed together, on a CPU a few of them on each thread. `min_face` replaces that of the
        finder.
        """
        least = self._min_face if min_face is None else min_face
        parts: list[list[np.ndarray]] = []
        for frame in frames:
            if not parts or len(parts[-1]) == self._at_once or parts[-1][0].shape != frame.shape:
                parts.append([])
            parts[-1].append(frame)
        return [faces for part in self._pool.map(partial(self._find_alike, least=least), parts) for faces in part]

    def _find_alike(self, frames: Sequence[np.ndarray], least: float) -> list[list[Face]]:
        height, width = frames[0].shape[:2]
        results = []
        with one_thread():
            found = self._cascade.find(frames, least * _REACH)
        for boxes, landmarks in found:
            boxes[:, :4] = boxes[:, :4].clip(0, (width, height, width, height))
            faces = [Face(box[:4], points, float(box[4])) for box, points in zip(boxes, landmarks, strict=True)]
            large = [face for face in faces if face.side >= _TAKEN * least and (face.box[2:] > face.box[:2]).all()]
            results.append(sorted(large, key=lambda face: -face.confidence))
        return results


def between(one: Face, other: Face, fraction: float) -> Face:
    """Interpolate a face between `one` (`fraction` 0) and `other` (`fraction` 1)."""
    box, landmarks = (
        (1 - fraction) * a + fraction * b for a, b in ((one.box, other.box), (one.landmarks, other.landmarks))
    )
    return Face(box, landmarks, min(one.confidence, other.confidence))


def crop(frame: np.ndarray, face: Face, *, margin: float = MARGIN, size: int = 128, align: bool = False) -> np.ndarray:
    """Crop a face from `frame`, uint8 RGB (H, W, 3), and resize it, as for all images, to uint8 RGB (size, size, 3).

    `margin` is added on each side, as a fraction of the face's longer side. With `align` the face is rotated and moved to
    a common position of the landmarks. Outside the frame, its border is repeated.
    """
    matrix, side = _aligned(face, margin) if align else _upright(frame, face, margin)
    if side < 1:
        raise ValueError(f"a face of {side} pixels")
    flags = cv2.INTER_CUBIC if align else cv2.INTER_NEAREST  # without rotation, pixels are copied
    square = cv2.warpAffine(frame, matrix, (side, side), flags=flags, borderMode=cv2.BORDER_REPLICATE)
    return np.ascontiguousarray(fit_square(square, size, 3).transpose(1, 2, 0))


def check_margin(margin: float) -> None:
    """Raise UserError for an invalid margin."""
    if not 0 <= margin <= 2:
        raise UserError("--margin cannot be used", got=margin, expected="0 to 2, as a fraction of the face's side")


def sharpness(frame: np.ndarray, face: Face) -> float:
    """Return the sharpness of a face: the variance of the Laplacian of its grey box at 96x96. Comparable within a video."""
    left, top, right, bottom = (round(float(value)) for value in face.box)
    part = frame[top : max(bottom, top + 1), left : max(right, left + 1)]
    grey = cv2.cvtColor(cv2.resize(part, (SHARPNESS_SIDE,) * 2, interpolation=cv2.INTER_AREA), cv2.COLOR_RGB2GRAY)
    return float(cv2.Laplacian(grey, cv2.CV_32F).var())


def _upright(frame: np.ndarray, face: Face, margin: float) -> tuple[np.ndarray, int]:
    """Return the (2, 3) matrix from frame to crop, and the side of the crop before resizing: a square around the box, moved
    into the frame if it fits.
    """
    height, width = frame.shape[:2]
    side = max(1, round(face.side * (1 + 2 * margin)))
    corner = np.round((face.box[:2] + face.box[2:]) / 2 - side / 2)
    for axis, length in enumerate((width, height)):
        corner[axis] = np.clip(corner[axis], 0, length - side) if side <= length else round((length - side) / 2)
    return np.array([[1, 0, -corner[0]], [0, 1, -corner[1]]], dtype=np.float64), side


def _aligned(face: Face, margin: float) -> tuple[np.ndarray, int]:
    """Like `_upright`, with rotation and shift but no scaling; fits the landmarks to the template by least squares."""
    points, wanted = (np.asarray(p, np.float64) @ (1, 1j) for p in (face.landmarks, _TEMPLATE))  # as complex numbers
    offsets = points - points.mean()
    ratio = (offsets.conj() @ (wanted - wanted.mean())) / max((offsets.conj() @ offsets).real, 1e-9)
    turn = ratio / max(abs(ratio), 1e-9)
    # The scale of the template is wrong for profiles, whose eyes are close together; the scale of the box is better.
    side = max(1, round(face.side * (1 + 2 * margin)))
    middle = side / 2 * (1 + 1j) + face.side * (wanted.mean() - 0.5 * (1 + 1j))
    offset = middle - turn * points.mean()
    matrix = np.array([[turn.real, -turn.imag, offset.real], [turn.imag, turn.real, offset.imag]])
    return matrix, side
