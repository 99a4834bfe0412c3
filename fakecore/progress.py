"""Progress bars on stderr with rate and time left, as wide as the terminal; silent when stderr is not a terminal. Of
several processes, only the first prints.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol

from fakecore.distributed import rank

_MIN_BAR, _MAX_BAR = 5, 40  # characters


class Bar(Protocol):
    """A progress bar: `advance(n)` adds finished units; `note(text)` shows a text next to the bar."""

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
    """Show a bar for `total` units of work, of which `done` are already finished; `unit` is a plural such as "images"."""
    if not sys.stderr.isatty() or rank():
        yield _Silent()
        return
    from rich.console import Console
    from rich.progress import Progress, ProgressColumn
    from rich.text import Text

    console = Console(stderr=True)

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
    from rich.console import Console
    from rich.text import Text

    Console(stderr=True).print(Text(text, style="bold red"), soft_wrap=True)


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
