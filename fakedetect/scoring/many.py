"""Judge many photos: processes read and decode them, threads judge what they decoded."""

from __future__ import annotations

import tempfile
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice
from pathlib import Path

import numpy as np

from fakecore.cpus import usable_cpus
from fakecore.sets.decoding import decode_in_processes
from fakedetect.models.detector import Detector
from fakedetect.scoring.inputs import Input
from fakedetect.scoring.photos import PhotoJudge

_WINDOW = 16_384  # photos on disk at a time, at the detector's size


def judge_many(
    inputs: Iterable[Input], photos: PhotoJudge, detector: Detector
) -> Iterator[tuple[list[Input], list[dict]]]:
    """Yield batches of `inputs` with their rows, as `photos.judge` returns them, in order, for a detector of whole photos
    without the test of stability.
    """
    items, threads = iter(inputs), usable_cpus()
    with ThreadPoolExecutor(threads) as pool:
        waiting: deque[tuple[list[Input], Future[list[dict]]]] = deque()
        while window := list(islice(items, _WINDOW)):
            with tempfile.TemporaryDirectory(prefix="fakelab-") as scratch:
                array, start = Path(scratch) / "pixels.npy", 0
                shape = (len(window), detector.channels, detector.resolution, detector.resolution)
                files = [one.path for one in window]
                images = np.lib.format.open_memmap(array, mode="w+", dtype=np.uint8, shape=shape)
                for outcomes in decode_in_processes(array, files, "judge", "fakedetect.scoring.worker"):
                    rows = slice(start, start + len(outcomes))
                    batch = window[rows]
                    waiting.append((batch, pool.submit(photos.judge_decoded, batch, outcomes, images[rows])))
                    start = rows.stop
                    while len(waiting) > 2 * threads:
                        batch, judged = waiting.popleft()
                        yield batch, judged.result()
                while waiting:  # the window's pixels are deleted next
                    batch, judged = waiting.popleft()
                    yield batch, judged.result()
