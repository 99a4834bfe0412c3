"""Decode images into a shared array: in threads, or in processes where there are many files.

Threads wait for one another: of a small image's time, the interpreter's lock is held for most. A process takes a tenth of a
second to start.
"""

from __future__ import annotations

import hashlib
import json
import os
import signal
import subprocess
import sys
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import astuple, dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from fakecore.cpus import usable_cpus
from fakecore.errors import UserError
from fakecore.media.pixels import ImageError, decode_image, fit_square, is_grey, pages, read_bytes, refuse_tiny

MANY = 4000  # files from which on processes are faster
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
        return [_attempt(read, index, images[index], "use", finish) for index in rows]

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

    Each process is this module, or another one that calls `serve`: it takes a part as a line of JSON on its input, and answers
    with a line. It ends with its input, so none remains when this process is killed. Raises UserError if one ends early.
    """
    starts = range(0, len(files), _PART)
    with ExitStack() as stack:
        workers = [stack.enter_context(_worker(array, purpose, module)) for _ in range(min(usable_cpus(), len(starts)))]
        waiting = deque(zip(workers, starts, strict=False))
        later = iter(starts[len(workers) :])
        for worker, start in waiting:
            _give(worker, start, files)
        while waiting:
            worker, start = waiting.popleft()
            assert worker.stdout, "opened as a pipe"
            answer = worker.stdout.readline()
            if not answer.endswith("\n"):
                raise UserError("a process that decodes images ended early", got=f"exit status {worker.wait()}")
            for following in islice(later, 1):
                _give(worker, following, files)
                waiting.append((worker, following))
            yield [Decoded(*facts) if kind == "decoded" else Refused(*facts) for kind, *facts in json.loads(answer)]


@contextmanager
def _worker(array: Path, purpose: str, module: str) -> Iterator[subprocess.Popen[str]]:
    """Start a process that decodes into `array`; end it on leaving."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    words = [sys.executable, "-m", module, str(array), purpose]
    pipe = subprocess.PIPE
    process = subprocess.Popen(words, text=True, env=environment, stdin=pipe, stdout=pipe)
    try:
        yield process
    finally:
        process.kill()  # it has nothing to save
        process.communicate()


def _give(worker: subprocess.Popen[str], start: int, files: Sequence[str]) -> None:
    assert worker.stdin, "opened as a pipe"
    with suppress(BrokenPipeError):  # its missing answer is noticed
        worker.stdin.write(json.dumps({"start": start, "files": files[start : start + _PART]}) + "\n")
        worker.stdin.flush()


def serve(examine: Callable[[str, bytes], Any] | None = None) -> None:
    """Decode the parts that the input names; of each file, also answer what `examine` returns of its path and content, a value
    that JSON can hold.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the process that gives the parts
    images = np.lib.format.open_memmap(sys.argv[1], mode="r+")
    for line in sys.stdin:
        part = json.loads(line)
        outcomes = [
            _attempt(
                lambda path: read_bytes(Path(path)), file, images[part["start"] + place], sys.argv[2], examine=examine
            )
            for place, file in enumerate(part["files"])
        ]
        answers = [("decoded" if isinstance(one, Decoded) else "refused", *astuple(one)) for one in outcomes]
        print(json.dumps(answers), flush=True)


def _attempt(
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
