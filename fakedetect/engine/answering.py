"""A process that answers requests with lines of JSON, and is killed when it makes no progress."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from queue import Empty, SimpleQueue
from threading import Thread

_END_S = 30  # seconds that a killed process may take to end: one that waits for a disk that is gone does not end


class DiedError(Exception):
    """The process ended before it had answered: `by_signal`, if it was killed; `hung`, if it was killed here, since it made no
    progress.
    """

    def __init__(self, *, by_signal: bool = False, hung: bool = False):
        super().__init__()
        self.by_signal, self.hung = by_signal, hung


class Answering:
    """A process of a command `words`, started at once. It answers each request, a line of JSON on its standard input, with
    messages, lines of JSON on its standard output. {"progress": ...} says that it still works, {"done": true} ends an answer.
    """

    def __init__(self, words: Sequence[str], environment: Mapping[str, str] | None = None, folder: str | None = None):
        pipe = subprocess.PIPE
        self._process = subprocess.Popen(
            words, text=True, env=environment, cwd=folder, stdin=pipe, stdout=pipe, encoding="utf-8"
        )
        self._lines: SimpleQueue[str] = SimpleQueue()
        Thread(target=self._forward, name="answers", daemon=True).start()

    def answers(self, asked: dict, most_s: float) -> Iterator[dict]:
        """Yield the messages that answer a request. Raises DiedError, as `read` does."""
        assert self._process.stdin, "opened as a pipe"
        try:
            self._process.stdin.write(json.dumps(asked) + "\n")
            self._process.stdin.flush()
        except BrokenPipeError:
            self.close()
            raise DiedError from None
        while "done" not in (message := self.read(most_s)):
            yield message

    def read(self, most_s: float) -> dict:
        """Return the next message. Raises DiedError if the process ends before; it is killed after `most_s` silent seconds."""
        message = {"progress": True}
        while "progress" in message:
            try:
                line = self._lines.get(timeout=most_s)
            except Empty:
                self.close()
                raise DiedError(hung=True) from None
            if not line.endswith("\n"):
                by_signal = self._process.wait() < 0  # its output is closed: it ends
                self.close()
                raise DiedError(by_signal=by_signal)
            message = json.loads(line)
        return message

    def close(self) -> None:
        """End the process."""
        self._process.kill()
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(_END_S)
        assert self._process.stdin, "opened as a pipe"
        with suppress(OSError):  # what was not read of a request cannot be written any more
            self._process.stdin.close()

    def _forward(self) -> None:
        """Queue what the process prints, its last line maybe incomplete, and "" at its end."""
        assert self._process.stdout, "opened as a pipe"
        with self._process.stdout as lines:
            for line in lines:
                self._lines.put(line)
        self._lines.put("")
