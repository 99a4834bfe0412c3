"""Faces in a film, the plain way and ours, on the same frames in one run: `python -m benchmarks.speed_video VIDEO`.

Plain is OpenCV and facenet-pytorch's MTCNN at full size on each frame; ours is `fakecore.video`, `FaceFinder` and
`Tracker`. Each has a process of its own; processes by turns, `--repeat` times. Machines are shared: trust ratios. Wall and
processor time are both told: the second says more on a machine that has other work.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import time
from pathlib import Path

import numpy as np

from fakecore.tables import table

SURE = 0.9  # plain MTCNN keeps boxes from 0.7; between the two, many of a 1080p film's are shoulders and hair


def main() -> None:
    """Measure and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("video", type=Path)
    parser.add_argument("--every", type=int, default=5, help="each so-many-th frame; 1 for all")
    parser.add_argument("--min-face", type=float, default=60)
    parser.add_argument("--repeat", type=int, default=1)
    parser.add_argument("--side", choices=("plain", "ours"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.side:
        print(json.dumps(_measure(options)))
        return
    runs = {side: [_in_own_process(options, side) for _ in range(options.repeat)] for side in ("plain", "ours")}
    plain, ours = runs["plain"][0]["boxes"], runs["ours"][0]["boxes"]
    rows = []
    for what, key in (("wall", "wall_s"), ("processor", "cpu_s")):
        theirs, mine = (statistics.median(run[key] for run in runs[side]) for side in ("plain", "ours"))
        rows.append([f"{what} time", f"{theirs:.1f} s", f"{mine:.1f} s", f"{theirs / mine:.1f}x"])
    rows.append(["most memory", *(f"{runs[side][0]['peak_mb']:,.0f} MB" for side in ("plain", "ours")), ""])
    print(f"{options.video.name}: {len(plain)} frames")
    print(table(("", "plain", "fakelab", "ratio"), rows) + "\n")
    for least in (0.0, SURE):
        found, wanted = _found(plain, ours, options.min_face, least)
        sure = f" with a confidence of {least:g} or more" if least else ""
        share = f" ({found / wanted:.1%})" if wanted else ""
        print(f"of plain's {wanted} faces of {options.min_face:g} px or more{sure}: {found} found{share}")
    common, mine = _found(ours, plain, options.min_face, 0.0)
    print(f"ours that plain has none of: {mine - common} of {mine}")


def _measure(options) -> dict:
    """One side's seconds, after its imports and weights, peak memory, and boxes with confidence (n, 5) for each frame."""
    import resource

    look = _plain(options) if options.side == "plain" else _ours(options)
    began = time.perf_counter(), time.process_time()
    boxes = [np.round(found, 2).tolist() for found in look()]
    wall, cpu = time.perf_counter() - began[0], time.process_time() - began[1]
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return {"wall_s": wall, "cpu_s": cpu, "peak_mb": peak, "boxes": boxes}


def _plain(options):
    import cv2
    from facenet_pytorch import MTCNN

    finder = MTCNN(keep_all=True)

    def look():
        reader, index = cv2.VideoCapture(str(options.video)), 0
        while True:
            good, frame = reader.read()
            if not good:
                return
            if index % options.every == 0:
                boxes, scores = finder.detect(cv2.cvtColor(frame, cv2.COLOR_BGR2RGB))
                yield np.empty((0, 5)) if boxes is None else np.column_stack([boxes, scores]).astype(float)
            index += 1

    return look


def _ours(options):
    from fakecore.video import frames
    from fakedetect.faces import BATCH, FaceFinder
    from fakedetect.tracks import Tracker

    finder, tracker = FaceFinder(options.min_face), Tracker()

    def look():
        batch = []
        film = frames(options.video, every=options.every)
        for number, frame in enumerate(film, 1):
            batch.append(frame)
            if len(batch) == BATCH or number == film.expected:
                for seen, faces in zip(batch, finder.find([seen.pixels for seen in batch]), strict=True):
                    tracker.update(seen.index, seen.time_s, faces, seen.pixels)
                    yield np.array([[*face.box, face.confidence] for face in faces]).reshape(-1, 5)
                batch = []

    return look


def _found(wanted: list, offered: list, min_face: float, least: float) -> tuple[int, int]:
    """How many of `wanted`, large and sure enough, meet one of `offered` by more than half (IoU), and of how many."""
    found = total = 0
    for mine, theirs in zip(wanted, offered, strict=True):
        for left, top, right, bottom, confidence in mine:
            if max(right - left, bottom - top) < min_face or confidence < least:
                continue
            total += 1
            found += any(_iou((left, top, right, bottom), other) > 0.5 for other in theirs)
    return found, total


def _iou(one, other) -> float:
    width = min(one[2], other[2]) - max(one[0], other[0])
    height = min(one[3], other[3]) - max(one[1], other[1])
    if width <= 0 or height <= 0:
        return 0.0
    areas = [(box[2] - box[0]) * (box[3] - box[1]) for box in (one, other)]
    return width * height / (sum(areas) - width * height)


def _in_own_process(options, side: str) -> dict:
    words = [str(options.video), "--every", str(options.every), "--min-face", str(options.min_face), "--side", side]
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.speed_video", *words], capture_output=True, text=True, check=False
    )
    if done.returncode:
        sys.exit(done.stderr)
    return json.loads(done.stdout.splitlines()[-1])


if __name__ == "__main__":
    main()
