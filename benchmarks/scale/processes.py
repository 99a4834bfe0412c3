"""The processes that a measurement started, wherever they are by now: the memory and processor time that they take (Linux)."""

from __future__ import annotations

import os
import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

_VARIABLE = "FAKELAB_SCALE"  # in the environment of this process, and so of those that it starts
_KINDS = {  # what the command line of a process contains -> its name in the tables
    b"fakedetect.engine.child": "process that judges",
    b"ray::": "actor of Ray",
    b"raylet/raylet": "raylet",
    b"gcs_server": "Ray's control store",
    b"-m\0fakelab\0": "the command",
}
_EVERY_S = 0.5


def mark() -> None:
    """Mark this process, so that `watched` finds what it starts; others on the machine may run Ray too."""
    os.environ[_VARIABLE] = uuid.uuid4().hex


def _is_ours(process: int) -> bool:
    """Return whether a process, or one of its parents, has our mark: an actor overwrites its environment with its title."""
    own = f"{_VARIABLE}={os.environ[_VARIABLE]}".encode()
    while process > 1:
        with suppress(OSError):
            if own in Path(f"/proc/{process}/environ").read_bytes():
                return True
        process = int(_status(process).get("PPid", 0))
    return False


class Usage:
    """The most memory that a process of each kind took, in MiB, the most of Ray's object store that was in use, in MiB, and the
    processor time of all processes, this one included, in seconds.
    """

    def __init__(self) -> None:
        self.most: dict[str, float] = {}
        self.store = 0.0
        self._began_s = time.process_time()
        self._times_s: dict[int, float] = {}
        self._is_ours: dict[int, bool] = {}

    @property
    def cpu_s(self) -> float:
        return sum(self._times_s.values()) + time.process_time() - self._began_s

    def look(self) -> None:
        for process in (int(one.name) for one in Path("/proc").iterdir() if one.name.isdecimal()):
            if process not in self._is_ours:
                self._is_ours[process] = process != os.getpid() and _is_ours(process)
            if not self._is_ours[process]:
                continue
            with suppress(OSError):
                times = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[11:13]  # user, system
                self._times_s[process] = sum(map(int, times)) / os.sysconf("SC_CLK_TCK")
                words, status = Path(f"/proc/{process}/cmdline").read_bytes(), _status(process)
                kind = next((kind for pattern, kind in _KINDS.items() if pattern in words), None)
                if kind:
                    self.most[kind] = max(self.most.get(kind, 0.0), _mib(status.get("VmHWM")))
                if kind == "raylet":
                    self.store = max(self.store, _mib(status.get("RssShmem")))


@contextmanager
def watched() -> Iterator[Usage]:
    """Yield what our processes use, which is measured twice a second until the block ends."""
    usage, is_over = Usage(), threading.Event()

    def watch() -> None:
        while not is_over.wait(_EVERY_S):
            usage.look()

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        yield usage
    finally:
        is_over.set()
        thread.join()


def _status(process: int) -> dict[str, str]:
    with suppress(OSError):
        lines = Path(f"/proc/{process}/status").read_text().splitlines()
        return {name: value.strip() for name, _, value in (line.partition(":") for line in lines)}
    return {}


def _mib(text: str | None) -> float:
    return int(text.split()[0]) / 1024 if text else 0.0
