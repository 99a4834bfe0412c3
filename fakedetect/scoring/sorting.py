"""Sort judged files into folders: real, unsure, fake, and not-judged."""

from __future__ import annotations

import filecmp
import shutil
from collections.abc import Iterable
from pathlib import Path

from fakecore.errors import UserError, why_unreadable
from fakecore.progress import say

NOT_JUDGED = "not-judged"


class Sorter:
    """Copies each judged file to the folder of its verdict below `root`, or makes a symbolic link to it there. Names are kept;
    of different files of one name, later ones get a number. What is there already is kept.

    Raises UserError if `root` is inside one of the `inputs`, which would then be judged again by the next command.
    """

    def __init__(self, root: Path, *, link: bool, inputs: Iterable[str] = ()):
        self._root, self._link = root, link
        for name in inputs:
            if Path(name).is_dir() and root.absolute().is_relative_to(Path(name).absolute()):
                raise UserError("--copy-to is inside a folder that is scored", got=root, expected="a folder elsewhere")

    def add(self, path: str, verdict: str | None) -> None:
        """Copy or link a judged file; a file that cannot be copied is named, and left out."""
        source = Path(path)
        folder = self._root / (verdict or NOT_JUDGED)
        if not source.is_file():
            return
        try:
            folder.mkdir(parents=True, exist_ok=True)
            target = self._free(folder, source)
            if target is None:
                return
            if self._link:
                target.symlink_to(source.absolute())
            else:
                shutil.copy2(source, target)
        except OSError as error:
            say(f"note: {source} was not copied: {why_unreadable(error, source)}")

    def _free(self, folder: Path, source: Path) -> Path | None:
        """Return a free path for a file; None if it is there already."""
        number = 1
        while True:
            target = folder / (source.name if number == 1 else f"{source.stem}-{number}{source.suffix}")
            if not target.is_symlink() and not target.exists():
                return target
            if target.is_file() and (target.samefile(source) or filecmp.cmp(target, source, shallow=False)):
                return None
            number += 1
