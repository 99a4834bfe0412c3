"""A run folder describes itself: run.json records the request, the source, the versions and the progress."""

from __future__ import annotations

import fcntl
import os
import platform
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import metadata
from pathlib import Path

from fakecore.errors import UserError

RECORDED_PACKAGES = (
    "fakelab",
    "torch",
    "torchvision",
    "numpy",
    "opencv-python-headless",
    "pillow",
    "timm",
)


def refuse_used(path: Path, *, made_by: str, marker: str, resume_hint: str | None = None) -> None:
    """Raise UserError if a folder for results is not empty: nothing is ever overwritten.

    `marker` is the file by which a finished or unfinished result is known (run.json, detector.json).
    """
    if path.is_file():
        raise UserError(f"{path} is a file", expected="a new folder", remedy="Choose another --out.")
    if (path / marker).exists():
        remedy = f"{resume_hint}, or choose another --out." if resume_hint else "Choose another --out."
        raise UserError(f"{path} already holds {made_by}, which is never overwritten", remedy=remedy)
    if path.exists() and any(entry.name != ".lock" for entry in path.iterdir()):
        raise UserError(f"{path} is not empty", expected="a new or empty folder", remedy="Choose another --out.")


def free_name(path: Path) -> Path:
    """Return the first of `path`, `path-2`, `path-3` ... that does not exist, for default names."""
    candidate, number = path, 2
    while candidate.exists():
        candidate, number = path.with_name(f"{path.name}-{number}"), number + 1
    return candidate


def newest(root: Path, marker: str) -> Path | None:
    """Return the folder below `root` (two levels) with the most recently written `marker`, or None."""
    found = [*root.glob(f"*/{marker}"), *root.glob(f"*/*/{marker}")]
    return max(found, key=lambda path: path.stat().st_mtime).parent if found else None


class InUse(UserError):
    """Another process has locked a folder."""


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Create the folder if needed, and lock it against other processes. The lock ends with its process, even if that is
    killed. Raises InUse.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / ".lock").open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise InUse(
                f"another process is using {folder}", remedy="Wait for it, stop it, or choose another --out."
            ) from None
        yield


def versions() -> dict[str, str]:
    """Return the versions that a result depends on: the same seed, device kind and versions give the same result."""
    found = {"python": platform.python_version()}
    for name in RECORDED_PACKAGES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found


def host() -> dict[str, str | int | None]:
    """Return the facts about the machine that affect results and timings; no user or host names."""
    return {"system": platform.system(), "machine": platform.machine(), "cpus": os.cpu_count()}
