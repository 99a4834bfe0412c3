"""Where results are written: files of this machine, and those at URLs, which appear there in one piece."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import chain, count
from pathlib import Path

from fakecore import storage
from fakecore.errors import UserError
from fakecore.urls import scheme_of


def is_page(out: str | Path) -> bool:
    """Return whether results written to `out` are a report."""
    return str(out).lower().endswith(".html")


@contextmanager
def written(out: str) -> Iterator[Path]:
    """Yield the path of a new file to write, and move it to `out` when the block ends without an error, if that is a URL.
    Raises UserError as `place_of` and `publish` do.
    """
    path, url = place_of(out, appends=False)
    if url is None:
        yield path
        return
    try:
        yield path
        publish(path, url)
    finally:
        shutil.rmtree(path.parent, ignore_errors=True)


def place_of(out: str, *, appends: bool = True) -> tuple[Path, str | None]:
    """Return (path, None) of results on this machine, or (a temporary path, URL) of those at a URL, for `publish`.

    Raises UserError for rows at a URL, unless they are written once, and not by one who `appends`: stores cannot append to a
    file; for a URL that cannot be written to; and if there is a file already.
    """
    if scheme_of(out) is None:
        return Path(out), None
    if scheme_of(out) == "file":
        return Path(storage.filesystem(out)[1]), None
    url = storage.shown(out)
    storage.filesystem(out)
    storage.refuse_unwritable(out)
    if appends and not is_page(out):
        what = "rows cannot be appended to a file at a URL"
        remedy = f"For Parquet files: --engine ray --out {url.rpartition('/')[0]}/."
        raise UserError(
            what,
            got=f"--out {url}",
            expected="a .csv or .jsonl file of this machine, or a URL with .html",
            remedy=remedy,
        )
    if storage.exists(out):
        raise UserError(f"{url} already exists; existing files are never overwritten", remedy="Choose another --out.")
    return Path(tempfile.mkdtemp(prefix="fakelab-"), storage.base_name(out)), out


def publish(file: Path, url: str) -> None:
    """Move a file in a temporary folder to its URL. Raises UserError if that fails; it then stands in the current folder."""
    try:
        storage.upload(file, url)
    except storage.StorageError as error:
        names = (Path(f"{file.stem}{number}{file.suffix}") for number in chain([""], (f"-{n}" for n in count(2))))
        kept = next(name for name in names if not name.exists())
        shutil.copyfile(file, kept)
        what = f"the output was not written to {storage.shown(url)}"
        raise UserError(what, got=error.reason, remedy=f"It is kept at {kept}.") from None
    finally:
        shutil.rmtree(file.parent)
