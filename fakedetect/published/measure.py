"""Test a detector on a published benchmark with its protocol, so that the numbers stand beside those of papers.

Frames are judged one by one; the score of a video is the mean over its frames, as in DeepfakeBench. Of videos, FRAMES frames
spread evenly are judged: in each, the largest face, or the whole frame for a detector that was not trained on faces.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from fakecore.files import write_json
from fakecore.labels import FAKE, REAL
from fakecore.media.pixels import ImageError, read_image
from fakecore.media.video import frames
from fakecore.media.videostream import VideoError
from fakecore.progress import progress_bar
from fakecore.report.tables import as_csv
from fakecore.runs.runfolder import refuse_used
from fakedetect.evaluation.metrics import ranking_metrics
from fakedetect.faces.finder import MARGIN, FaceFinder, crop
from fakedetect.models.detector import Detector
from fakedetect.published.layouts import Item, open_benchmark

FRAMES = 32  # of a video: as in the protocol of DeepfakeBench
MIN_FACE = 40  # pixels


@dataclass(frozen=True)
class Published:
    """The result: one row per manipulation or generator and their mean, and the items that could not be used."""

    folder: Path
    title: str
    protocol: str
    rows: list[dict]  # group, n_real, n_fake, frame_auroc, video_auroc (None for images), ap, accuracy
    unused: list[dict]


def evaluate_published(
    detector_path: Path | str, name: str, root: Path | str, *, out: Path | str | None = None, device: str = "auto"
) -> Published:
    """Test a detector on the benchmark `name` below `root`; write published.json and scores.csv into the new folder `out`.

    Raises UserError if the benchmark is unknown or the folder has another layout.
    """
    layout, items = open_benchmark(name, Path(root))
    detector = Detector.load(detector_path, device)
    folder = Path(out) if out else Path(detector_path) / "evaluations" / name.replace(":", "-")
    refuse_used(folder, made_by="an evaluation", marker="published.json")
    judge = _Judge(detector)
    scored, unused = [], []
    with progress_bar(layout.title, len(items), "files") as bar:
        for item in items:
            try:
                scored.append((item, judge.scores(item)))
            except (ImageError, VideoError) as error:
                unused.append({"path": item.name, "status": error.status, "error": str(error)})
            bar.advance()
    rows = _rows(scored)
    lines: list[dict[str, Any]] = [
        {"path": item.name, "group": item.group, "y_true": item.label, "frames": len(p), "p_fake": float(np.mean(p))}
        for item, p in scored
    ]
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "scores.csv").write_bytes(as_csv(("path", "group", "y_true", "frames", "p_fake"), lines))
    facts = {"version": 1, "benchmark": name, "protocol": layout.protocol, "detector": detector.id, "rows": rows}
    write_json(folder / "published.json", {**facts, "unused": unused})
    return Published(folder, layout.title, layout.protocol, rows, unused)


class _Judge:
    """Scores items: the p_fake of each frame, (frames,)."""

    def __init__(self, detector: Detector):
        self._detector = detector
        of_faces = detector.face_margin is not None
        self._finder = FaceFinder(MIN_FACE, detector.device.type) if of_faces else None

    def scores(self, item: Item) -> np.ndarray:
        """Return the p_fake of each frame of an item. Raises ImageError or VideoError if none can be judged."""
        if item.frames:  # published as face crops
            return self._of([read_image(path) for path in item.frames])
        assert item.path, "an item is a path or frames"
        try:
            return self._of([read_image(item.path)])
        except ImageError as error:
            if error.kind != "video":
                raise
        found = [frame.pixels for frame in frames(item.path, count=FRAMES)]
        images = found if self._finder is None else list(self._faces(found))
        if not images:
            raise ImageError("no_face", f"no face of at least {MIN_FACE} pixels in {len(found)} frames", "video")
        return self._of(images)

    def _faces(self, found: Sequence[np.ndarray]):
        assert self._finder, "whole frames are judged without a search"
        detector, rest = self._detector, iter(found)
        margin = MARGIN if detector.face_margin is None else detector.face_margin
        while part := list(islice(rest, 8)):
            for frame, faces in zip(part, self._finder.find(part), strict=True):
                if faces:
                    largest = max(faces, key=lambda face: face.side)
                    yield crop(frame, largest, margin=margin, size=detector.resolution, align=detector.face_align)

    def _of(self, images: Sequence[np.ndarray]) -> np.ndarray:
        logits = self._detector.logits(np.stack([self._detector.prepare(image) for image in images]))
        return self._detector.probability(logits)


def _rows(scored: list[tuple[Item, np.ndarray]]) -> list[dict]:
    """Return a row for each group of fakes, against the reals of the same group, or those without one; and the mean."""
    groups = list(dict.fromkeys(item.group for item, _ in scored if item.label == FAKE))
    rows: list[dict[str, Any]] = []
    for group in groups:
        own = [(item, p) for item, p in scored if item.group == group or (item.label == REAL and not item.group)]
        labels = np.array([item.label for item, _ in own])
        if len(set(labels.tolist())) < 2:
            continue
        of_frames = np.repeat(labels, [len(p) for _, p in own]), np.concatenate([p for _, p in own])
        videos = np.array([float(np.mean(p)) for _, p in own])
        several = any(len(p) > 1 for _, p in own)
        rows.append(
            {
                "group": group,
                "n_real": int((labels == REAL).sum()),
                "n_fake": int((labels == FAKE).sum()),
                "frame_auroc": ranking_metrics(*of_frames)["auroc"],
                "video_auroc": ranking_metrics(labels, videos)["auroc"] if several else None,
                "ap": ranking_metrics(labels, videos)["ap"],
                "accuracy": float(((videos >= 0.5) == (labels == FAKE)).mean()),
            }
        )
    if len(rows) > 1:
        mean: dict[str, Any] = {"group": "mean", "n_real": None, "n_fake": sum(row["n_fake"] for row in rows)}
        for name in ("frame_auroc", "video_auroc", "ap", "accuracy"):
            values = [row[name] for row in rows]
            mean[name] = None if None in values else float(np.mean(values))
        rows.append(mean)
    return rows
