"""Processes that train the detectors of a race: started when needed and reused for all later detectors."""

from __future__ import annotations

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

from fakecore.cpus import usable_cpus
from fakecore.errors import UserError
from fakecore.progress import progress_bar
from fakedetect.models.registry import trains_on_features
from fakelab.race.fits import Job, TestImages, Training, prepare_worker, train_and_score

START_S = 8.0  # until the first processes work; measured in a race of dct on two cores


class Workers:
    """Run jobs, several in parallel on a CPU; each saves its own cells. A context manager that ends all its processes."""

    def __init__(self, cells: Path, device: torch.device, jobs: int | None):
        self._cells, self._device = cells, device
        self._at_once = (jobs or usable_cpus()) if device.type == "cpu" else 1
        self._pool: ProcessPoolExecutor | None = None
        self._longest_s = 0.0  # of the jobs run in this process

    def __enter__(self) -> Workers:
        return self

    def __exit__(self, kind, error, trace) -> None:
        if self._pool is None:
            return
        with _ignore_sigint():  # a second Ctrl-C would leave processes, and Python waits for them at exit
            if kind is not None:
                # Cells are written atomically, so killing is safe. On SIGTERM a training would stop at its next step, and the
                # process would then take the next job.
                for process in active_children():
                    process.kill()
            self._pool.shutdown(wait=True, cancel_futures=True)

    def __call__(self, title: str, wanted: Sequence[tuple[Job, list[TestImages]]]) -> None:
        """Train each job's detector if its cell is missing, and score its tests. Raises UserError if a process was killed."""
        self._longest_s = 0.0
        with progress_bar(title, len(wanted), "detectors") as bar:
            left = list(wanted)
            while left and not self._use_processes(left):
                began = time.perf_counter()
                train_and_score(*left.pop(0), self._cells, self._device)
                self._longest_s = max(self._longest_s, time.perf_counter() - began)
                bar.advance()
            if not left:
                return
            if self._pool is None:  # the next detectors use the same processes
                self._pool = ProcessPoolExecutor(self._at_once, get_context("spawn"), prepare_worker)
            waiting = [self._pool.submit(train_and_score, job, tests, self._cells, self._device) for job, tests in left]
            try:
                for future in as_completed(waiting):
                    future.result()
                    bar.advance()
            except BrokenProcessPool:
                raise UserError(
                    "a process that trained a detector was killed, probably because memory ran out",
                    remedy="Repeat the command with --jobs 1: finished trainings are not repeated.",
                ) from None

    def _use_processes(self, left: list[tuple[Job, list[TestImages]]]) -> bool:
        """Return whether processes would finish sooner than this one: a linear head takes less time than starting a process."""
        if min(self._at_once, len(left)) <= 1:
            return False
        job = left[0][0]
        if self._pool is not None or (isinstance(job, Training) and not trains_on_features(job.settings)):
            return True
        return self._longest_s * len(left) * (1 - 1 / self._at_once) > START_S


@contextmanager
def _ignore_sigint() -> Iterator[None]:
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
