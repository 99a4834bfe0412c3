"""Cache decoded pixels: those of a source or set as one memory-mapped uint8 array, so that images are decoded only once.

The map is read through the page cache of the system, so a set can be larger than memory.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

import numpy as np

from fakecore.errors import UserError
from fakecore.files import atomic_path, write_json
from fakecore.media.pixels import ImageError, is_grey
from fakecore.progress import progress_bar
from fakecore.runs.cache import cache_home, limit_bytes, prune
from fakecore.sets.decoding import Refused, decode_in_processes, decode_in_threads, pixels_of
from fakecore.sets.processes import MANY

_VERSION = 3  # increase it if decoding, cropping, resizing or the refusals change
_LARGEST_DEFAULT = 128  # pixels
_PHOTO_SIDE = 64  # pixels: of grey images that are taken for photographs


@dataclass(frozen=True)
class CachedPixels:
    """`images` uint8 (N, C, R, R), memory-mapped; `rows` (N,) are their item numbers; `unused` lists the other items."""

    images: np.ndarray
    rows: np.ndarray
    sha256: list[str]  # of the source's bytes, parallel to `images`
    unused: list[dict]  # {"path", "status", "error"} of every item that cannot be decoded or is too small
    smallest: int  # shortest side of the original images, pixels: below `R`, some were enlarged


def cache_root() -> Path:
    """Return the folder of decoded pixels."""
    return cache_home() / "pixels"


def cached_pixels(
    names: Sequence[str],
    read: Callable[[int], bytes | np.ndarray],
    stamp: str,
    *,
    resolution: int,
    channels: int,
    title: str = "decoding",
    finish: Callable[[np.ndarray], np.ndarray] | None = None,
    files: Sequence[str] | None = None,
) -> CachedPixels:
    """Return the pixels of every item that can be decoded, from the cache or decoded by threads, or by processes if item i is
    all of `files`[i] and there are many.

    `read(i)` returns item i as file bytes or uint8 pixels. `finish` is applied to each image, uint8 (C, R, R), last. `stamp`
    must change whenever the items or `finish` change.
    """
    key = hashlib.sha256(f"{_VERSION}|{stamp}|{resolution}|{channels}|{len(names)}".encode()).hexdigest()[:24]
    array_path, facts_path = cache_root() / f"{key}.npy", cache_root() / f"{key}.json"
    limit = limit_bytes()
    if not (cached := _open(array_path, facts_path, names)):
        _build(array_path, facts_path, names, read, resolution, channels, title, finish, files)
        prune(array_path, limit)
        cached = _open(array_path, facts_path, names)
        if cached is None:
            raise UserError(f"the pixel cache in {cache_root()} could not be read", remedy="Delete that folder.")
    return cached


def source_channels(names: Sequence[str], read: Callable[[int], bytes | np.ndarray], sample: int = 64) -> int:
    """Return 1 if no item of a sample of up to 64, spread over all, has colour, else 3. Unreadable items do not count."""
    for index in np.linspace(0, len(names) - 1, min(sample, len(names))).astype(int):
        try:
            if not is_grey(pixels_of(read(int(index)))):
                return 3
        except ImageError:
            continue
    return 1


def are_photographs(channels: int, side: int) -> bool:
    """Return whether images of `side` pixels are taken for photographs: all colour images, and grey ones of 64 pixels and more.
    Smaller grey images are rather digits or drawings.
    """
    return channels == 3 or side >= _PHOTO_SIDE


def default_side(names: Sequence[str], read: Callable[[int], bytes | np.ndarray]) -> int:
    """Return the resolution of images for which none is asked for: the median of the shorter sides of up to 64, spread over
    all, between 8 and 128. Raises UserError if none of them can be decoded.
    """
    sides = []
    for index in np.linspace(0, len(names) - 1, min(64, len(names))).astype(int):
        try:
            sides.append(min(pixels_of(read(int(index))).shape[:2]))
        except ImageError:
            continue
    if not sides:
        raise UserError("none of the sampled images could be decoded", expected="image files")
    return min(_LARGEST_DEFAULT, max(8, int(np.median(sides))))


def _open(array_path: Path, facts_path: Path, names: Sequence[str]) -> CachedPixels | None:
    try:
        facts = json.loads(facts_path.read_text())
        images = np.load(array_path, mmap_mode="r", allow_pickle=False)
        if len(images) < len(facts["rows"]):
            return None
        rows = np.array(facts["rows"], dtype=np.int64)
        absent = np.setdiff1d(np.arange(len(names)), rows)  # set paths again: the cache may come from another folder
        unused = [{**line, "path": names[index]} for index, line in zip(absent, facts["unused"], strict=True)]
        os.utime(facts_path)  # time of last use, for pruning
        return CachedPixels(images[: len(rows)], rows, facts["sha256"], unused, facts["smallest"])
    except (OSError, ValueError, KeyError, EOFError, TypeError):
        return None


def _build(array_path, facts_path, names, read, resolution: int, channels: int, title: str, finish, files) -> None:
    rows: list[int] = []
    hashes: list[str] = []
    unused: list[dict] = []
    smallest = 1 << 30
    with atomic_path(array_path) as temporary, progress_bar(title, len(names), "images") as bar:
        shape = (len(names), channels, resolution, resolution)
        images = np.lib.format.open_memmap(temporary, mode="w+", dtype=np.uint8, shape=shape)
        if files is not None and finish is None and len(files) >= MANY:
            outcomes = decode_in_processes(temporary, files)
        else:
            outcomes = decode_in_threads(images, read, finish)
        for index, outcome in enumerate(chain.from_iterable(outcomes)):
            if isinstance(outcome, Refused):
                unused.append({"path": names[index], "status": outcome.status, "error": outcome.error})
            else:
                if unused:  # close the gap
                    images[len(rows)] = images[index]
                rows.append(index)
                hashes.append(outcome.sha256)
                smallest = min(smallest, outcome.side)
            bar.advance()
        images.flush()
        del images
    write_json(facts_path, {"rows": rows, "sha256": hashes, "unused": unused, "smallest": smallest})
