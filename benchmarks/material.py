"""Faces drawn by program, as many and as large as CelebA's crops: material for a machine without data or network."""

from __future__ import annotations

import os
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path

import cv2
import numpy as np

CELEBA = 202_599  # images
_PART = 1000  # images that a process draws in one call


def write_faces(folder: Path, count: int, side: int, seed: int = 0) -> Path:
    """Write `count` JPEG photos of drawn faces, `side` pixels large, to `folder`/faces, and return `folder`."""
    (folder / "faces").mkdir(parents=True)
    starts = range(0, count, _PART)
    with ProcessPoolExecutor(os.cpu_count()) as pool:
        list(pool.map(partial(_write_part, folder / "faces", count, side, seed), starts))
    return folder


def _write_part(folder: Path, count: int, side: int, seed: int, start: int) -> None:
    cv2.setNumThreads(1)
    random = np.random.default_rng([seed, start])
    for number in range(start, min(start + _PART, count)):
        _, data = cv2.imencode(".jpg", draw_face(random, side), [cv2.IMWRITE_JPEG_QUALITY, 90])
        (folder / f"{number:06d}.jpg").write_bytes(data.tobytes())


def draw_face(random: np.random.Generator, side: int) -> np.ndarray:
    """Draw a face at random, uint8 BGR (side, side, 3): its place, size, colours, hair and mouth vary."""
    corners = random.integers(30, 226, (2, 2, 3)).astype(np.float32)
    image = np.ascontiguousarray(cv2.resize(corners, (side, side), interpolation=cv2.INTER_LINEAR))
    tone = random.uniform(0.35, 1.0)
    skin = np.array([150, 180, 225]) * tone + random.uniform(-15, 15, 3)
    hair, dark = random.uniform(10, 130, 3), skin * 0.55
    x, y = side * (0.5 + random.uniform(-0.06, 0.06, 2))
    size, turn = side * random.uniform(0.6, 0.8), random.uniform(-12, 12)

    def blob(across: float, down: float, width: float, height: float, colour: np.ndarray) -> None:
        middle = (round(16 * (x + across * size)), round(16 * (y + down * size)))
        axes = (max(1, round(16 * width * size)), max(1, round(16 * height * size)))
        cv2.ellipse(image, middle, axes, turn, 0, 360, [float(v) for v in colour], -1, cv2.LINE_AA, 4)

    blob(0, -0.1, random.uniform(0.48, 0.58), random.uniform(0.58, 0.68), hair)
    blob(0, 0.05, random.uniform(0.38, 0.44), random.uniform(0.5, 0.56), skin)
    apart = random.uniform(0.15, 0.2)
    for eye in (-apart, apart):
        blob(eye, -0.04, 0.09, 0.045, np.full(3, 235))
        blob(eye + random.uniform(-0.02, 0.02), -0.04, 0.04, 0.04, random.uniform(10, 110, 3))
        blob(eye, -0.15, 0.11, 0.025, hair)
    blob(0, 0.14, 0.05, 0.07, dark)
    blob(0, 0.32, random.uniform(0.1, 0.2), random.uniform(0.02, 0.07), np.array([70, 60, 180]) * tone)
    image = cv2.GaussianBlur(image, (0, 0), random.uniform(0.3, 1.2) * side / 64)
    return (image + random.normal(0, random.uniform(1, 6), image.shape)).clip(0, 255).astype(np.uint8)
