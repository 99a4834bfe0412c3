"""Where `score` writes: files of this machine, and a report at a URL."""

from __future__ import annotations

import tempfile
from itertools import chain, count
from pathlib import Path

from fakecore import storage
from fakecore.errors import UserError
from fakecore.files import write_bytes
from fakecore.urls import scheme_of


def is_page(out: str | Path) -> bool:
    """Return whether results written to `out` are a report."""
    return str(out).lower().endswith(".html")


def place_of(out: str) -> tuple[Path, str | None]:
    """Return (path, None) of results on this machine, or (a temporary path, URL) of a report at a URL, for `publish`.

    Raises UserError for rows at a URL, since stores cannot append to a file; for a URL that cannot be written to; and if there
    is a file already.
    """
    if scheme_of(out) is None:
        return Path(out), None
    if scheme_of(out) == "file":
        return Path(storage.filesystem(out)[1]), None
    url = storage.shown(out)
    storage.filesystem(out)
    storage.refuse_unwritable(out)
    if not is_page(out):
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


def publish(page: Path, url: str) -> None:
    """Move a report to its URL. Raises UserError if that fails; the report then stands in the current folder."""
    data = page.read_bytes()
    try:
        storage.write_bytes(url, data)
    except storage.StorageError as error:
        names = (Path(f"{page.stem}{number}{page.suffix}") for number in chain([""], (f"-{n}" for n in count(2))))
        kept = next(name for name in names if not name.exists())
        write_bytes(kept, data)
        what = f"the report was not written to {storage.shown(url)}"
        raise UserError(what, got=error.reason, remedy=f"It is kept at {kept}.") from None
    finally:
        page.unlink()
        page.parent.rmdir()
