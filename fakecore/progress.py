"""Progress bars on stderr with rate and time left; silent when stderr is not a terminal. Of several processes at one job
the first alone speaks.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol

from fakecore.world import rank


class Bar(Protocol):
    """What work reports to: `advance(n)` units done; `note(text)` shows a word beside the bar."""

    def advance(self, n: int = 1) -> None: ...

    def note(self, text: str) -> None: ...


class _Silent:
    def advance(self, n: int = 1) -> None:
        pass

    def note(self, text: str) -> None:
        pass


class _Shown:
    def __init__(self, progress, task):
        self._progress, self._task = progress, task

    def advance(self, n: int = 1) -> None:
        self._progress.advance(self._task, n)

    def note(self, text: str) -> None:
        self._progress.update(self._task, note=text)


@contextmanager
def progress_bar(title: str, total: int | None, unit: str, done: int = 0) -> Iterator[Bar]:
    """A bar for `total` units of work, `done` of which were finished before; `unit` is a plural such as "images"."""
    if not sys.stderr.isatty() or rank():
        yield _Silent()
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, ProgressColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn

    class Rate(ProgressColumn):
        def render(self, task):
            speed = task.finished_speed or task.speed
            return f"{speed:,.0f} {unit}/s" if speed and speed >= 10 else f"{speed:.1f} {unit}/s" if speed else ""

    columns = (
        TextColumn("[bold]{task.description}"),
        BarColumn(bar_width=28),
        TextColumn("{task.completed:,.0f}/{task.total:,.0f}" if total else "{task.completed:,.0f}"),
        Rate(),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
        TextColumn("[dim]{task.fields[note]}"),
    )
    with Progress(*columns, console=Console(stderr=True)) as progress:
        yield _Shown(progress, progress.add_task(title, total=total, completed=done, note=""))


def say(text: str) -> None:
    """One line for the person who waits: to stderr, so that stdout stays for results."""
    if not rank():
        print(text, file=sys.stderr, flush=True)
