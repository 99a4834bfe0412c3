"""Photos a second of `score`, of `score --engine ray`, and of what one would write without it."""

from __future__ import annotations

import logging
import multiprocessing
import os
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from fakecore.cluster import Cluster
from fakedetect.engine.job import Job
from fakedetect.engine.judging import judge_parts
from fakedetect.engine.request import Request
from fakedetect.models.detector import Detector

DETECTOR = "photos"
_PART = 64  # photos in a batch of the plain script, and of the pool


@dataclass(frozen=True)
class Rate:
    """Seconds until the first photos were judged, photos a second from then on, and seconds in all."""

    start_s: float
    rate: float
    total_s: float


def of_score(files: list[Path], out: Path, cpus: int) -> Rate:
    """`score` in one process, on `cpus` processors."""
    begin, seen = time.perf_counter(), [(0.0, 0)]
    words = [sys.executable, "-m", "fakelab", "score", "--files-from", "-", "--null", "--detector", DETECTOR]
    process = subprocess.Popen(
        [*words, "--no-stability", "--out", str(out)],
        stdin=subprocess.PIPE,
        env=_environment(cpus),
        stderr=subprocess.DEVNULL,
    )
    assert process.stdin
    process.stdin.write(b"\0".join(os.fsencode(path) for path in files) + b"\0")
    process.stdin.close()
    while process.poll() is None:
        time.sleep(0.02)
        rows = out.read_bytes().count(b"\n") if out.exists() else 0
        if rows > seen[-1][1]:
            seen.append((time.perf_counter() - begin, rows))
    return _rate(seen[1:], time.perf_counter() - begin)


def of_engine(files: list[Path], out: Path, workers: int) -> Rate:
    """`score --engine ray` with `workers` of one processor each, on a cluster that starts for it."""
    detector = Detector.load(DETECTOR, "cpu")
    request = Request(DETECTOR, {detector.id: detector.name}, device="cpu")
    begin, seen, count = time.perf_counter(), [], 0
    job = Job.create(str(out), request, ["photos"], map(str, files))
    for part in judge_parts(job, list(range(job.parts)), Cluster(workers=workers)):
        count += part.files
        seen.append((time.perf_counter() - begin, count))
    return _rate(seen, time.perf_counter() - begin)


def of_plain_ray(files: list[Path], workers: int) -> Rate:
    """A script as Ray's documentation has it: read images, judge them in actors, collect the rows."""
    import ray

    begin, seen, count = time.perf_counter(), [], 0
    ray.init("local", num_cpus=workers, include_dashboard=False, log_to_driver=False, logging_level=logging.ERROR)
    try:
        data = ray.data.from_items([{"path": str(path)} for path in files], override_num_blocks=len(files) // _PART)
        judged = data.map_batches(_Judge, batch_size=_PART, concurrency=workers, num_cpus=1)
        for batch in judged.iter_batches(batch_size=None):
            count += len(batch["p_fake"])
            seen.append((time.perf_counter() - begin, count))
    finally:
        ray.shutdown()
    return _rate(seen, time.perf_counter() - begin)


def of_pool(files: list[Path], workers: int) -> Rate:
    """A pool of processes, each of which takes one file after another, as img2dataset works."""
    begin, seen = time.perf_counter(), []
    with multiprocessing.get_context("spawn").Pool(workers, _load) as pool:
        for count, _ in enumerate(pool.imap_unordered(_judge_one, map(str, files), chunksize=_PART), 1):
            if count % _PART == 0:
                seen.append((time.perf_counter() - begin, count))
    return _rate(seen, time.perf_counter() - begin)


class _Judge:
    """The actor of the plain script."""

    def __init__(self) -> None:
        self._detector = Detector.load(DETECTOR, "cpu")

    def __call__(self, batch: dict[str, Any]) -> dict[str, Any]:
        images = np.stack([self._detector.prepare(_read(path)) for path in batch["path"]])
        judged = self._detector.judge(*self._detector.outputs(images))
        return {"path": batch["path"], "p_fake": [one.p_fake for one in judged]}


def _load() -> None:
    import torch

    torch.set_num_threads(1)
    global _JUDGE
    _JUDGE = _Judge()


def _judge_one(path: str) -> float:
    return _JUDGE({"path": [path]})["p_fake"][0]


_JUDGE: _Judge


def _read(path: str) -> np.ndarray:
    return cv2.cvtColor(cv2.imread(path), cv2.COLOR_BGR2RGB)


def _environment(cpus: int) -> dict[str, str]:
    return {**os.environ, "FAKELAB_CPUS": str(cpus), "OMP_NUM_THREADS": str(cpus)}


def _rate(seen: list[tuple[float, int]], total_s: float) -> Rate:
    (first_s, first), (last_s, last) = seen[0], seen[-1]
    return Rate(first_s, (last - first) / (last_s - first_s), total_s)
