"""Compare finding faces in a video with textbook code, on the same frames: `python -m benchmarks.speed.video VIDEO`.

With `--classifier` each face of `--min-face` pixels or more is also judged, by a ResNet50 at 224x224 with random weights,
which are as fast as trained ones. Plain is timm's network in fp32, unchanged, on all faces of a frame. Ours is what `score`
does, with tracks: it judges a track's sharpest face per interval, or every face with `--every-face`. Targets: 5x with
`--every 5`, and 8x with `--every 1`, where ours finds faces in every second frame and interpolates the boxes between.
`--sheet FILE.png` draws the large boxes that only one side has, to check by eye which are faces.

Plain is OpenCV and facenet-pytorch's MTCNN at full size on each frame; ours is `fakecore.media.video`, `FaceFinder` and
`Tracker`. Each measurement runs in its own process, the sides in turn, `--repeat` times. Machines are shared, so only ratios
are comparable; on a busy machine processor time is more reliable than wall time.
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

_TILE, _ACROSS = 128, 8  # pixels of one tile of the sheet, and tiles per row
SURE = 0.9  # plain MTCNN's limit is 0.7; below 0.9, many boxes of a 1080p video are shoulders and hair


def main() -> None:
    """Measure and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("video", type=Path)
    parser.add_argument("--every", type=int, default=5, help="use every N-th frame; 1 for all")
    parser.add_argument("--min-face", type=float, default=60)
    parser.add_argument("--classifier", action="store_true", help="also judge each face with a ResNet50")
    parser.add_argument("--every-face", action="store_true", help="with --classifier: ours also judges every face")
    parser.add_argument("--sheet", type=Path, help="write an image of the boxes that only one side has")
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
    rows.append(["peak memory", *(f"{runs[side][0]['peak_mb']:,.0f} MB" for side in ("plain", "ours")), ""])
    print(f"{options.video.name}: {len(plain)} frames")
    print(table(("", "plain", "fakelab", "ratio"), rows) + "\n")
    for least in (0.0, SURE):
        found, wanted = _found(plain, ours, options.min_face, least)
        sure = f" with a confidence of {least:g} or more" if least else ""
        fraction = f" ({found / wanted:.1%})" if wanted else ""
        print(f"plain's faces of {options.min_face:g} px or more{sure}: ours finds {found} of {wanted}{fraction}")
    common, mine = _found(ours, plain, options.min_face, 0.0)
    print(f"our faces that plain does not find: {mine - common} of {mine}")
    if options.sheet:
        _draw_disputed(options, plain, ours)


def _measure(options) -> dict:
    """Measure one side: seconds without imports and loading of weights, peak memory, the boxes of each frame with their
    confidence (n, 5), and the number of faces judged.
    """
    import resource

    ours = _ours_judged if options.classifier else _ours
    find = _plain(options) if options.side == "plain" else ours(options)
    began = time.perf_counter(), time.process_time()
    boxes = [np.round(found, 2).tolist() for found in find()]
    wall, cpu = time.perf_counter() - began[0], time.process_time() - began[1]
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    large = sum(_large(box, options.min_face) for found in boxes for box in found)
    judged = getattr(find, "judged", large)  # plain judges each large face
    return {"wall_s": wall, "cpu_s": cpu, "peak_mb": peak, "boxes": boxes, "large": large, "judged": judged}


def _plain(options):
    import cv2
    from facenet_pytorch import MTCNN

    finder = MTCNN(keep_all=True)
    judge = _plain_judge() if options.classifier else None

    def find():
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

    return find


def _plain_judge():
    """Judge by the textbook: crop each face with a margin of a fifth, resize to 224x224, timm's network in fp32."""
    import cv2
    import timm
    import torch

    network = timm.create_model("resnet50", num_classes=1).eval()
    mean, std = (torch.tensor(values).view(1, 3, 1, 1) for values in ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)))

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
    settings = VideoOptions(fps=fps, end_s=options.end, min_face=options.min_face, every_face=options.every_face)
    judge = VideoJudge(detector, settings, keep=True)
    detector.logits(np.zeros((1, 3, 224, 224), np.uint8))  # warm-up: builds the network for scoring

    def find():
        row, _ = judge.judge(str(options.video))
        find.judged = sum(track["judged"] for track in row["tracks"])
        found: list[list] = [[] for _ in range(row["frames"])]
        for track, *_ in judge.shown[str(options.video)].tracks if row["tracks"] else ():
            for time_s, box in zip(track.times, track.boxes, strict=True):
                found[round(time_s * fps)].append([*map(float, box), 1.0])
        yield from (np.array(boxes).reshape(-1, 5) for boxes in found)

    return find


def _ours(options):
    from fakecore.media.video import frames
    from fakedetect.faces.finder import BATCH, FaceFinder
    from fakedetect.faces.tracks import Tracker

    finder, tracker = FaceFinder(options.min_face), Tracker()

    def find():
        batch = []
        video = frames(options.video, every=options.every, end_s=options.end)
        for number, frame in enumerate(video, 1):
            batch.append(frame)
            if len(batch) == BATCH or number == video.expected:
                for seen, faces in zip(batch, finder.find([seen.pixels for seen in batch]), strict=True):
                    tracker.update(seen.index, seen.time_s, faces, seen.pixels)
                    yield np.array([[*face.box, face.confidence] for face in faces]).reshape(-1, 5)
                batch = []

    return find


def _found(wanted: list, offered: list, min_face: float, least: float) -> tuple[int, int]:
    """Count the boxes of `wanted` that are large, have a confidence of `least` or more and overlap one of `offered` with an
    IoU above 0.5: (count, number of large and confident boxes).
    """
    found = total = 0
    for mine, theirs in zip(wanted, offered, strict=True):
        for left, top, right, bottom, confidence in mine:
            if not _large((left, top, right, bottom), min_face) or confidence < least:
                continue
            total += 1
            found += any(_iou((left, top, right, bottom), other) > 0.5 for other in theirs)
    return found, total


def _draw_disputed(options, plain: list, ours: list) -> None:
    """Draw the large boxes that only one side has, plain's before ours, each with its frame number."""
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
    """Crop a box of a frame with its surroundings, uint8 RGB (_TILE, _TILE, 3)."""
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


def _iou(box, other) -> float:
    width = min(box[2], other[2]) - max(box[0], other[0])
    height = min(box[3], other[3]) - max(box[1], other[1])
    if width <= 0 or height <= 0:
        return 0.0
    areas = [(b[2] - b[0]) * (b[3] - b[1]) for b in (box, other)]
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
