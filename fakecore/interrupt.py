"""Ctrl-C and SIGTERM as a wish that long work honours at its next safe point; a second Ctrl-C stops at once."""

from __future__ import annotations

import signal
import threading

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
