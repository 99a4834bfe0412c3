"""Give damaged files to a child process; name the one that crashes it, hangs it, fills the memory or writes."""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import sys
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

LIMIT_S = 10.0  # of wall-clock time for a file
LIMIT_BYTES = 1 << 30  # of memory above that at the start
_START_S = 120.0
_CHILD = ("-m", "benchmarks.fuzz.child")
FAILURES = ("crash", "exception", "hang", "memory", "write")


@dataclass(frozen=True)
class Reading:
    """What became of one file: `status` is "ok", that of an error, or one of FAILURES, which `detail` explains."""

    status: str
    seconds: float = 0.0
    bytes: int = 0
    detail: str = ""


class Reader:
    """A child process that reads files, started again whenever a file ends it. A context manager."""

    def __init__(self, whole: Path, scratch: Path, *, limit_s: float = LIMIT_S, child: Sequence[str] = _CHILD):
        """`whole` is an undamaged file; `scratch` an empty folder, the working and temporary folder of the child; `child`
        what this Python is called with.
        """
        self._whole, self._scratch, self._limit_s, self._child = whole, scratch, limit_s, child
        self._errors = scratch.parent / f"{scratch.name}.stderr"
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Reader:
        return self

    def __exit__(self, *_: object) -> None:
        self._end()

    def read(self, path: Path) -> Reading:
        """Return what becomes of a file."""
        if self._process is None:
            self._start()
        self._send(path)
        answer = self._answer(self._limit_s)
        if answer is None:
            return self._lost()
        if not answer:
            return Reading("hang", self._limit_s, detail=self._end())
        if answer["writes"]:
            self._end()
            for one in self._scratch.iterdir():
                one.unlink()
            return Reading("write", answer["seconds"], answer["bytes"], ", ".join(answer["writes"]))
        status = "memory" if answer["bytes"] > LIMIT_BYTES else answer["status"]
        return Reading(status, answer["seconds"], answer["bytes"], answer["error"])

    def _start(self) -> None:
        reads, writes = os.pipe()
        folder = str(self._scratch)
        # Few arenas: each reserves 64 MiB of addresses, which are limited.
        environment = {**os.environ, "TMPDIR": folder, "HOME": folder, "MALLOC_ARENA_MAX": "2"}
        environment["PYTHONPATH"] = os.pathsep.join(str(Path(one).absolute()) for one in sys.path)
        self._process = subprocess.Popen(
            [sys.executable, *self._child, str(writes)],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=self._errors.open("wb"),
            cwd=folder,
            env=environment,
            pass_fds=[writes],
        )
        os.close(writes)
        self._answers = os.fdopen(reads, "rb", buffering=0)
        self._rest = b""
        self._send(self._whole)
        if self._answer(_START_S) is None:
            raise RuntimeError(f"the child process does not start: {self._end()}")

    def _send(self, path: Path) -> None:
        assert self._process and self._process.stdin, "started, with a pipe"
        with suppress(BrokenPipeError):  # the missing answer is noticed
            self._process.stdin.write(f"{path}\n".encode())
            self._process.stdin.flush()

    def _answer(self, limit_s: float) -> dict | None:
        """Return the child's answer, {} if none comes in time, None if the child ended."""
        while b"\n" not in self._rest:
            if not select.select([self._answers], [], [], limit_s)[0]:
                return {}
            part = self._answers.read(1 << 16)
            if not part:
                return None
            self._rest += part
        line, _, self._rest = self._rest.partition(b"\n")
        return json.loads(line) or {"started": True}

    def _lost(self) -> Reading:
        """Return the reading of the file that ended the child."""
        assert self._process, "started"
        code = self._process.wait()
        named = signal.Signals(-code).name if code < 0 else f"exit status {code}"
        status = "hang" if named == "SIGXCPU" else "crash"
        return Reading(status, detail=f"{named}\n{self._end()}")

    def _end(self) -> str:
        """End the child; return the end of what it wrote to standard error."""
        if self._process is None:
            return ""
        self._process.kill()
        self._process.communicate()
        self._process = None
        self._answers.close()
        return self._errors.read_text(errors="replace")[-2000:]
