"""Words that all messages share: how this program was called, and numbers with their nouns."""

from __future__ import annotations

import shlex
import shutil
import sys
from pathlib import Path


def command(*words: object) -> str:
    """A command line of this program, typed as it was typed this time: `python cli.py WORDS`, `fakelab WORDS`.

    Words that a shell would take apart are quoted. From Python, where nothing was typed, it is `fakelab`.
    """
    return " ".join([_program(), *(shlex.quote(str(word)) for word in words)])


def counted(n: int, noun: str) -> str:
    """A number with its noun: "1 epoch", "2,000 epochs"."""
    return f"{n:,} {noun}" if n == 1 else f"{n:,} {noun}s"


def _program() -> str:
    script = sys.argv[0]
    if Path(script).name == "cli.py":
        return shlex.join([sys.orig_argv[0], script])
    if Path(script).name == "fakelab" and shutil.which("fakelab") != script:
        return shlex.quote(script)  # installed where no shell looks for it, such as .venv/bin
    return "fakelab"
