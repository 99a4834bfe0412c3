"""The processes that train a race's detectors: started when the first is needed, and kept for all that follow."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from multiprocessing import active_children, get_context
from pathlib import Path

import torch

from fakecore.errors import UserError
from fakecore.progress import progress_bar
from fakedetect.models.registry import trains_on_features
from fakelab.race.fits import Exam, Job, Training, prepare_worker, work

START_S = 8.0  # until the first processes are at work; of a race of dct, measured on two cores


class Workers:
    """Works on jobs, several at a time on a CPU; each saves its own cells. A context manager: no process outlives it."""

    def __init__(self, cells: Path, device: torch.device, jobs: int | None):
        self._cells, self._device = cells, device
        self._at_once = (jobs or os.cpu_count() or 1) if device.type == "cpu" else 1
        self._pool: ProcessPoolExecutor | None = None
        self._longest_s = 0.0  # of the jobs that were done here

    def __enter__(self) -> Workers:
        return self

    def __exit__(self, kind, error, trace) -> None:
        if self._pool is None:
            return
        with _deaf_to_ctrl_c():  # a second one would leave processes behind, for which Python waits when it ends
            if kind is not None:
                # Every cell is whole or absent, so they may be stopped at any point; of SIGTERM a training would make a
                # wish to stop at its next step, and then ask for more work.
                for process in active_children():
                    process.kill()
            self._pool.shutdown(wait=True, cancel_futures=True)

    def __call__(self, title: str, wanted: Sequence[tuple[Job, list[Exam]]]) -> None:
        """Train each job's detector, if need be, and score its exams. Raises UserError where a process was killed."""
        self._longest_s = 0.0
        with progress_bar(title, len(wanted), "detectors") as bar:
            left = list(wanted)
            while left and not self._worth_it(left):
                began = time.perf_counter()
                work(*left.pop(0), self._cells, self._device)
                self._longest_s = max(self._longest_s, time.perf_counter() - began)
                bar.advance()
            if not left:
                return
            if self._pool is None:  # those of one detector serve the next
                self._pool = ProcessPoolExecutor(self._at_once, get_context("spawn"), prepare_worker)
            waiting = [self._pool.submit(work, job, exams, self._cells, self._device) for job, exams in left]
            try:
                for future in as_completed(waiting):
                    future.result()
                    bar.advance()
            except BrokenProcessPool:
                raise UserError(
                    "a process that trained a detector was killed, most likely for lack of memory",
                    remedy="Repeat the command with --jobs 1: what was finished is kept.",
                ) from None

    def _worth_it(self, left: list[tuple[Job, list[Exam]]]) -> bool:
        """Whether processes would end sooner than this one: heads may take a second each, as long as a process to start."""
        if min(self._at_once, len(left)) <= 1:
            return False
        job = left[0][0]
        if self._pool is not None or (isinstance(job, Training) and not trains_on_features(job.settings)):
            return True
        return self._longest_s * len(left) * (1 - 1 / self._at_once) > START_S


@contextmanager
def _deaf_to_ctrl_c() -> Iterator[None]:
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
