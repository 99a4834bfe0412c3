"""Sort judged files into folders: real, unsure, fake, and not-judged."""

from __future__ import annotations

import filecmp
import shutil
import unicodedata
from collections.abc import Iterable
from pathlib import Path

from fakecore.errors import UserError, why_unreadable
from fakecore.files import write_bytes
from fakecore.messages import printable
from fakecore.progress import say
from fakecore.urls import base_name, is_url

NOT_JUDGED = "not-judged"


class Sorter:
    """Copies each judged file to the folder of its verdict below `root`, or makes a symbolic link to it there. Names are kept;
    of different files of one name, later ones get a number. What is there already is kept.

    Raises UserError if `root` is a file, or inside one of the `inputs`, which would then be judged again by the next command.
    """

    def __init__(self, root: Path, *, link: bool, inputs: Iterable[str] = ()):
        self._root, self._link = root, link
        if root.exists() and not root.is_dir():
            raise UserError("--copy-to is a file", got=root, expected="a folder, existing or new")
        for name in inputs:
            if Path(name).is_dir() and root.absolute().is_relative_to(Path(name).absolute()):
                raise UserError("--copy-to is inside a folder that is scored", got=root, expected="a folder elsewhere")

    def add(self, path: str, verdict: str | None, content: bytes | None = None) -> None:
        """Copy or link a judged file; a file that cannot be copied is named, and left out. With `content`, the file is in an
        archive or at a URL: it is written, never linked, and of the folders in its name, none is made.
        """
        source = Path(base_name(path) if is_url(path) else path)
        if content is None and not source.is_file():
            if verdict and is_url(path):
                say(f"note: {printable(path)} was not copied: it is too large to be held in memory")
            return
        folder = self._root / (verdict or NOT_JUDGED)
        try:
            folder.mkdir(parents=True, exist_ok=True)
            target = _free(folder, source, content)
            if target is None:
                return
            if content is not None:
                write_bytes(target, content)
            elif self._link:
                target.symlink_to(source.absolute())
            else:
                shutil.copy2(source, target)
        except (OSError, ValueError) as error:
            why = why_unreadable(error, source) if isinstance(error, OSError) else str(error)
            say(f"note: {printable(path)} was not copied: {why}")


def _free(folder: Path, source: Path, content: bytes | None) -> Path | None:
    """Return a free path for a file; None if it is there already."""
    name = source.name if content is None else _plain(source.name)
    stem, suffix = Path(name).stem, Path(name).suffix
    number = 1
    while True:
        target = folder / (name if number == 1 else f"{stem}-{number}{suffix}")
        if not target.is_symlink() and not target.exists():
            return target
        if target.is_file() and _same(target, source, content):
            return None
        number += 1


def _plain(name: str) -> str:
    """Return the last part of the name of a file in an archive, without control characters, as a file name."""
    last = name.replace("\\", "/").rpartition("/")[2]
    last = "".join(one for one in last if unicodedata.category(one) != "Cc")
    return "file" if last in ("", ".", "..") else last


def _same(target: Path, source: Path, content: bytes | None) -> bool:
    if content is None:
        return target.samefile(source) or filecmp.cmp(target, source, shallow=False)
    return target.stat().st_size == len(content) and target.read_bytes() == content
