"""Decode images into a shared array: in threads, or in processes where there are many files."""

from __future__ import annotations

import hashlib
import sys
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import astuple, dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from fakecore.cpus import usable_cpus
from fakecore.media.pixels import ImageError, decode_image, fit_square, is_grey, pages, read_bytes, refuse_tiny
from fakecore.sets.processes import answers, serve_parts

_CHUNK = 32  # images that a thread decodes at a time
_PART = 512  # files that a process decodes at a time


@dataclass(frozen=True)
class Decoded:
    """What is known of a decoded item: the SHA-256 of its bytes, the size of the original, pixels, whether it is grey, how many
    pages its file has, and what `examine` returned of it, see `serve`.
    """

    sha256: str
    height: int
    width: int
    grey: bool
    pages: int
    examined: Any = None

    @property
    def side(self) -> int:
        """The shortest side of the original, pixels."""
        return min(self.height, self.width)


@dataclass(frozen=True)
class Refused:
    """Why an item cannot be used, see ImageError; the SHA-256 of its bytes if it could be read, and what `examine` returned."""

    status: str
    error: str
    kind: str
    sha256: str | None
    examined: Any = None


Outcome = Decoded | Refused


def pixels_of(item: bytes | np.ndarray) -> np.ndarray:
    """Return the pixels of an item, uint8 (H, W, 3). Raises ImageError."""
    if isinstance(item, bytes):
        return decode_image(item)
    return np.repeat(item[..., None], 3, axis=2) if item.ndim == 2 else item


def decode_in_threads(
    images: np.ndarray,
    read: Callable[[int], bytes | np.ndarray],
    finish: Callable[[np.ndarray], np.ndarray] | None,
) -> Iterator[list[Outcome]]:
    """Decode item i into `images`[i], uint8 (N, C, R, R), for all i; yield the outcomes of one chunk after another."""

    def chunk(start: int) -> list[Outcome]:
        rows = range(start, min(start + _CHUNK, len(images)))
        return [attempt(read, index, images[index], "use", finish) for index in rows]

    workers = usable_cpus()
    starts = iter(range(0, len(images), _CHUNK))
    with ThreadPoolExecutor(workers) as pool:
        waiting = deque(pool.submit(chunk, start) for start in islice(starts, 2 * workers))
        while waiting:
            yield waiting.popleft().result()
            waiting.extend(pool.submit(chunk, start) for start in islice(starts, 1))


def decode_in_processes(
    array: Path, files: Sequence[str], purpose: str = "use", module: str = "fakecore.sets.decoding"
) -> Iterator[list[Outcome]]:
    """Decode file i into row i of the .npy file `array`, uint8 (N, C, R, R); yield the outcomes of one part after another.
    `purpose` completes "too small to".

    Each process is this module, or another one that calls `serve`. Raises UserError if one ends early.
    """
    parts = [{"start": start, "files": files[start : start + _PART]} for start in range(0, len(files), _PART)]
    for found in answers(module, [str(array), purpose], parts):
        yield [Decoded(*facts) if kind == "decoded" else Refused(*facts) for kind, *facts in found]


def serve(examine: Callable[[str, bytes], Any] | None = None) -> None:
    """Decode the parts that the input names; of each file, also answer what `examine` returns of its path and content, a value
    that JSON can hold.
    """
    images, purpose = np.lib.format.open_memmap(sys.argv[1], mode="r+"), sys.argv[2]

    def decode(part: dict) -> list[tuple]:
        outcomes = [
            attempt(lambda path: read_bytes(Path(path)), file, images[row], purpose, examine=examine)
            for row, file in enumerate(part["files"], part["start"])
        ]
        return [("decoded" if isinstance(one, Decoded) else "refused", *astuple(one)) for one in outcomes]

    serve_parts(decode)


def attempt(
    read: Callable[[Any], bytes | np.ndarray],
    name: Any,
    into: np.ndarray,
    purpose: str,
    finish: Callable[[np.ndarray], np.ndarray] | None = None,
    examine: Callable[[str, bytes], Any] | None = None,
) -> Outcome:
    """Read an item, file bytes or uint8 pixels (H, W) or (H, W, 3), and decode it into a square, uint8 (C, R, R); `finish` is
    applied last.
    """
    digest = examined = None
    try:
        item = read(name)
        digest = hashlib.sha256(item if isinstance(item, bytes) else np.ascontiguousarray(item).data).hexdigest()
        examined = examine(name, item) if examine and isinstance(item, bytes) else None
        pixels = pixels_of(item)
        refuse_tiny(pixels, purpose)
        fitted = fit_square(pixels, into.shape[1], into.shape[0])
        into[...] = finish(fitted) if finish else fitted
        height, width = pixels.shape[:2]
        count = pages(item) if isinstance(item, bytes) else 1
        return Decoded(digest, height, width, is_grey(pixels), count, examined)
    except ImageError as error:
        return Refused(error.status, str(error), error.kind, digest, examined)


if __name__ == "__main__":
    serve()
