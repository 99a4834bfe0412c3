"""Text that all messages share: the name of this program as it was called, and numbers with nouns and units."""

from __future__ import annotations

import shlex
import shutil
import sys
from pathlib import Path


def command(*words: object) -> str:
    """Return a command line of this program as the user called it: `python cli.py WORDS` or `fakelab WORDS`.

    Words are quoted for a shell where needed. When called from Python, the program is `fakelab`.
    """
    return " ".join([_program(), *(shlex.quote(str(word)) for word in words)])


def counted(n: int, noun: str) -> str:
    """Return a number with its noun: "1 epoch", "2,000 epochs"."""
    return f"{n:,} {noun}" if n == 1 else f"{n:,} {noun}s"


def duration(seconds: float) -> str:
    """Return a duration with at most two units: "40 s", "13 min", "2 h 13 min", "3 days 4 h"."""
    if seconds < 59.5:
        return f"{round(seconds)} s"
    minutes = round(seconds / 60)
    if minutes < 60:
        return f"{minutes} min"
    hours, minutes = divmod(minutes, 60)
    if hours < 48:
        return f"{hours} h {minutes} min" if minutes else f"{hours} h"
    days, hours = divmod(hours + (minutes >= 30), 24)
    return f"{days} days {hours} h" if hours else f"{days} days"


def printable(path: str) -> str:
    """Return a path without line breaks and control characters."""
    return path if path.isprintable() else path.encode("unicode_escape").decode()


def _program() -> str:
    script = sys.argv[0]
    if Path(script).name == "cli.py":
        return shlex.join([sys.orig_argv[0], script])
    if Path(script).name == "fakelab" and shutil.which("fakelab") != script:
        return shlex.quote(script)  # installed outside PATH, such as in .venv/bin
    return "fakelab"
