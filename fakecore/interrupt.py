"""Ctrl-C and SIGTERM as a wish that long work honours at its next safe point; a second Ctrl-C stops at once."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from fakecore.errors import Interrupted
from fakecore.progress import say


class StopRequest:
    """A context manager whose `asked` turns true after SIGINT or SIGTERM. Outside the main thread it never does."""

    def __init__(self) -> None:
        self.asked = False
        self._before: dict[int, object] = {}

    def __enter__(self) -> StopRequest:
        if threading.current_thread() is threading.main_thread():
            self._before = {number: signal.signal(number, self._ask) for number in (signal.SIGINT, signal.SIGTERM)}
        return self

    def __exit__(self, *_) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _ask(self, number: int, frame: object) -> None:
        if self.asked:
            raise KeyboardInterrupt
        self.asked = True
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
