"""Faces in a video, the plain way and ours, on the same frames in one run: `python -m benchmarks.speed.video VIDEO`.

With `--classifier` each face of `--min-face` pixels or more is judged too, by a ResNet50 at 224x224 with random weights, which
are as fast as learned ones: plain is timm's network in fp32 as it comes, a frame's faces at once; ours is what `score` does,
tracks and all: of each track it judges the sharpest face of each while, with `--every-face` all. Targets: 5x on the frames of
`--every 5`, 8x on all frames (`--every 1`), where ours looks for faces in every second frame and carries boxes between.
`--sheet FILE.png` draws the large boxes that one side alone has, for eyes to say which are faces.

Plain is OpenCV and facenet-pytorch's MTCNN at full size on each frame; ours is `fakecore.media.video`, `FaceFinder` and
`Tracker`. Each has a process of its own; processes by turns, `--repeat` times. Machines are shared: trust ratios. Wall and
processor time are both told: the second says more on a machine that has other work.
"""

from __future__ import annotations

import argparse
import json
import math
import statistics
import subprocess
import sys
import time
from pathlib import Path

import numpy as np

from fakecore.report.tables import table

_TILE, _ACROSS = 128, 8  # pixels of a disputed box, and how many stand side by side
SURE = 0.9  # plain MTCNN keeps boxes from 0.7; between the two, many of a 1080p video's are shoulders and hair


def main() -> None:
    """Measure and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("video", type=Path)
    parser.add_argument("--every", type=int, default=5, help="each so-many-th frame; 1 for all")
    parser.add_argument("--min-face", type=float, default=60)
    parser.add_argument("--classifier", action="store_true", help="judge each face with a ResNet50 too")
    parser.add_argument("--every-face", action="store_true", help="with --classifier: ours judges each one too")
    parser.add_argument("--sheet", type=Path, help="a picture of the boxes that one side alone has")
    parser.add_argument("--end", type=float, help="seconds of the video at which to stop")
    parser.add_argument("--repeat", type=int, default=1)
    parser.add_argument("--side", choices=("plain", "ours"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.side:
        print(json.dumps(_measure(options)))
        return
    runs: dict[str, list[dict]] = {"plain": [], "ours": []}
    for _ in range(options.repeat):
        for side, own in runs.items():
            own.append(_in_own_process(options, side))
    plain, ours = runs["plain"][0]["boxes"], runs["ours"][0]["boxes"]
    rows = []
    for what, key in (("wall", "wall_s"), ("processor", "cpu_s")):
        theirs, mine = (statistics.median(run[key] for run in runs[side]) for side in ("plain", "ours"))
        ratios = [p[key] / o[key] for p, o in zip(runs["plain"], runs["ours"], strict=True)]
        spread = f" ({min(ratios):.1f} to {max(ratios):.1f})" if len(ratios) > 1 else ""
        rows.append([f"{what} time", f"{theirs:.1f} s", f"{mine:.1f} s", f"{statistics.median(ratios):.1f}x{spread}"])
    if options.classifier:
        for what, key in (("large faces", "large"), ("faces judged", "judged")):
            rows.append([what, *(f"{runs[side][0][key]:,}" for side in ("plain", "ours")), ""])
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
    if options.sheet:
        _draw_disputed(options, plain, ours)


def _measure(options) -> dict:
    """One side's seconds, after its imports and weights, peak memory, boxes with confidence (n, 5) for each frame, and how
    many faces were judged.
    """
    import resource

    ours = _ours_judged if options.classifier else _ours
    look = _plain(options) if options.side == "plain" else ours(options)
    began = time.perf_counter(), time.process_time()
    boxes = [np.round(found, 2).tolist() for found in look()]
    wall, cpu = time.perf_counter() - began[0], time.process_time() - began[1]
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    large = sum(_large(box, options.min_face) for found in boxes for box in found)
    judged = getattr(look, "judged", large)  # plain judges each large face
    return {"wall_s": wall, "cpu_s": cpu, "peak_mb": peak, "boxes": boxes, "large": large, "judged": judged}


def _plain(options):
    import cv2
    from facenet_pytorch import MTCNN

    finder = MTCNN(keep_all=True)
    judge = _plain_judge() if options.classifier else None

    def look():
        reader, index = cv2.VideoCapture(str(options.video)), 0
        last = math.inf if options.end is None else options.end * reader.get(cv2.CAP_PROP_FPS)
        while index < last:
            good, frame = reader.read()
            if not good:
                return
            if index % options.every == 0:
                pixels = cv2.cvtColor(frame, cv2.COLOR_BGR2RGB)
                boxes, scores = finder.detect(pixels)
                found = np.empty((0, 5)) if boxes is None else np.column_stack([boxes, scores]).astype(float)
                if judge is not None:
                    judge(pixels, [box for box in found if _large(box, options.min_face)])
                yield found
            index += 1

    return look


def _plain_judge():
    """The textbook way: each face and a fifth around it, to 224x224, and timm's network in fp32 over a frame's faces."""
    import cv2
    import timm
    import torch

    network = timm.create_model("resnet50", num_classes=1).eval()
    mean, std = (torch.tensor(one).view(1, 3, 1, 1) for one in ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)))

    @torch.no_grad()
    def judge(pixels: np.ndarray, boxes: list) -> list[float]:
        crops = []
        for box in boxes:
            middle, half = (box[:2] + box[2:4]) / 2, 0.7 * (box[2:4] - box[:2]).max()
            left, top = np.maximum(middle - half, 0).astype(int)
            right, bottom = (middle + half).astype(int)
            crops.append(cv2.resize(pixels[top:bottom, left:right], (224, 224)))
        if not crops:
            return []
        batch = torch.from_numpy(np.stack(crops)).permute(0, 3, 1, 2).float() / 255
        return torch.sigmoid(network((batch - mean) / std)).flatten().tolist()

    return judge


def _ours_judged(options):
    import torch

    from fakecore.media.video import open_video
    from fakedetect import Detector, VideoJudge, VideoOptions
    from fakedetect.models.registry import build_network

    arguments = {"resolution": 224, "channels": 3, "input_size": 224, "pool": "avg", "probe": "linear"}
    limits = {"fake_from": 0.5, "real_below": 0.5, "name": "", "max_fpr": 0.05, "max_fnr": 0.05, "chosen_on": ""}
    facts = {"preprocessing": {"resolution": 224, "channels": 3}, "temperature": 1.0, "thresholds": limits}
    detector = Detector(build_network("resnet50", arguments).eval(), facts, torch.device("cpu"))
    fps = (open_video(options.video).fps or 25.0) / options.every
    look = VideoOptions(fps=fps, end_s=options.end, min_face=options.min_face, every_face=options.every_face)
    judge = VideoJudge(detector, look, keep=True)
    detector.logits(np.zeros((1, 3, 224, 224), np.uint8))  # the network for scoring is made once

    def watch():
        row, _ = judge.judge(str(options.video))
        watch.judged = sum(track["judged"] for track in row["tracks"])
        found: list[list] = [[] for _ in range(row["frames"])]
        for track, *_ in judge.shown[str(options.video)].tracks if row["tracks"] else ():
            for time_s, box in zip(track.times, track.boxes, strict=True):
                found[round(time_s * fps)].append([*map(float, box), 1.0])
        yield from (np.array(boxes).reshape(-1, 5) for boxes in found)

    return watch


def _ours(options):
    from fakecore.media.video import frames
    from fakedetect.faces.finder import BATCH, FaceFinder
    from fakedetect.faces.tracks import Tracker

    finder, tracker = FaceFinder(options.min_face), Tracker()

    def look():
        batch = []
        video = frames(options.video, every=options.every, end_s=options.end)
        for number, frame in enumerate(video, 1):
            batch.append(frame)
            if len(batch) == BATCH or number == video.expected:
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
            if not _large((left, top, right, bottom), min_face) or confidence < least:
                continue
            total += 1
            found += any(_iou((left, top, right, bottom), other) > 0.5 for other in theirs)
    return found, total


def _draw_disputed(options, plain: list, ours: list) -> None:
    """Large boxes that the other side has none of: plain's, then ours, with the number of each one's frame."""
    import cv2

    from fakecore.media.video import frames

    tiles: dict[str, list[np.ndarray]] = {"plain": [], "ours": []}
    for number, frame in enumerate(frames(options.video, every=options.every, end_s=options.end)):
        for side, mine, others in (("plain", plain, ours), ("ours", ours, plain)):
            for *box, confidence in mine[number]:
                if _large(box, options.min_face) and not any(_iou(box, other) > 0.5 for other in others[number]):
                    text = f"{side} {number}" + (f" {confidence:.2f}" if side == "plain" else "")
                    tiles[side].append(_tile(frame.pixels, box, text))
    shown = tiles["plain"] + tiles["ours"]
    shown += [np.full((_TILE, _TILE, 3), 255, np.uint8)] * (-len(shown) % _ACROSS)
    rows = [np.hstack(shown[start : start + _ACROSS]) for start in range(0, len(shown), _ACROSS)]
    cv2.imwrite(str(options.sheet), np.vstack(rows)[..., ::-1])


def _tile(pixels: np.ndarray, box: list[float], text: str) -> np.ndarray:
    """A box of a frame and what is around it, uint8 RGB (_TILE, _TILE, 3)."""
    import cv2

    from fakedetect.faces.finder import Face, crop

    drawn = pixels.copy()
    left, top, right, bottom = (round(value) for value in box)
    cv2.rectangle(drawn, (left, top), (right, bottom), (0, 255, 0), 2)
    face = Face(np.array(box, np.float32), np.zeros((5, 2), np.float32), 1.0)
    tile = np.ascontiguousarray(crop(drawn, face, margin=0.4, size=_TILE))
    cv2.putText(tile, text, (4, 14), cv2.FONT_HERSHEY_SIMPLEX, 0.4, (255, 255, 0), 1, cv2.LINE_AA)
    return tile


def _large(box, min_face: float) -> bool:
    return max(box[2] - box[0], box[3] - box[1]) >= min_face


def _iou(one, other) -> float:
    width = min(one[2], other[2]) - max(one[0], other[0])
    height = min(one[3], other[3]) - max(one[1], other[1])
    if width <= 0 or height <= 0:
        return 0.0
    areas = [(box[2] - box[0]) * (box[3] - box[1]) for box in (one, other)]
    return width * height / (sum(areas) - width * height)


def _in_own_process(options, side: str) -> dict:
    words = [str(options.video), "--every", str(options.every), "--min-face", str(options.min_face), "--side", side]
    words += (
        ["--classifier"] * options.classifier
        + ["--every-face"] * options.every_face
        + ([] if options.end is None else ["--end", str(options.end)])
    )
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.speed.video", *words], capture_output=True, text=True, check=False
    )
    if done.returncode:
        sys.exit(done.stderr)
    return json.loads(done.stdout.splitlines()[-1])


if __name__ == "__main__":
    main()
