"""A file that exists in memory only, for readers that need a path: FFmpeg, and our checks of containers."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def memory_file(data: bytes) -> Iterator[Path]:
    """Yield a path at which this process can read `data` until the block ends. Raises OSError where the system has no such
    files: they are Linux's.
    """
    if not hasattr(os, "memfd_create"):
        raise OSError("this system has no files in memory")
    number = os.memfd_create("fakelab")
    try:
        with os.fdopen(number, "wb", closefd=False) as file:
            file.write(data)
        yield Path(f"/proc/self/fd/{number}")
    finally:
        os.close(number)
