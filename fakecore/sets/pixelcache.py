"""Decode once: pixels of a source or set as one memory-mapped uint8 array, so that every later epoch decodes nothing.

The map is read through the system's page cache, so a set larger than memory works too.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from fakecore.errors import UserError
from fakecore.files import atomic_path, write_json
from fakecore.media.pixels import ImageError, decode_image, fit_square, is_grey, refuse_tiny
from fakecore.progress import progress_bar
from fakecore.runs.cache import cache_home, limit_bytes, prune

_VERSION = 2  # raise it when decoding, cropping or resizing changes, or what is refused


@dataclass(frozen=True)
class CachedPixels:
    """`images` uint8 (N, C, R, R), memory-mapped; `rows` (N,) says which item each is; `unused` lists the others."""

    images: np.ndarray
    rows: np.ndarray
    sha256: list[str]  # of the source's bytes, parallel to `images`
    unused: list[dict]  # {"path", "status", "error"} for every item that could not be decoded, or is tiny
    smallest: int  # the shortest side among the source's images, in pixels: below `R`, some were enlarged


def cache_root() -> Path:
    """The folder of decoded pixels."""
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
) -> CachedPixels:
    """Pixels of every item that can be decoded, from the cache or freshly decoded by threads.

    `read(i)` gives item i as file bytes or uint8 pixels; `stamp` must change whenever the items do,
    and with `finish`, which is applied to each image, uint8 (C, R, R), last.
    """
    key = hashlib.sha256(f"{_VERSION}|{stamp}|{resolution}|{channels}|{len(names)}".encode()).hexdigest()[:24]
    array_path, facts_path = cache_root() / f"{key}.npy", cache_root() / f"{key}.json"
    limit = limit_bytes()
    if not (cached := _open(array_path, facts_path, names)):
        _build(array_path, facts_path, names, read, resolution, channels, title, finish)
        prune(array_path, limit)
        cached = _open(array_path, facts_path, names)
        if cached is None:
            raise UserError(f"the pixel cache in {cache_root()} could not be read", remedy="Delete that folder.")
    return cached


def source_channels(names: Sequence[str], read: Callable[[int], bytes | np.ndarray], sample: int = 64) -> int:
    """1 when none of a sample of up to 64 items, spread over all, holds colour; else 3. Unreadable ones do not count."""
    for index in np.linspace(0, len(names) - 1, min(sample, len(names))).astype(int):
        try:
            if not is_grey(_pixels_of(read(int(index)))):
                return 3
        except ImageError:
            continue
    return 1


def _open(array_path: Path, facts_path: Path, names: Sequence[str]) -> CachedPixels | None:
    try:
        facts = json.loads(facts_path.read_text())
        images = np.load(array_path, mmap_mode="r", allow_pickle=False)
        if len(images) < len(facts["rows"]):
            return None
        rows = np.array(facts["rows"], dtype=np.int64)
        absent = np.setdiff1d(np.arange(len(names)), rows)  # named anew: the cache may stem from another working folder
        unused = [{**line, "path": names[index]} for index, line in zip(absent, facts["unused"], strict=True)]
        os.utime(facts_path)  # last used: what pruning goes by
        return CachedPixels(images[: len(rows)], rows, facts["sha256"], unused, facts["smallest"])
    except (OSError, ValueError, KeyError, EOFError, TypeError):
        return None


def _build(array_path, facts_path, names, read, resolution: int, channels: int, title: str, finish) -> None:
    rows: list[int] = []
    hashes: list[str] = []
    unused: list[dict] = []
    smallest = 1 << 30
    with atomic_path(array_path) as temporary, progress_bar(title, len(names), "images") as bar:
        shape = (len(names), channels, resolution, resolution)
        images = np.lib.format.open_memmap(temporary, mode="w+", dtype=np.uint8, shape=shape)

        def load(index: int):
            item = read(index)
            pixels = _pixels_of(item)
            refuse_tiny(pixels, "use")
            digest = hashlib.sha256(item if isinstance(item, bytes) else np.ascontiguousarray(item).data).hexdigest()
            fitted = fit_square(pixels, resolution, channels)
            return finish(fitted) if finish else fitted, digest, min(pixels.shape[:2])

        for index, outcome in _in_order(load, len(names)):
            if isinstance(outcome, ImageError):
                unused.append({"path": names[index], "status": outcome.status, "error": str(outcome)})
            else:
                images[len(rows)], digest, side = outcome
                rows.append(index)
                hashes.append(digest)
                smallest = min(smallest, side)
            bar.advance()
        images.flush()
        del images
    write_json(facts_path, {"rows": rows, "sha256": hashes, "unused": unused, "smallest": smallest})


def _in_order(load: Callable, count: int, window: int = 256):
    """(index, result or ImageError) in order, at most `window` items in flight so that memory stays flat."""

    def attempt(index: int):
        try:
            return load(index)
        except ImageError as error:
            return error

    with ThreadPoolExecutor(os.cpu_count() or 1) as pool:
        for start in range(0, count, window):
            yield from enumerate(pool.map(attempt, range(start, min(start + window, count))), start)


def _pixels_of(item: bytes | np.ndarray) -> np.ndarray:
    if isinstance(item, bytes):
        return decode_image(item)
    return np.repeat(item[..., None], 3, axis=2) if item.ndim == 2 else item
