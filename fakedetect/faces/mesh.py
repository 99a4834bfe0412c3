"""The mesh of a face: 468 points, by MediaPipe's face mesh (Kartynnik et al. 2019, arXiv 1907.06724), read by OpenCV.

`face_landmark.tflite` is the file of that name in the package mediapipe 0.10.21 (Google, Apache License 2.0).
"""

from __future__ import annotations

import threading
from pathlib import Path

import cv2
import numpy as np

POINTS = 468
MODEL = Path(__file__).with_name("face_landmark.tflite")
SHA256 = "1055cb9d4a9ca8b8c688902a3a5194311138ba256bcc94e336d8373a5f30c814"
_SIDE = 192  # pixels: input of the network
_AROUND = 1.5  # side of the input, in those of the face's box, as in MediaPipe
_FIRST = 3.6  # the same for the first look, in distances between eyes and mouth
_FAR = 0.35  # of that distance: a mesh farther from the landmarks of the face finder is of something else
_READING = (
    threading.Lock()
)  # OpenCV fills its table of layers at the first network that it reads: two threads at once can fail
# Points of the mesh at the landmarks of the face finder: corners of both eyes, tip of the nose, corners of the mouth.
_LANDMARKS = ((33, 133), (362, 263), (1,), (61,), (291,))


class FaceMesh:
    """Fits the mesh to faces that were found. Any thread may call it."""

    def __init__(self) -> None:
        self._own = threading.local()  # a network of OpenCV serves one thread

    def fit(self, image: np.ndarray, landmarks: np.ndarray) -> np.ndarray | None:
        """Return the mesh of the face at `landmarks`, (5, 2), in `image`, uint8 RGB (H, W, 3): float32 (468, 3), x and y in
        pixels, z in the same unit, smaller nearer to the camera. None if the mesh does not lie on the landmarks.
        """
        landmarks = np.asarray(landmarks, np.float32)
        eyes, mouth = landmarks[:2].mean(axis=0), landmarks[3:].mean(axis=0)
        unit = max(float(np.linalg.norm(mouth - eyes)), float(np.linalg.norm(landmarks[1] - landmarks[0])), 1.0)
        across = landmarks[1] - landmarks[0]
        mesh = self._look(image, (eyes + mouth) / 2, _FIRST * unit, across)
        low, high = mesh[:, :2].min(axis=0), mesh[:, :2].max(axis=0)
        eye, other = _landmarks_of(mesh)[:2]
        mesh = self._look(image, (low + high) / 2, _AROUND * float((high - low).max()), other - eye)
        found = _landmarks_of(mesh)
        return mesh if np.linalg.norm(found - landmarks, axis=1).mean() < _FAR * unit else None

    def _look(self, image: np.ndarray, centre: np.ndarray, side: float, across: np.ndarray) -> np.ndarray:
        """Return the mesh in the square of `side` pixels around `centre`, turned so that `across`, eye to eye, is level."""
        angle = float(np.degrees(np.arctan2(across[1], across[0])))
        side = max(side, 8.0)
        middle = (float(centre[0]), float(centre[1]))
        to_input = np.asarray(cv2.getRotationMatrix2D(middle, angle, _SIDE / side), np.float64)
        to_input[:, 2] += _SIDE / 2 - centre
        shown = cv2.warpAffine(image, to_input, (_SIDE, _SIDE), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
        network = self._network()
        network.setInput(np.ascontiguousarray(shown.transpose(2, 0, 1)[None].astype(np.float32) / 255))
        points = network.forward().reshape(POINTS, 3).astype(np.float64)
        back = cv2.invertAffineTransform(to_input)
        plane = points[:, :2] @ back[:, :2].T + back[:, 2]
        return np.column_stack([plane, points[:, 2] * side / _SIDE]).astype(np.float32)

    def _network(self) -> cv2.dnn.Net:
        if not hasattr(self._own, "network"):
            with _READING:
                self._own.network = cv2.dnn.readNetFromTFLite(str(MODEL))
        return self._own.network


def _landmarks_of(mesh: np.ndarray) -> np.ndarray:
    """Return the landmarks of the face finder in a mesh, (5, 2)."""
    return np.stack([mesh[list(points), :2].mean(axis=0) for points in _LANDMARKS])
