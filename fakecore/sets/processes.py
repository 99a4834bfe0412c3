"""Processes that decode images: they take parts as lines of JSON and answer each with a line.

Threads wait for one another: of a small image's time, the interpreter's lock is held for most. A process takes a tenth of a
second to start. It ends with its input, so none remains when this process is killed.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from itertools import islice
from typing import Any

from fakecore.cpus import usable_cpus
from fakecore.errors import UserError

MANY = 4000  # files from which on processes are faster than threads
_FAILED = "failed"


def answers(module: str, words: Sequence[str], parts: Sequence[Any]) -> Iterator[Any]:
    """Yield the answer to each of `parts`, values that JSON can hold, in order, from processes that run `module` with `words`
    as arguments; it calls `serve_parts`. Raises UserError if a process ends early, or answers with an error.
    """
    with ExitStack() as stack:
        workers = [stack.enter_context(_worker(module, words)) for _ in range(min(usable_cpus(), len(parts)))]
        later = iter(parts)
        waiting = deque(workers)
        for worker, part in zip(workers, islice(later, len(workers)), strict=True):
            _give(worker, part)
        while waiting:
            worker = waiting.popleft()
            assert worker.stdout, "opened as a pipe"
            answer = worker.stdout.readline()
            if not answer.endswith("\n"):
                raise UserError("a process that decodes images ended early", got=f"exit status {worker.wait()}")
            for following in islice(later, 1):
                _give(worker, following)
                waiting.append(worker)
            found = json.loads(answer)
            if isinstance(found, dict) and _FAILED in found:
                raise UserError(found[_FAILED])
            yield found


def serve_parts(answer: Callable[[Any], Any]) -> None:
    """Answer each part of the input with the value of `answer`; with the text of a UserError if it raises one."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the process that gives the parts
    for line in sys.stdin:
        try:
            found = answer(json.loads(line))
        except UserError as error:
            found = {_FAILED: str(error)}
        print(json.dumps(found), flush=True)


@contextmanager
def _worker(module: str, words: Sequence[str]) -> Iterator[subprocess.Popen[str]]:
    """Start a process; end it on leaving."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    pipe = subprocess.PIPE
    command = [sys.executable, "-m", module, *words]
    process = subprocess.Popen(command, text=True, env=environment, stdin=pipe, stdout=pipe)
    try:
        yield process
    finally:
        process.kill()  # it has nothing to save
        process.communicate()


def _give(worker: subprocess.Popen[str], part: Any) -> None:
    assert worker.stdin, "opened as a pipe"
    with suppress(BrokenPipeError):  # its missing answer is noticed
        worker.stdin.write(json.dumps(part) + "\n")
        worker.stdin.flush()
