"""Compare the speed of detectors with textbook code: large backbones, heads on cached features, small files.

The backbone has random weights, which are as fast as trained ones; its features still separate tinted images from others.
"""

from __future__ import annotations

import json
import os
import statistics
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from fakecore.report.tables import table

PHOTOS = 192  # of 300x400 pixels
SMALL = 600  # images per class, 32x32, to train the head on
HEAD_SIZE = 64  # pixels: the backbone's input size for them
EPOCHS = 12
# The plain loop augments by flips alone, so each image has only two versions.
_FLIPS = {"copies": 2, "jpeg": 0, "blur": 0, "resize": 0}
DECODE_SHARE = 0.70  # target for small files: scoring speed / speed of decoding alone
FLAT_COUNTS = (1000, 50_000)


def compare_resnet50(work: Path, plain: Callable, ours: Callable, repeat: int) -> list[tuple[float, float]]:
    """Measure `score` with resnet50 at 224x224: photos per second as (plain, ours), one pair per repetition."""
    photos, weights, detector = work / "photos", work / "resnet50.pth", work / "resnet50"
    _write_photos(photos / "made-up")
    _train_head(work, weights, detector, ours, input_size=224, limit=32, copies=0, epochs=1)
    score = (
        "import time, fakedetect; "
        f"d = fakedetect.Detector.load({str(detector)!r}); began = time.perf_counter(); "
        f"n = sum(len(rows) for rows in fakedetect.score_files(fakedetect.list_inputs([{str(photos)!r}]), d)); "
        "print(n / (time.perf_counter() - began))"
    )
    return [(plain("score_resnet50", photos), ours(score)) for _ in range(repeat)]


def compare_head(work: Path, plain: Callable, ours: Callable, repeat: int) -> tuple[list[tuple[float, float]], str]:
    """Measure the training of a head on resnet50 over 12 epochs: (pairs, remark).

    A pair is trainings per hour, (plain, ours). They include the computation of features, but not the audit and the report,
    which plain has not. The remark gives both validation AUROCs and the seconds of the complete command.
    """
    weights, pairs, aurocs, command_s = work / "resnet50.pth", [], [], []
    for turn in range(repeat):
        os.environ["FAKELAB_CACHE"] = str(work / f"cache-head-{turn}")  # empty, so that the features are computed
        taken, auroc = _train_head(
            work, weights, work / f"head-{turn}", ours, input_size=HEAD_SIZE, epochs=EPOCHS, **_FLIPS
        )
        command_s.append(taken)
        taken = json.loads((work / f"head-{turn}" / "detector.json").read_text())["train_s"]
        plain_taken, plain_auroc = plain("head", work / "small", weights, HEAD_SIZE, EPOCHS)
        pairs.append((3600 / plain_taken, 3600 / taken))
        aurocs.append((plain_auroc, auroc))
    medians = [statistics.median(values) for values in zip(*aurocs, strict=True)]
    remark = "validation AUROC: plain {:.3f}, fakelab {:.3f}; complete detect-train {:.1f} s"
    return pairs, remark.format(*medians, statistics.median(command_s))


def compare_decoding(real: Path, detector: Path, ours: Callable, repeat: int) -> str:
    """Compare `score` with cnn on small files with decoding them alone, both on all cores: a line of text."""
    decode = (
        "import os, time, fakedetect; from concurrent.futures import ThreadPoolExecutor; from pathlib import Path; "
        "from fakecore.media.pixels import decode_image, read_bytes; "
        f"d = fakedetect.Detector.load({str(detector)!r}); files = fakedetect.list_inputs([{str(real)!r}]); "
        "one = lambda file: d.prepare(decode_image(read_bytes(Path(file[0])))).shape; began = time.perf_counter(); "
        "n = len(list(ThreadPoolExecutor(os.cpu_count()).map(one, files))); print(n / (time.perf_counter() - began))"
    )
    score = (
        "import time, fakedetect; "
        f"d = fakedetect.Detector.load({str(detector)!r}); files = fakedetect.list_inputs([{str(real)!r}]); "
        "began = time.perf_counter(); n = sum(len(rows) for rows in fakedetect.score_files(files, d)); "
        "print(n / (time.perf_counter() - began))"
    )
    ratios = sorted(ours(score) / ours(decode) for _ in range(repeat))
    median = statistics.median(ratios)
    verdict = "reached" if median >= DECODE_SHARE else "MISSED"
    spread = f"{ratios[0]:.2f} to {ratios[-1]:.2f}"
    return f"score, cnn: {median:.2f} of the speed of decoding alone ({spread}; target {DECODE_SHARE:g}, {verdict})"


def flatness(real: Path, work: Path, detector: Path, ours: Callable) -> str:
    """Table of the time per file and the peak memory of `score`, for few and many files (links to the same images)."""
    files, rows = sorted(path for path in real.rglob("*") if path.is_file()), []
    for count in FLAT_COUNTS:
        folder = work / f"links-{count}"
        folder.mkdir()
        for number in range(count):
            source = files[number % len(files)]
            (folder / f"{number:06d}{source.suffix}").symlink_to(source.resolve())
        found = ours(
            "import json, resource, time, fakedetect; "
            f"d = fakedetect.Detector.load({str(detector)!r}); began = time.perf_counter(); "
            f"n = sum(len(rows) for rows in fakedetect.score_files(fakedetect.list_inputs([{str(folder)!r}]), d)); "
            "peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024; "
            "print(json.dumps({'n': n, 's': time.perf_counter() - began, 'mb': peak}))"
        )
        rows.append([f"{found['n']:,}", f"{found['s'] / found['n'] * 1000:.2f}", f"{found['mb']:,.0f}"])
    return table(("score, cnn: files", "ms per file", "peak MB"), rows)


def _train_head(work: Path, weights: Path, out: Path, ours: Callable, **settings: Any) -> tuple[float, float]:
    """Train a head: (seconds without start-up, best validation AUROC)."""
    small = work / "small"
    if not small.exists():
        _write_small(small)
        ours(
            "import timm, torch; torch.manual_seed(0); "
            f"torch.save(timm.create_model('resnet50', num_classes=0).state_dict(), {str(weights)!r}); print(0)"
        )
    changes = {"model": "resnet50", "weights": str(weights), **settings}
    took = ours(
        "import time, fakedetect; began = time.perf_counter(); "
        f"fakedetect.train(out={str(out)!r}, real={str(small / 'real')!r}, fake={str(small / 'fake')!r}, "
        f"changes={changes!r}); print(time.perf_counter() - began)"
    )
    history = (out / "history.jsonl").read_text().splitlines()
    return took, max(json.loads(line)["val_auroc"] for line in history)


def _write_photos(folder: Path) -> None:
    folder.mkdir(parents=True)
    random = np.random.default_rng(0)
    for number in range(PHOTOS):
        coarse = random.integers(0, 256, (12, 16, 3), dtype=np.uint8)
        image = cv2.resize(coarse, (400, 300), interpolation=cv2.INTER_CUBIC)
        cv2.imwrite(str(folder / f"{number:04d}.jpg"), image)


def _write_small(folder: Path) -> None:
    random = np.random.default_rng(1)
    for kind, tint in (("real", 0), ("fake", 8)):
        (folder / kind).mkdir(parents=True)
        for number in range(SMALL):
            coarse = random.integers(40, 216, (6, 6, 3), dtype=np.uint8)
            smooth = cv2.resize(coarse, (32, 32), interpolation=cv2.INTER_CUBIC) + random.normal(0, 6, (32, 32, 3))
            cv2.imwrite(
                str(folder / kind / f"{number:04d}.png"),
                (smooth + np.array((0, 0, tint))).clip(0, 255).astype(np.uint8),
            )
