"""Errors that the user can fix: one line with what failed, what was got, what was expected, and the remedy."""

from __future__ import annotations

import difflib
import errno
from collections.abc import Iterable
from pathlib import Path


class UserError(Exception):
    """A request that cannot be carried out. Printed as one line, never as a traceback; exit code 2."""

    def __init__(self, what: str, *, got: object = None, expected: object = None, remedy: str | None = None):
        super().__init__(what)
        self.what, self.got, self.expected, self.remedy = what, got, expected, remedy

    def __str__(self) -> str:
        facts = []
        if self.got is not None:
            facts.append(f"got {self.got}")
        if self.expected is not None:
            facts.append(f"expected {self.expected}")
        line = self.what
        if facts:
            line += f" ({'; '.join(facts)})"
        if self.remedy:
            line += f". {self.remedy}"
        return " ".join(line.split())  # a file name with a newline must not break the one line


class Interrupted(Exception):
    """Ctrl-C or SIGTERM stopped the work at a point where it can be resumed; the text says how."""


def unknown_name(
    kind: str,
    name: str,
    choices: Iterable[str],
    *,
    where: str = "",
    meant: str | None = None,
    remedy: str | None = None,
) -> UserError:
    """Return the error for a name that is not in `choices`: it lists them and suggests `meant` or the nearest name.

    `where` follows the name: "in digits". No number is suggested for a number.
    """
    name, choices = str(name), [str(choice) for choice in choices]
    span = _as_range(choices)
    near = [meant] if meant else [] if span or name.isdecimal() else difflib.get_close_matches(name, choices, 1, 0.5)
    hint = f"Did you mean {near[0]!r}?" if near else remedy
    expected = "one of " + (span or ", ".join(choices))
    return UserError(f"there is no {kind} {name!r}{where and ' ' + where}", expected=expected, remedy=hint)


def _as_range(choices: list[str]) -> str | None:
    """ "0 to 9" for more than two numbers that follow each other, else None."""
    if len(choices) > 2 and all(choice.isdecimal() for choice in choices):
        first, last = int(choices[0]), int(choices[-1])
        if choices == [str(number) for number in range(first, last + 1)]:
            return f"{first} to {last}"
    return None


def why_unreadable(error: OSError, path: Path) -> str:
    """Return in a few words why a file or folder could not be read."""
    if error.errno == errno.ELOOP:
        return "a symbolic link that points to itself"
    if error.errno == errno.ENOENT:
        return "a broken symbolic link" if path.is_symlink() else "no such file"
    if error.errno in (errno.EACCES, errno.EPERM):
        return "permission denied"
    return (error.strerror or "cannot be read").lower()


def explain_os_error(error: OSError) -> UserError:
    """Return an `OSError` as a UserError with a remedy."""
    where = f" at {error.filename!r}" if error.filename else ""
    remedies = {
        errno.ENOSPC: ("the disk is full", "Free some space and repeat the command: finished work is kept."),
        errno.EDQUOT: (
            "the disk quota is used up",
            "Free some space and repeat the command: finished work is kept.",
        ),
        errno.EACCES: ("permission denied", "Choose a path that you can read and write."),
        errno.EPERM: ("permission denied", "Choose a path that you can read and write."),
        errno.EROFS: ("the file system is read-only", "Choose another --out."),
        errno.ENOENT: ("no such file or folder", "Check the path."),
        errno.ENOTDIR: ("expected a folder, found a file", "Choose another path."),
        errno.EEXIST: ("expected a folder, found a file", "Choose another path."),
        errno.EISDIR: ("expected a file, found a folder", "Choose another path."),
        errno.ENAMETOOLONG: ("the name is too long for this file system", "Choose a shorter path."),
    }
    what, remedy = remedies.get(error.errno or 0, (error.strerror or str(error), ""))
    return UserError(what + where, remedy=remedy or None)
