"""Processes of the program that are forks of one that has imported the libraries: real processes, to be interrupted and
killed, without the seconds that each start takes.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterable, Mapping
from multiprocessing.reduction import DupFd
from pathlib import Path
from typing import Any

from tests.figures import Figures

_PRELOADED = (
    "torch",
    "torch._dynamo",  # of the first optimiser
    "torch.utils.tensorboard",
    "matplotlib.figure",
    "sklearn.datasets",  # digits
    "sklearn.discriminant_analysis",
    "jinja2",
    "fakelab.app",
    "fakegen.training.generate",
    "fakegen.sampling.production",
    "fakedetect.training.train",
    "fakedetect.scoring.pipeline",
)
DRAWN = "FAKELAB_TEST_DRAWS"  # in the environment of a fork: it draws its figures
_CONTEXT: Any = multiprocessing.get_context("forkserver")
_CONTEXT.set_forkserver_preload(list(_PRELOADED))


class Fork:
    """A process that runs `python PROGRAM WORDS`, with the methods of subprocess.Popen that tests use."""

    def __init__(self, program: Path, words: Iterable[object], environment: Mapping[str, str] | None = None, cwd=None):
        self.args = [sys.executable, str(program), *map(str, words)]
        self.returncode: int | None = None
        ends = [os.pipe() for _ in range(2)]
        streams = [_Fd(write) for _, write in ends]
        own = dict(os.environ if environment is None else environment)
        self._process = _CONTEXT.Process(target=_run, args=(self.args[1:], streams, str(cwd or Path.cwd()), own))
        self._process.start()
        for _, write in ends:
            os.close(write)
        self.pid = self._process.pid
        self._texts = ["", ""]
        self._readers = [threading.Thread(target=self._read, args=(i, ends[i][0]), daemon=True) for i in range(2)]
        for reader in self._readers:
            reader.start()

    def _read(self, place: int, end: int) -> None:
        with os.fdopen(end, errors="replace") as file:
            self._texts[place] = file.read()

    def poll(self) -> int | None:
        """Return the exit code, or None while it runs."""
        code = self._process.exitcode
        self.returncode = code
        return code

    def wait(self, timeout: float | None = None) -> int:
        """Wait for the end and return the exit code."""
        self._process.join(timeout)
        if self.poll() is None:
            raise subprocess.TimeoutExpired(self.args, timeout or 0)
        return self.returncode or 0

    def communicate(self, timeout: float | None = None) -> tuple[str, str]:
        """Wait for the end; return its standard output and error."""
        self.wait(timeout)
        for reader in self._readers:
            reader.join(timeout)
        return self._texts[0], self._texts[1]

    def send_signal(self, number: int) -> None:
        if self.poll() is None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, number)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)


class _Fd:
    """An open file of this process, which the fork has too."""

    def __init__(self, number: int):
        self.number = number

    def __reduce__(self):
        return _received, (DupFd(self.number),)


def _received(duplicate: Any) -> int:
    return duplicate.detach()


def _run(words: list[str], streams: list[int], where: str, environment: dict[str, str]) -> None:
    os.environ.clear()
    os.environ.update(environment)
    os.chdir(where)
    for stream, number in zip((1, 2), streams, strict=True):
        os.dup2(number, stream)
        os.close(number)
    sys.argv = words

    import torch

    from fakelab.app import main

    torch.set_num_threads(int(environment.get("OMP_NUM_THREADS", torch.get_num_threads())))
    with contextlib.nullcontext() if DRAWN in environment else Figures().left_empty():
        main()
