"""Pixels of a set of WebDataset shards that are kept nowhere: read where they are, and decoded when they are asked for.

One pass over the shards makes an index: where each image is, its SHA-256, and which images cannot be used. The index is kept
in the cache, 80 bytes an image. Later, images are read by their place, neighbours in a shard together.
"""

from __future__ import annotations

import hashlib
import os
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from fakecore import storage
from fakecore.cpus import usable_cpus
from fakecore.errors import Interrupted, UserError
from fakecore.sets.decoding import Decoded, Refused, attempt
from fakecore.sets.processes import MANY, answers, serve_parts
from fakecore.sets.shards import ShardError, read_shard
from fakecore.urls import is_url

Finish = Callable[[np.ndarray], np.ndarray]
_MODULE = "fakecore.sets.streaming"
_PART, _PART_BYTES = 256, 8 << 20  # images, and bytes, that are read and decoded together
_GAP = 256 << 10  # bytes between two images that are read rather than asked for again
_AHEAD_BYTES = 32 << 20  # of pixels that are read ahead
REQUESTS = 16  # at a time, to a server


class Pixels(Protocol):
    """Images uint8 (N, C, R, R): an array, or StreamedPixels."""

    @property
    def shape(self) -> tuple[int, ...]: ...
    def __len__(self) -> int: ...
    def __getitem__(self, rows: Any, /) -> np.ndarray:
        """Return the images of `rows`: an int, a slice or an array (n,)."""


class HexDigests(Sequence[str]):
    """SHA-256s as text, held as 32 bytes each: uint8 (N, 32)."""

    def __init__(self, digests: np.ndarray):
        self._digests = digests

    def __len__(self) -> int:
        return len(self._digests)

    def __getitem__(self, row: Any) -> Any:
        found = self._digests[row]
        return found.tobytes().hex() if found.ndim == 1 else [one.tobytes().hex() for one in found]


class StreamedPixels:
    """The images of shards as an array uint8 (N, C, R, R) that is indexed by rows, and read at each access.

    `shards` are URLs or paths; `places` (N,) has the fields shard, offset and size of each image's file, in bytes, and the
    SHA-256s of its bytes and its pixels, sha256 and pixels. `finish` is applied to each image, uint8 (C, R, R), last. Safe for
    threads.
    """

    def __init__(
        self,
        shards: Sequence[str],
        places: np.ndarray,
        shape: tuple[int, int, int],
        finish: Finish | None,
    ):
        self._shards, self._places, self._finish = shards, places, finish
        self.digests = HexDigests(places["pixels"])
        self.shape: tuple[int, int, int, int] = (len(places), *shape)
        self._kept_at = np.full(len(places), -1)  # rows of `_kept`; -1: not kept
        self._kept = np.empty((0, *shape), np.uint8)

    def __len__(self) -> int:
        return len(self._places)

    def __getitem__(self, rows: Any) -> np.ndarray:
        """Return the images of `rows`: an int, a slice or an array (n,). Raises UserError if they cannot be read."""
        chosen = np.arange(len(self))[rows]
        return self.read(np.array([chosen]))[0] if chosen.ndim == 0 else self.read(chosen)

    def shard_of(self, rows: np.ndarray) -> np.ndarray:
        """Return the number of the shard that each of `rows` is in, (n,)."""
        return self._places["shard"][rows]

    def keep(self, rows: np.ndarray) -> None:
        """Read `rows` now and hold their pixels in memory."""
        self._kept = np.array(self[rows])
        self._kept_at[rows] = np.arange(len(rows))

    def file(self, row: int) -> bytes:
        """Return the bytes of an image's file. Raises StorageError."""
        shard, offset, size = (int(self._places[name][row]) for name in ("shard", "offset", "size"))
        return storage.read_range(self._shards[shard], offset, offset + size)

    def read(self, rows: np.ndarray, stopped: Callable[[], bool] = lambda: False) -> np.ndarray:
        """Return the images of `rows` (n,). Raises Interrupted when `stopped` returns True, and UserError as an access does."""
        kept = self._kept_at[rows]
        if (kept >= 0).all():
            return self._kept[kept]
        parts = list(self._parts(rows))
        shape = (len(rows), *self.shape[1:])
        if len(rows) >= MANY and self._finish is None:
            with _shared_array(shape) as (images, path):
                for _ in answers(_MODULE, ["decode", str(path)], parts):
                    if stopped():
                        raise Interrupted("stopped while images were read")
            return images
        images = np.empty(shape, np.uint8)
        with ThreadPoolExecutor(_threads(self._shards)) as pool:
            for _ in pool.map(lambda part: None if stopped() else _decode(images, part, self._finish), parts):
                pass
        return images

    def _parts(self, rows: np.ndarray) -> Iterator[dict]:
        """Yield the work of `_decode` for `rows`, in the order of the shards: of each image the place in the result, offset and
        size in the shard, and SHA-256.
        """
        shards, offsets, sizes = (self._places[name][rows] for name in ("shard", "offset", "size"))
        digests = HexDigests(self._places["sha256"])
        part: list[tuple[int, int, int, str]] = []
        current = -1
        for target in np.lexsort((offsets, shards)).tolist():
            shard, offset, size = int(shards[target]), int(offsets[target]), int(sizes[target])
            if part and (shard != current or len(part) == _PART or offset + size - part[0][1] > _PART_BYTES):
                yield {"shard": self._shards[current], "images": part}
                part = []
            current = shard
            part.append((target, offset, size, digests[rows[target]]))
        if part:
            yield {"shard": self._shards[current], "images": part}


def in_batches(images: Pixels, rows: np.ndarray, size: int) -> Iterator[np.ndarray]:
    """Yield the images of `rows` in batches of `size`. Streamed ones are read many at a time, while earlier ones are used."""
    if not isinstance(images, StreamedPixels):
        yield from (images[rows[start : start + size]] for start in range(0, len(rows), size))
        return
    step = size * max(1, min(MANY - size, _AHEAD_BYTES // int(np.prod(images.shape[1:]))) // size)
    blocks = [rows[start : start + step] for start in range(0, len(rows), step)]
    with ThreadPoolExecutor(1) as pool:
        ahead = [pool.submit(images.__getitem__, block) for block in blocks[:1]]
        for following in [*blocks[1:], None]:
            block = ahead.pop().result()
            if following is not None:
                ahead.append(pool.submit(images.__getitem__, following))
            yield from (block[start : start + size] for start in range(0, len(block), size))


def _decode(images: np.ndarray, part: dict, finish: Finish | None = None) -> None:
    """Read and decode a part into `images`. Raises UserError if its files are not the ones that were indexed."""
    shard, wanted = part["shard"], part["images"]
    for run in _runs(wanted):
        start = run[0][1]
        data = memoryview(storage.read_range(shard, start, run[-1][1] + run[-1][2]))
        for target, offset, size, digest in run:
            item = bytes(data[offset - start : offset - start + size])
            one = attempt(lambda item: item, item, images[target], "use", finish)
            if isinstance(one, Refused) or one.sha256 != digest:
                what = f"{storage.shown(shard)} has changed since it was indexed"
                raise UserError(what, remedy="Start again: it is indexed again.")


def _runs(images: list) -> Iterator[list]:
    """Split images of one shard, (target, offset, size, SHA-256), in the order of their offsets, where many bytes lie between
    two.
    """
    start = 0
    for place in range(1, len(images)):
        before, offset = images[place - 1], images[place][1]
        if offset - before[1] - before[2] > _GAP:
            yield images[start:place]
            start = place
    yield images[start:]


def indexed_shard(part: dict, shape: Sequence[int], finish: Finish | None = None) -> list[list]:
    """Read the shard of `part` from its start to its end: its `url`, `size` in bytes, and `members`, {name: row}. Return for
    each of these [row, offset, size, SHA-256 of the file, SHA-256 of the pixels] or, if it cannot be used,
    [row, status, error]. Raises StorageError.
    """
    scratch, found = np.empty(tuple(shape), np.uint8), {}
    members, why = part["members"], f"not found in {storage.base_name(part['url'])}"
    try:
        for name, offset, data in read_shard(part["url"], part["size"]):
            if (row := members.get(name)) is None:
                continue
            one = attempt(lambda data: data, data, scratch, "use", finish)
            if isinstance(one, Decoded):
                digest = hashlib.sha256(scratch.tobytes()).hexdigest()
                found[row] = [row, offset, len(data), one.sha256, digest]
            else:
                found[row] = [row, one.status, one.error]
    except ShardError as error:
        why = str(error)
    return [*found.values(), *([row, "unreadable", why] for row in members.values() if row not in found)]


def index_shards(parts: Sequence[dict], shape: tuple[int, int, int], finish: Finish | None) -> Iterator[list[list]]:
    """Yield `indexed_shard` of each of `parts`, from processes where there are many images, else from threads."""
    if sum(len(part["members"]) for part in parts) >= MANY and finish is None:
        yield from answers(_MODULE, ["index", *map(str, shape)], parts)
        return
    with ThreadPoolExecutor(usable_cpus()) as pool:
        yield from pool.map(lambda part: indexed_shard(part, shape, finish), parts)


def _threads(shards: Sequence[str]) -> int:
    return REQUESTS if shards and is_url(shards[0]) else usable_cpus()


@contextmanager
def _shared_array(shape: tuple[int, ...]) -> Iterator[tuple[np.ndarray, Path]]:
    """Yield an array uint8 in memory, and a path at which other processes can open it as .npy until the block ends. Where the
    system has no such memory (it is Linux that has), it is a temporary file.
    """
    if hasattr(os, "memfd_create"):
        handle = os.memfd_create("fakelab-pixels")
        path = Path(f"/proc/{os.getpid()}/fd/{handle}")
    else:
        handle, name = tempfile.mkstemp(prefix="fakelab-", suffix=".npy")
        path = Path(name)
    try:
        yield np.lib.format.open_memmap(path, mode="w+", dtype=np.uint8, shape=shape), path
    finally:
        os.close(handle)
        if not path.is_relative_to("/proc"):
            path.unlink()


def _serve() -> None:
    if sys.argv[1] == "index":
        shape = [int(word) for word in sys.argv[2:]]
        serve_parts(lambda part: indexed_shard(part, shape))
    else:
        images = np.lib.format.open_memmap(sys.argv[2], mode="r+")
        serve_parts(lambda part: _decode(images, part))


if __name__ == "__main__":
    _serve()
