"""What a command is to judge: files, folders, patterns, URLs and lists of these."""

from __future__ import annotations

import glob
import io
import os
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import BinaryIO

from fakecore import storage
from fakecore.errors import UserError, why_unreadable
from fakecore.files import is_left_out
from fakecore.progress import say
from fakecore.sets.archives import ArchiveError, is_archive, members
from fakecore.sets.folders import walk_files
from fakecore.storage import StorageError
from fakecore.urls import file_path, scheme_of
from fakedetect.scoring.entry import Input
from fakedetect.scoring.remote import UrlWalk, fetched, is_packed

STDIN = "-"


def list_inputs(paths: Iterable[str]) -> list[tuple[str, str | None]]:
    """Return (path, problem) for every file to score: files as given, folders in sorted order; problems become rows too. A
    pattern, such as 'photos/**/*.jpg', stands for the files that match it; "-" for the paths on standard input, one a line.

    Raises UserError for an empty path, for example from an unset shell variable, for a URL, and for a pattern without a match.
    """
    names = list(_expanded(paths))
    for name in filter(storage.is_url, names):
        what = "URLs are not read here"
        raise UserError(
            what, got=storage.shown(name), remedy="Download the file, and give its path; `score` reads URLs."
        )
    return [(one.path, one.problem) for one in _walk(names)]


def walk_inputs(paths: Iterable[str]) -> Iterator[Input]:
    """Return an iterator over what `list_inputs` returns, which reads a folder when it comes to it: it holds the names of one
    folder, however many files there are. No file comes twice. URLs are files, folders and patterns too; `expand` fetches their
    contents. Raises UserError as `list_inputs` does, before it returns, and for a URL of an unknown scheme, or one whose
    package is not installed.
    """
    return _walk(list(_expanded(paths)))


def expand(inputs: Iterable[Input], on_bytes: Callable[[int], object] | None = None) -> Iterator[Input]:
    """Yield each input, those at URLs with their contents, fetched some files ahead; and, in place of an archive, the files in
    it, with their content. Their paths are the archive's path and the name in it, as Python's zipfile.Path shows them:
    "in.zip/photos/a.jpg". An archive that cannot be read, or not to its end, is an input with a problem.
    `on_bytes` is called with the size of each piece of an archive at a URL that is copied.
    """
    for one in fetched(inputs):
        if one.problem is not None or one.archive is not None:
            yield one
        elif is_packed(one):
            yield from _fetched_members(one, on_bytes)
        elif one.url is None and is_archive(one.path):
            yield from _members(one, Path(one.path))
        else:
            yield one


def _members(one: Input, file: Path) -> Iterator[Input]:
    """Yield the files in an archive, which `one` names and which stands at `file`."""
    packed = replace(one, archive=one.path)
    try:
        for member in members(file):
            path = f"{one.path}/{member.name}"
            yield replace(packed, path=path, problem=member.problem, status=member.status, data=member.data)
    except ArchiveError as error:
        yield replace(packed, problem=str(error), status=error.status)


def _fetched_members(one: Input, on_bytes: Callable[[int], object] | None) -> Iterator[Input]:
    """Yield the files in an archive at a URL, which is copied to a temporary file while they are judged."""
    assert one.url
    try:
        with storage.local_copy(one.url, on_bytes=on_bytes) as file:
            if is_archive(str(file)):
                yield from _members(one, file)
            else:  # a photo of that name, as in a folder
                yield replace(one, data=storage.read_bytes(str(file)))
    except StorageError as error:
        yield replace(one, archive=one.path, problem=error.reason, status=error.status, is_passing=error.passing)


def contents_of(files: Iterable[tuple[str, str]], urls: Mapping[str, str] | None = None) -> dict[str, bytes]:
    """Return path -> content of some (archive, path) that `expand` yielded; each archive is read again, once. `urls` has the
    URLs of archives that stand at one: no other is fetched, whatever an archive is called.
    """
    wanted: dict[str, set[str]] = {}
    for archive, path in files:
        wanted.setdefault(archive, set()).add(path)
    found: dict[str, bytes] = {}
    for archive, paths in wanted.items():
        found |= {
            one.path: one.data
            for one in expand([Input(archive, url=(urls or {}).get(archive))])
            if one.path in paths and one.data is not None
        }
    return found


def _walk(names: list[str]) -> Iterator[Input]:
    given: set[str] = set()  # files; and folders that were walked
    walked: set[str] = set()
    urls = UrlWalk()
    empty, found = [], 0
    for name in names:
        if storage.is_url(name):
            for one in urls.walk(name):
                found += 1
                yield one
            continue
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
    where = "standard input" if name == STDIN else storage.shown(name)
    try:
        if name == STDIN:
            listed = _split(sys.stdin.buffer, null)
        elif storage.is_url(name):
            listed = _split(io.BytesIO(storage.read_bytes(name)), null)
        else:
            with Path(name).open("rb") as file:
                listed = _split(file, null)
    except (OSError, StorageError) as error:
        why = error.reason if isinstance(error, StorageError) else why_unreadable(error, Path(name))
        raise UserError(f"the list of paths {where} cannot be read", got=why) from None
    if not listed:
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
        elif scheme_of(name) == "file":
            yield str(file_path(name))
        elif scheme_of(name) and not os.path.lexists(name):
            storage.filesystem(name)  # raises for an unknown scheme, and if a package is missing
            yield name
        elif glob.has_magic(name) and not os.path.lexists(name):
            matches = sorted(_matches(name))
            if not matches:
                raise UserError("no file matches the pattern", got=name, remedy="Check it; ** stands for folders.")
            yield from matches
        else:
            yield name
