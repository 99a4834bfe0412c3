"""Ctrl-C and SIGTERM stop long work at its next safe point; a second Ctrl-C stops it at once.

torchrun forwards each signal to all processes, so a Ctrl-C reaches each of them twice at once and counts as one. The end
of torchrun itself, for example by SIGKILL, is also a request to stop.
"""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from fakecore.distributed import launched
from fakecore.errors import Interrupted
from fakecore.progress import say

_SAME_SIGNAL_S = 1.0


_ALL_ASKED = threading.Event()


def ask_all() -> None:
    """Ask every StopRequest of this process, in any thread, as a signal would; for a process that another one started."""
    _ALL_ASKED.set()


class StopRequest:
    """A context manager whose `asked` becomes true after SIGINT or SIGTERM (in the main thread), and after `ask_all`."""

    def __init__(self) -> None:
        self._asked_at: float | None = None
        self._parent = os.getppid()
        self._before: dict[int, Any] = {}

    def __enter__(self) -> StopRequest:
        if threading.current_thread() is threading.main_thread():
            self._before = {number: signal.signal(number, self._ask) for number in (signal.SIGINT, signal.SIGTERM)}
        return self

    def __exit__(self, *_) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    @property
    def asked(self) -> bool:
        return self._asked_at is not None or _ALL_ASKED.is_set() or (launched() and os.getppid() != self._parent)

    def _ask(self, number: int, frame: object) -> None:
        now = time.monotonic()
        if self._asked_at is not None:
            if launched() and now - self._asked_at < _SAME_SIGNAL_S:
                return
            raise KeyboardInterrupt
        self._asked_at = now
        say("stopping at the next safe point (press Ctrl-C again to stop at once) ...")


@contextmanager
def with_resume_command(next_command: str) -> Iterator[None]:
    """Turn an interruption anywhere in the block into `Interrupted`, which says what is kept and the command that resumes."""
    try:
        yield
    except Interrupted as stopped:
        raise Interrupted(f"{stopped}. Resume with: {next_command}") from None
    except KeyboardInterrupt:
        raise Interrupted(f"saved work is kept. Resume with: {next_command}") from None


@contextmanager
def preserved_interrupts() -> Iterator[None]:
    """Raise KeyboardInterrupt (or `Interrupted`) for a Ctrl-C in the block, even if a library turns it into another error
    during its import. For the main thread.
    """
    pressed = False

    def press(number: int, frame: object) -> None:
        nonlocal pressed
        pressed = True
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGINT, press)
    try:
        yield
    except Interrupted:
        raise
    except Exception:
        if pressed:
            raise KeyboardInterrupt from None
        raise
    finally:
        signal.signal(signal.SIGINT, before)


def end_with_parent() -> None:
    """End this worker process about a second after its parent ends, even if the parent was killed. Files that are then
    incomplete have temporary names.
    """
    parent = os.getppid()

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(1)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()
