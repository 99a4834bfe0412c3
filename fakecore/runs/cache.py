"""The cache of results that can be recomputed, limited in size: the least recently used are deleted first."""

from __future__ import annotations

import os
from pathlib import Path

from fakecore.errors import UserError

PARTS = (
    "pixels",
    "features",
)  # folders of pairs NAME.npy or NAME.safetensors with NAME.json; downloads stand elsewhere
_DEFAULT_LIMIT_GB = 20.0


def cache_home() -> Path:
    """Return the cache folder: FAKELAB_CACHE, else ~/.cache/fakelab."""
    return Path(os.environ.get("FAKELAB_CACHE") or Path.home() / ".cache" / "fakelab")


def prune(keep: Path, limit: float) -> None:
    """Delete the least recently used entries until the cache is at most `limit` bytes; never delete `keep`.

    An entry was last used when its .json was last touched.
    """
    entries = [
        path
        for part in PARTS
        for path in (cache_home() / part).glob("*")
        if path.suffix in (".npy", ".safetensors") and path.with_suffix(".json").exists()
    ]
    entries.sort(key=lambda path: path.with_suffix(".json").stat().st_mtime)
    total = sum(path.stat().st_size for path in entries)
    for path in entries:
        if total <= limit:
            return
        if path != keep:
            total -= path.stat().st_size
            path.with_suffix(".json").unlink(missing_ok=True)
            path.unlink(missing_ok=True)


def limit_bytes() -> float:
    """Return the cache limit in bytes: FAKELAB_CACHE_GB, else 20 GB. Raises UserError when it is not a number."""
    text = os.environ.get("FAKELAB_CACHE_GB") or str(_DEFAULT_LIMIT_GB)
    try:
        return float(text) * 1e9
    except ValueError:
        raise UserError(
            "FAKELAB_CACHE_GB could not be read", got=repr(text), expected="a number of gigabytes"
        ) from None
