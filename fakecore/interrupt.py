"""Ctrl-C and SIGTERM as a wish that long work honours at its next safe point; a second Ctrl-C stops at once.

Of several processes, torchrun hands each signal on to all, so that a Ctrl-C reaches them twice at once: that is one wish.
And when torchrun itself is gone, killed by force, that is the same wish.
"""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

from fakecore.distributed import launched
from fakecore.errors import Interrupted
from fakecore.progress import say

_SAME_WISH_S = 1.0


class StopRequest:
    """A context manager whose `asked` turns true after SIGINT or SIGTERM. Outside the main thread it never does."""

    def __init__(self) -> None:
        self._asked_at: float | None = None
        self._parent = os.getppid()
        self._before: dict[int, object] = {}

    def __enter__(self) -> StopRequest:
        if threading.current_thread() is threading.main_thread():
            self._before = {number: signal.signal(number, self._ask) for number in (signal.SIGINT, signal.SIGTERM)}
        return self

    def __exit__(self, *_) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    @property
    def asked(self) -> bool:
        return self._asked_at is not None or (launched() and os.getppid() != self._parent)

    def _ask(self, number: int, frame: object) -> None:
        now = time.monotonic()
        if self._asked_at is not None:
            if launched() and now - self._asked_at < _SAME_WISH_S:
                return
            raise KeyboardInterrupt
        self._asked_at = now
        say("stopping at the next safe point (again: at once) ...")


@contextmanager
def going_on_with(next_command: str) -> Iterator[None]:
    """Whatever of the block Ctrl-C hits, a loop with a StopRequest or what stands between loops, the block ends with
    `Interrupted`, which says what is kept and the command that goes on.
    """
    try:
        yield
    except Interrupted as stopped:
        raise Interrupted(f"{stopped}. Go on with: {next_command}") from None
    except KeyboardInterrupt:
        raise Interrupted(f"what was saved is kept. Go on with: {next_command}") from None


@contextmanager
def honest_interrupts() -> Iterator[None]:
    """Ctrl-C in the block comes out as KeyboardInterrupt (or `Interrupted`), also where a library that was being
    imported made another error of it. For the main thread.
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
    """For a process that works for another: end within a second or so of that one's end, even where it was killed by force.
    What is half-written then was written under a temporary name.
    """
    parent = os.getppid()

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(1)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()
