"""What one would write without `score --engine ray`: a script for Ray Data, and a pool of processes as in img2dataset.

Both judge the same photos with the same detector, one processor for each of two workers, and write path and p_fake as Parquet.
Neither has rows of files that cannot be read, SHA-256, provenance, or a way to resume.
"""

from __future__ import annotations

import logging
import multiprocessing
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from benchmarks.scale.rates import DETECTOR, Rate, rate_of
from fakedetect.models.detector import Detector

_BATCH = 64  # photos


def of_ray_data(folder: Path, out: Path, workers: int) -> Rate:
    """A script as Ray's documentation has it: read_images, map_batches with actors, write_parquet. The actors share their
    processors with the tasks that read: Ray Data needs some for these.
    """
    import ray

    def run() -> None:
        ray.init("local", num_cpus=workers, include_dashboard=False, log_to_driver=False, logging_level=logging.ERROR)
        try:
            context = ray.data.DataContext.get_current()
            context.enable_progress_bars = False
            images = ray.data.read_images(str(folder), include_paths=True, mode="RGB")
            judged = images.map_batches(_Judge, batch_size=_BATCH, concurrency=workers, num_cpus=0.5)
            judged.write_parquet(str(out))
        finally:
            ray.shutdown()

    return _measured(run, out)


def of_pool(files: list[Path], out: Path, workers: int) -> Rate:
    """Processes that each take a shard of the list, decode and judge its photos in batches, and write it as one file."""
    out.mkdir()
    shards = [
        (number, [str(path) for path in files[start : start + 4 * _BATCH]], str(out))
        for number, start in enumerate(range(0, len(files), 4 * _BATCH))
    ]

    def run() -> None:
        with multiprocessing.get_context("spawn").Pool(workers, _load) as pool:
            for _ in pool.imap_unordered(_write_shard, shards):
                pass

    return _measured(run, out)


def _measured(run: Callable[[], None], out: Path) -> Rate:
    """Return the rate of `run`, by the rows of the files that it writes to `out`."""
    begin, seen, is_over = time.perf_counter(), list[tuple[float, int]](), threading.Event()
    known: dict[str, int] = {}

    def look() -> None:
        for file in out.glob("*.parquet"):
            if file.name not in known:
                try:
                    known[file.name] = pq.read_metadata(file).num_rows
                except pa.ArrowInvalid:  # not complete yet
                    continue
                seen.append((time.perf_counter() - begin, sum(known.values())))

    def watch() -> None:
        while not is_over.wait(0.1):
            look()

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        run()
    finally:
        is_over.set()
        thread.join()
    look()
    return rate_of(seen, time.perf_counter() - begin)


class _Judge:
    def __init__(self) -> None:
        import torch

        torch.set_num_threads(1)
        self._detector = Detector.load(DETECTOR, "cpu")

    def __call__(self, batch: dict[str, Any]) -> dict[str, Any]:
        images = np.stack([self._detector.prepare(image) for image in batch["image"]])
        judged = self._detector.judge(*self._detector.outputs(images))
        return {"path": batch["path"], "p_fake": [one.p_fake for one in judged]}


def _load() -> None:
    cv2.setNumThreads(1)
    global _JUDGE
    _JUDGE = _Judge()


def _write_shard(shard: tuple[int, list[str], str]) -> None:
    number, paths, out = shard
    tables = []
    for start in range(0, len(paths), _BATCH):
        some = paths[start : start + _BATCH]
        images = [cv2.cvtColor(cv2.imread(path), cv2.COLOR_BGR2RGB) for path in some]
        tables.append(pa.table(_JUDGE({"path": some, "image": images})))
    pq.write_table(pa.concat_tables(tables), f"{out}/{number:05d}.parquet")


_JUDGE: _Judge
