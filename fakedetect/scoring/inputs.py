"""What a command is to judge: files, folders, patterns and lists of paths."""

from __future__ import annotations

import glob
import os
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from fakecore.errors import UserError, why_unreadable
from fakecore.files import is_left_out
from fakecore.progress import say
from fakecore.sets.archives import ArchiveError, is_archive, members
from fakecore.sets.folders import walk_files

STDIN = "-"
_SCHEMES = ("http", "https", "ftp", "s3", "gs", "file")


@dataclass(frozen=True, slots=True)
class Input:
    """One file to judge. `path` names it in rows; `problem`, if any, is why it cannot be judged, with its `status`."""

    path: str
    problem: str | None = None
    status: str = "unreadable"
    archive: str | None = None  # the path of the archive that the file is in, or that is itself the problem
    data: bytes | None = None  # the content of a file in an archive


def list_inputs(paths: Iterable[str]) -> list[tuple[str, str | None]]:
    """Return (path, problem) for every file to score: files as given, folders in sorted order; problems become rows too. A
    pattern, such as 'photos/**/*.jpg', stands for the files that match it; "-" for the paths on standard input, one a line.

    Raises UserError for an empty path, for example from an unset shell variable, for a URL, and for a pattern without a match.
    """
    return [(one.path, one.problem) for one in walk_inputs(paths)]


def walk_inputs(paths: Iterable[str]) -> Iterator[Input]:
    """Return an iterator over what `list_inputs` returns, which reads a folder when it comes to it: it holds the names of one
    folder, however many files there are. No file comes twice. Raises UserError as `list_inputs` does, before it returns.
    """
    return _walk(list(_expanded(paths)))


def expand(inputs: Iterable[Input]) -> Iterator[Input]:
    """Yield each input and, in place of an archive, the files in it, with their content. Their paths are the archive's path and
    the name in it, as Python's zipfile.Path shows them: "in.zip/photos/a.jpg". An archive that cannot be read, or not to its
    end, is an input with a problem.
    """
    for one in inputs:
        if one.problem is not None or one.archive is not None or not is_archive(one.path):
            yield one
            continue
        try:
            for member in members(Path(one.path)):
                path = f"{one.path}/{member.name}"
                yield Input(path, member.problem, member.status, archive=one.path, data=member.data)
        except ArchiveError as error:
            yield Input(one.path, str(error), error.status, archive=one.path)


def contents_of(files: Iterable[tuple[str, str]]) -> dict[str, bytes]:
    """Return path -> content of some (archive, path) that `expand` yielded; each archive is read again, once."""
    wanted: dict[str, set[str]] = {}
    for archive, path in files:
        wanted.setdefault(archive, set()).add(path)
    found: dict[str, bytes] = {}
    for archive, paths in wanted.items():
        found |= {one.path: one.data for one in expand([Input(archive)]) if one.path in paths and one.data is not None}
    return found


def _walk(names: list[str]) -> Iterator[Input]:
    given: set[str] = set()  # files; and folders that were walked
    walked: set[str] = set()
    empty, found = [], 0
    for name in names:
        path = Path(name)
        if not path.is_dir():
            if name not in given and not (_covered(name, walked) and os.path.lexists(name)):
                given.add(name)
                found += 1
                yield Input(name)
            continue
        root = str(path)
        if root in walked or _covered(root, walked):
            continue
        inside, problems = 0, list[tuple[str, str]]()
        for file in map(str, walk_files(path, problems)):
            inside += 1
            if file not in given and not _covered(file, walked):
                yield Input(file)
        yield from (Input(*one) for one in problems)
        walked.add(root)
        found += inside + len(problems)
        if not inside and not problems:
            empty.append(name)
    for name in empty if found else ():
        say(f"note: {name} contains no files to score")


def _covered(path: str, walked: set[str]) -> bool:
    """Return whether the walk of one of these folders lists `path`, which exists: nothing between the two is hidden."""
    while walked:
        path, _, name = path.rpartition(os.sep)
        if not path or is_left_out(name):
            return False
        if path in walked:
            return True
    return False


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


def _matches(pattern: str) -> Iterator[str]:
    """Yield the files and folders that match a pattern. `**` does not enter symbolic links to folders, which may lead back to
    where they are.
    """
    before, deep, after = pattern.partition("**" + os.sep)
    if not deep or (before and not before.endswith(os.sep)):
        yield from glob.iglob(pattern)  # noqa: PTH207  Path's own takes no absolute patterns
        return
    for start in glob.iglob(before) if glob.has_magic(before) else [before]:  # noqa: PTH207
        for folder, inside, _ in os.walk(start or "."):
            inside[:] = [name for name in inside if not name.startswith(".")]
            shown = folder.removeprefix("." + os.sep) if not start else folder
            prefix = "" if shown == "." and not start else os.path.join(shown, "")  # noqa: PTH118
            yield from _matches(glob.escape(prefix) + after)


def _expanded(paths: Iterable[str]) -> Iterable[str]:
    for name in paths:
        if not name:
            raise UserError("a path is empty", got="''", expected="a file or a folder; . is the current one")
        if name == STDIN:
            yield from read_list(STDIN)
        elif name.partition("://")[0].lower() in _SCHEMES and "://" in name:
            raise UserError("URLs are not read", got=name, remedy="Download the file, and give its path.")
        elif glob.has_magic(name) and not os.path.lexists(name):
            matches = sorted(_matches(name))
            if not matches:
                raise UserError("no file matches the pattern", got=name, remedy="Check it; ** stands for folders.")
            yield from matches
        else:
            yield name
