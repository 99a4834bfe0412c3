"""Progress bars on stderr with rate and time left, as wide as the terminal; in a log, a line from time to time. Of several
processes, only the first prints.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import TYPE_CHECKING, Protocol

from fakecore.distributed import rank

if TYPE_CHECKING:
    from rich.console import Console

_MIN_BAR, _MAX_BAR = 5, 40  # characters
FIRST_LINE_S, NEXT_LINES_S = 20.0, 60.0  # in a log: what ends sooner says nothing


class Bar(Protocol):
    """A progress bar: `advance(n)` adds finished units; `note(text)` shows a text next to the bar."""

    def advance(self, n: int = 1) -> None: ...

    def note(self, text: str) -> None: ...


class _Silent:
    def advance(self, n: int = 1) -> None:
        pass

    def note(self, text: str) -> None:
        pass


class _Logged:
    """Prints a line to a log after FIRST_LINE_S, and every NEXT_LINES_S from then on."""

    def __init__(self, title: str, total: int | None, unit: str, done: int):
        self._title, self._total, self._unit, self._done, self._note = title, total, unit, done, ""
        self._before, self._began = done, time.monotonic()
        self._due = self._began + FIRST_LINE_S

    def advance(self, n: int = 1) -> None:
        self._done += n
        now = time.monotonic()
        if now >= self._due:
            self._due = now + NEXT_LINES_S
            say(self._line(now - self._began))

    def note(self, text: str) -> None:
        self._note = text

    def _line(self, seconds: float) -> str:
        rate = (self._done - self._before) / seconds
        parts = [f"{self._done:,}/{self._total:,} {self._unit}" if self._total else f"{self._done:,} {self._unit}"]
        parts.append(f"{rate:,.{0 if rate >= 10 else 1}f} {self._unit}/s")
        if self._total and rate:
            parts.append(f"{_clock((self._total - self._done) / rate)} left")
        return f"{self._title}: " + ", ".join([*parts, self._note] if self._note else parts)


class _Shown:
    def __init__(self, progress, task):
        self._progress, self._task = progress, task

    def advance(self, n: int = 1) -> None:
        self._progress.advance(self._task, n)

    def note(self, text: str) -> None:
        self._progress.update(self._task, note=text)


@contextmanager
def progress_bar(title: str, total: int | None, unit: str, done: int = 0) -> Iterator[Bar]:
    """Show a bar for `total` units of work, of which `done` are already finished; `unit` is a plural such as "images"."""
    if rank():
        yield _Silent()
        return
    if not sys.stderr.isatty():
        yield _Logged(title, total, unit, done)
        return
    from rich.progress import Progress, ProgressColumn
    from rich.text import Text

    console = _console()

    class Line(ProgressColumn):
        def render(self, task):
            mark = "-" if console.options.ascii_only else "━"
            return Text.assemble(*_line(task, title, unit, mark, console.width - 1), no_wrap=True, overflow="crop")

    with Progress(Line(), console=console) as progress:
        yield _Shown(progress, progress.add_task(title, total=total, completed=done, note=""))


def say(text: str) -> None:
    """Print one line to stderr, since stdout is for results."""
    if not rank():
        print(text, file=sys.stderr, flush=True)


def warn(text: str) -> None:
    """Print one line like `say`, in red if stderr is a terminal."""
    if rank() or not sys.stderr.isatty():
        say(text)
        return
    from rich.text import Text

    _console().print(Text(text, style="bold red"), soft_wrap=True)


@cache
def _console() -> Console:
    """Return the console of all bars: rich shows a bar within another below it only if both have the same one."""
    from rich.console import Console

    return Console(stderr=True)


def _line(task, title: str, unit: str, mark: str, width: int) -> list[tuple[str, str]]:
    """Return (text, style) of the parts that fit into `width` characters, by priority; the bar fills the rest."""
    speed = task.finished_speed or task.speed
    done, elapsed = f"{task.completed:,.0f}", _clock(task.finished_time if task.finished else task.elapsed)
    left = f"{_clock(task.time_remaining)} left" if task.total else ""
    wanted = {  # by priority; shown in a different order
        "left": f"in {elapsed}" if task.finished else left,
        "count": f"{done}/{task.total:,.0f}" if task.total else done,
        "rate": f"{speed:,.{0 if speed >= 10 else 1}f} {unit}/s" if speed else "",
        "note": task.fields["note"],
        "elapsed": "" if task.finished else f"{elapsed} elapsed",
    }
    room, shown = width - len(title) - (_MIN_BAR + 1 if task.total else 0), {}
    for name, text in wanted.items():
        if name == "count" and task.total and len(text) + 2 > room:
            text = f"{task.completed / task.total:.0%}"
        if len(text) + 2 > room:
            break
        if text:
            shown[name] = text
            room -= len(text) + 2
    parts = [(title, "bold")]
    if task.total:
        length = min(_MAX_BAR, _MIN_BAR + room)
        full = round(length * min(1.0, task.completed / task.total))
        parts += [(" " + mark * full, "green"), (mark * (length - full), "bright_black")]
    order = [name for name in ("count", "rate", "elapsed", "left", "note") if name in shown]
    return parts + [("  " + shown[name], "dim" if name == "note" else "") for name in order]


def _clock(seconds: float | None) -> str:
    """Seconds as 0:05, 12:34 or 1:02:03."""
    if seconds is None:
        return "-:--"
    minutes, seconds = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{seconds:02}" if hours else f"{minutes}:{seconds:02}"
