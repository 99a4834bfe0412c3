"""Which images a detector has met: seen.npy beside it names those of its training and validation, by content."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from fakecore.errors import UserError
from fakecore.files import write_bytes


def remember(folder: Path, hashes: Iterable[str]) -> str:
    """Write seen.npy for images with these SHA-256s (of their bytes); return the SHA-256 of the file."""
    buffer = io.BytesIO()
    np.save(buffer, np.unique(_short_names(hashes)), allow_pickle=False)
    write_bytes(folder / "seen.npy", buffer.getvalue())
    return hashlib.sha256(buffer.getvalue()).hexdigest()


def count_seen(folder: Path, recorded: str | None, hashes: Iterable[str]) -> int | None:
    """How many of these images the detector in `folder` was trained or tuned on; None when that cannot be known.

    `recorded` is what `remember` returned for it. Raises UserError when seen.npy is not the file it was then.
    """
    seen = which_seen(folder, recorded, hashes)
    return None if seen is None else int(seen.sum())


def which_seen(folder: Path, recorded: str | None, hashes: Iterable[str]) -> np.ndarray | None:
    """As `count_seen`, but which of them: bool (N,)."""
    path = folder / "seen.npy"
    if recorded is None or not path.is_file():
        return None
    data = path.read_bytes()
    found = hashlib.sha256(data).hexdigest()
    if found != recorded:
        raise UserError(
            f"{path}, the list of the images it was trained on, was cut short or replaced",
            got=f"sha256 {found[:12]}",
            expected=recorded[:12],
            remedy="Copy it again, or delete it: the test then says that it cannot know which images are new.",
        )
    known = np.load(io.BytesIO(data), allow_pickle=False)
    return np.isin(_short_names(hashes), known)


def _short_names(hashes: Iterable[str]) -> np.ndarray:
    """The first 64 bits of each SHA-256, uint64 (N,)."""
    return np.array([int(digest[:16], 16) for digest in hashes], dtype=np.uint64)
