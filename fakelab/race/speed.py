"""Measure how many images per second a detector scores, for the table of a race."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable

import numpy as np

from fakecore.device import one_thread
from fakedetect.models.detector import SCORE_BATCH

_LEAST_S, _LEAST_BATCHES = 0.2, 5


def images_per_s(score: Callable[[np.ndarray], np.ndarray], images: np.ndarray) -> float:
    """Return the images per second from decoded pixels, uint8 (N, C, R, R), to logits in memory, features included; on a CPU
    with one thread.

    `score` is timed on batches of different test images for at least 0.2 s. The result is from the median batch: on a
    shared machine other processes slow some batches, which would bias a mean.
    """
    size = min(SCORE_BATCH, 4 * len(images))
    taken: list[float] = []
    first = 0
    with one_thread():
        score(images[:1].repeat(size, axis=0))  # warm-up, not timed
        while len(taken) < _LEAST_BATCHES or sum(taken) < _LEAST_S:
            batch = images.take(range(first, first + size), axis=0, mode="wrap")
            began = time.perf_counter()
            score(batch)
            taken.append(time.perf_counter() - began)
            first += size
    return size / statistics.median(taken)
