"""What a command is to judge: files, folders, patterns and lists of paths."""

from __future__ import annotations

import glob
import os
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import BinaryIO

from fakecore.errors import UserError, why_unreadable
from fakecore.progress import say
from fakecore.sets.folders import walk_files

STDIN = "-"
_SCHEMES = ("http", "https", "ftp", "s3", "gs", "file")


def list_inputs(paths: Iterable[str]) -> list[tuple[str, str | None]]:
    """Return (path, problem) for every file to score: files as given, folders in sorted order; problems become rows too. A
    pattern, such as 'photos/**/*.jpg', stands for the files that match it; "-" for the paths on standard input, one a line.

    Raises UserError for an empty path, for example from an unset shell variable, for a URL, and for a pattern without a match.
    """
    found: list[tuple[str, str | None]] = []
    empty = []
    for name in _expanded(paths):
        path = Path(name)
        if path.is_dir():
            problems: list[tuple[str, str]] = []
            inside = [(str(file), None) for file in walk_files(path, problems)]
            found += [*inside, *problems]
            if not inside and not problems:
                empty.append(name)
        else:
            found.append((name, None))
    for name in empty if found else ():
        say(f"note: {name} contains no files to score")
    return list(dict.fromkeys(found))


def read_list(name: str, *, null: bool = False) -> list[str]:
    """Return the paths that the file `name` lists, or standard input for "-": one a line, or with `null`, one before each zero
    byte. Raises UserError if it cannot be read, or lists none.
    """
    if name == STDIN:
        listed = _split(sys.stdin.buffer, null)
    else:
        try:
            with Path(name).open("rb") as file:
                listed = _split(file, null)
        except OSError as error:
            raise UserError(f"the list of paths {name} cannot be read", got=why_unreadable(error, Path(name))) from None
    if not listed:
        where = "standard input" if name == STDIN else name
        raise UserError(f"{where} lists no paths", expected="one path a line" + (", or --null" if not null else ""))
    return listed


def _split(file: BinaryIO, null: bool) -> list[str]:
    parts = file.read().split(b"\0" if null else b"\n")
    return [os.fsdecode(part if null else part.removesuffix(b"\r")) for part in parts if part.strip()]


def _expanded(paths: Iterable[str]) -> Iterable[str]:
    for name in paths:
        if not name:
            raise UserError("a path is empty", got="''", expected="a file or a folder; . is the current one")
        if name == STDIN:
            yield from read_list(STDIN)
        elif name.partition("://")[0].lower() in _SCHEMES and "://" in name:
            raise UserError("URLs are not read", got=name, remedy="Download the file, and give its path.")
        elif glob.has_magic(name) and not os.path.lexists(name):
            matches = sorted(glob.glob(name, recursive=True))  # noqa: PTH207  Path's own takes no absolute patterns
            if not matches:
                raise UserError("no file matches the pattern", got=name, remedy="Check it; ** stands for folders.")
            yield from matches
        else:
            yield name
