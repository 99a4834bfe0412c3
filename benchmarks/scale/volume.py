"""Many small files and a few large ones: seconds, bytes, and the memory of each process."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

import fakedetect
from benchmarks.material import write_faces
from benchmarks.scale.processes import Usage, watched

_DRAWN = 5000  # different small photos; more are hard links to them
_SIDE = 32
_FOLDER = 1000  # photos in a folder
_LARGE_BYTES = 200e6
_TURNS = 8  # a noisy frame takes time to draw: each is shown several times


@dataclass(frozen=True)
class Call:
    """A command: seconds, and what its processes used."""

    seconds: float
    usage: Usage


def small_files(work: Path, count: int) -> list[Path]:
    """Write `count` small JPEG files, and return their folder and a detector of their size, which judges them quickly."""
    drawn = write_faces(work / "drawn", min(count, _DRAWN), _SIDE)
    sources = sorted(drawn.rglob("*.jpg"))
    for number in range(count):
        folder = work / "small" / f"{number // _FOLDER:05d}"
        if number % _FOLDER == 0:
            folder.mkdir(parents=True)
        os.link(sources[number % len(sources)], folder / f"{number:08d}.jpg")
    (work / "fakes").mkdir()
    for path in sources[:400]:
        blurred = cv2.GaussianBlur(cv2.imread(str(path)), (0, 0), 1.5)
        cv2.imwrite(str(work / "fakes" / path.name), blurred)
    (work / "reals").mkdir()
    for path in sources[400:800]:
        os.link(path, work / "reals" / path.name)
    changes = {"model": "cnn", "epochs": 2, "resolution": _SIDE}
    fakedetect.train(
        real=str(work / "reals"), fake=str(work / "fakes"), out=work / "det", changes=changes, device="cpu"
    )
    return [work / "small", work / "det"]


def large_files(work: Path, count: int) -> Path:
    """Write `count` PNG files and `count` videos of 200 MB each, and return their folder."""
    folder, random = work / "large", np.random.default_rng(0)
    folder.mkdir()
    side = int((_LARGE_BYTES / 3) ** 0.5)
    for number in range(count):
        noise = random.integers(0, 256, (side, side, 3), np.uint8)
        cv2.imwrite(str(folder / f"{number}.png"), noise, [cv2.IMWRITE_PNG_COMPRESSION, 0])
        frames = [random.integers(0, 256, (1080, 1920, 3), np.uint8) for _ in range(_TURNS)]
        path, shown = folder / f"{number}.avi", 0
        writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*"MJPG"), 25, (1920, 1080))
        while shown < 25 or path.stat().st_size < _LARGE_BYTES:
            writer.write(frames[shown % _TURNS])
            shown += 1
        writer.release()
    return folder


def command(*words: object) -> Call:
    """Run a command of fakelab to its end, and return what it took."""
    begin = time.perf_counter()
    with watched() as usage:
        run = [sys.executable, "-m", "fakelab", *map(str, words)]
        done = subprocess.run(run, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    if done.returncode not in (0, 1) or "Traceback" in done.stderr:
        raise RuntimeError(f"{' '.join(run)}: {done.stderr}")
    return Call(time.perf_counter() - begin, usage)


def bytes_of(job: Path) -> tuple[int, int]:
    """Return the bytes of a job's listings and of its rows."""
    return sum(one.stat().st_size for one in job.glob("listings/*")), sum(
        one.stat().st_size for one in job.glob("parts/*")
    )


def rows_in(job: Path) -> int:
    """Return the number of rows as `report` counts them."""
    done = subprocess.run(
        [sys.executable, "-m", "fakelab", "report", str(job), "--json"], capture_output=True, check=True
    )
    return json.loads(done.stdout)["rows"]
