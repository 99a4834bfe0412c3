"""The processes that train a race's detectors: started when the first is needed, and kept for all that follow."""

from __future__ import annotations

import os
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import active_children, get_context
from pathlib import Path

import torch

from benchmarks.race_fits import Exam, Job, prepare_worker, work
from fakecore.errors import UserError
from fakecore.progress import progress_bar


class Workers:
    """Works on jobs, several at a time on a CPU; each saves its own cells. A context manager: no process outlives it."""

    def __init__(self, cells: Path, device: torch.device, jobs: int | None):
        self._cells, self._device = cells, device
        self._at_once = (jobs or os.cpu_count() or 1) if device.type == "cpu" else 1
        self._pool: ProcessPoolExecutor | None = None

    def __enter__(self) -> Workers:
        return self

    def __exit__(self, kind, error, trace) -> None:
        if self._pool is None:
            return
        if kind is not None:  # every cell is whole or absent, so they may be stopped at any point
            for process in active_children():
                process.terminate()
        self._pool.shutdown(wait=True, cancel_futures=True)

    def __call__(self, title: str, wanted: Sequence[tuple[Job, list[Exam]]]) -> None:
        """Train each job's detector, if need be, and score its exams. Raises UserError where a process was killed."""
        with progress_bar(title, len(wanted), "detectors") as bar:
            if min(self._at_once, len(wanted)) <= 1:
                for job, exams in wanted:
                    work(job, exams, self._cells, self._device)
                    bar.advance()
                return
            if self._pool is None:  # a process takes seconds to import torch: those of one detector serve the next
                self._pool = ProcessPoolExecutor(self._at_once, get_context("spawn"), prepare_worker)
            waiting = [self._pool.submit(work, job, exams, self._cells, self._device) for job, exams in wanted]
            try:
                for future in as_completed(waiting):
                    future.result()
                    bar.advance()
            except BrokenProcessPool:
                raise UserError(
                    "a process that trained a detector was killed, most likely for lack of memory",
                    remedy="Repeat the command with --jobs 1: what was finished is kept.",
                ) from None
