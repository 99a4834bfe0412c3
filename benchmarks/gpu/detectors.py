"""How fast detectors are trained, and how fast they score photos and videos."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

import cv2
import numpy as np

from benchmarks.gpu.context import Context
from benchmarks.gpu.figures import Figure
from benchmarks.gpu.training import generate
from benchmarks.material import draw_face
from benchmarks.processes import last_json, run
from fakecore.files import read_json, read_jsonl

_LIMIT_S = 200.0
_RESNET = ("--set", "pretrained=false", "--set", "epochs=1", "--set", "batch=64", "--set", "input_size=64")


def measure_detectors(context: Context) -> list[Figure]:
    """Train `lite` and `resnet50` on the set of a GAN, and score the small source and a video with `lite`."""
    sizes, device, work = context.sizes, ["--device", context.device], context.work
    few = ("--set", f"steps={20 if context.device == 'cuda' else 2}", "--set", "batch=16")
    generate(context, "dcgan-64", context.some, "labelled", *few, count=sizes.labelled)
    images = sum(sum(own.values()) for own in read_json(work / "labelled/set/imageset.json")["counts"].values())
    train = ["-m", "fakelab", "detect-train", work / "labelled", *device]
    _, lite_s = run([*train, "--model", "lite", "--out", work / "lite"], limit_s=_LIMIT_S)
    run([*train, "--model", "resnet50", *_RESNET, "--out", work / "resnet50"], limit_s=_LIMIT_S)
    (epoch,) = read_jsonl(work / "resnet50/timings.jsonl")
    learned = sum(read_json(work / "resnet50/detector.json")["training"]["counts"]["train"].values())
    plain_resnet = last_json(run(["-m", "benchmarks.speed.plain", "finetune", context.some], limit_s=_LIMIT_S)[0])
    words = ["-m", "fakelab", "score", context.some, "--detector", work / "lite", "--out", work / "scores.csv", *device]
    _, score_s = run([*words, "--whole-frame"], limit_s=_LIMIT_S)
    plain = last_json(run(["-m", "benchmarks.speed.plain", "score", context.some, work / "lite"], limit_s=_LIMIT_S)[0])
    figures = [
        Figure("detect-train lite, all of it", images / lite_s, "images/s"),
        Figure("finetune resnet50, 64 px", learned / epoch["seconds"], "images/s", plain_resnet),
        Figure(f"score {sizes.some:,} photos, lite", sizes.some / score_s, "images/s", plain),
    ]
    if find_spec("av") and find_spec("facenet_pytorch"):
        figures.append(_measure_video(context))
    return figures


def _measure_video(context: Context) -> Figure:
    """Score a video of three faces with the detector of the package, at every frame."""
    path, count = context.work / "faces.mp4", context.sizes.frames
    _write_video(path, count)
    words = ["-m", "fakelab", "score", path, "--detector", "faces", "--fps", "25", "--json", "--device", context.device]
    _, seconds = run(words, limit_s=_LIMIT_S)
    return Figure(f"score a video of {count} frames, 720p, 25 frames/s", count / seconds, "frames/s")


def _write_video(path: Path, count: int) -> None:
    random = np.random.default_rng(0)
    faces = [draw_face(random, 240) for _ in range(3)]
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*"mp4v"), 25, (1280, 720))
    for number in range(count):
        frame = np.full((720, 1280, 3), 120, np.uint8)
        for place, face in enumerate(faces):
            left = 60 + 400 * place + round(20 * np.sin(number / 9 + place))
            frame[200:440, left : left + 240] = face
        writer.write(frame)
    writer.release()
