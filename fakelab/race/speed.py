"""How many images a second a detector judges, as a race's table tells it."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable

import numpy as np

from fakecore.device import one_thread
from fakedetect.models.detector import SCORE_BATCH

_LEAST_S, _LEAST_BATCHES = 0.2, 5


def images_per_s(judge: Callable[[np.ndarray], np.ndarray], images: np.ndarray) -> float:
    """Images a second from decoded pixels, uint8 (N, C, R, R), to logits in memory, features included; a CPU works on it
    with one thread.

    `judge` takes a batch of test images at a time, a new one each time, until a fifth of a second has passed. The median of
    the batches counts: on a shared machine some wait for other work, which a mean would lay at the detector's door.
    """
    size = min(SCORE_BATCH, 4 * len(images))
    taken: list[float] = []
    first = 0
    with one_thread():
        judge(images[:1].repeat(size, axis=0))  # what is set up once is not counted
        while len(taken) < _LEAST_BATCHES or sum(taken) < _LEAST_S:
            batch = images.take(range(first, first + size), axis=0, mode="wrap")
            began = time.perf_counter()
            judge(batch)
            taken.append(time.perf_counter() - began)
            first += size
    return size / statistics.median(taken)
