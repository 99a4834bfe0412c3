"""`evaluate`: a fair test of a detector on images that it was not trained on."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from fakecore.media.pixels import is_grey
from fakecore.progress import say
from fakecore.runs.runfolder import refuse_used
from fakecore.sets.streaming import Pixels, StreamedPixels, in_batches
from fakedetect.audits.audit import audit_first
from fakedetect.data.loading import load_labelled, place_name, require_both_classes
from fakedetect.data.overlap import count_seen
from fakedetect.evaluation.metrics import all_metrics
from fakedetect.evaluation.report import Judged, write_report
from fakedetect.evaluation.robustness import measure_robustness
from fakedetect.models.detector import Detector

_SAMPLE, _BATCH = 1000, 64  # images


@dataclass(frozen=True)
class Trained:
    """What `train` and `evaluate` leave behind. `metrics` are of images that the detector never saw."""

    detector: Path
    report: Path
    metrics: dict
    unused: list[dict]  # {"path", "status", "error"}, and the "label" where two sources were given
    left_out: dict | None = None  # detector.json's left_out: the tests of sources that were left out of training

    @property
    def unused_by_option(self) -> list[dict]:
        """`unused`, with each path behind the option that it came by: --real or --fake."""
        return [{**u, "path": f"--{u['label']} {u['path']}"} if "label" in u else u for u in self.unused]


def evaluate(
    detector_path: Path | str,
    place: Path | str | None = None,
    *,
    real: str | None = None,
    fake: str | None = None,
    out: Path | str | None = None,
    device: str = "auto",
    data_root: Path | None = None,
    robustness: bool = False,
    strict: bool = False,
    stream: bool | None = None,
) -> Trained:
    """Test a detector on another set (its test split) or on all images of two folders, and write a report. `place` is a path or
    URL; `stream`: whether its images are read where they are, see `open_set`.

    Nothing is fitted: temperature and thresholds are those of the detector. `out` defaults to a folder inside the detector's.
    `robustness` also tests on the images after every degradation of degrade.GRID, and adds metrics["robustness"].
    The images are audited first, as in `train`. Raises UserError if they lack a class or cannot be read.
    """
    detector = Detector.load(detector_path, device)
    data = load_labelled(
        place,
        real=real,
        fake=fake,
        resolution=detector.resolution,
        channels=detector.channels,
        data_root=data_root,
        all_test=True,
        equalise_jpeg=detector.equalise_jpeg,
        stream=stream,
    )
    require_both_classes(data, ("test",))
    images: dict[str, Any] = {"place": place, "real": real, "fake": fake, "data_root": data_root}
    audited = audit_first(images, data, ("test",), strict=strict, equalised=detector.equalise_jpeg is not None)
    rows = data.rows("test")
    _note_grey(data.images, rows)
    name = place_name(place, real, fake)
    home = Path(detector_path)
    if home.suffix.lower() == ".onnx":
        home = home.with_suffix("")  # runs/x.onnx was probably exported from runs/x
    out = Path(out) if out else home / "evaluations" / name.replace(":", "-")
    refuse_used(out, made_by="an evaluation", marker="metrics.json")
    seen = count_seen(Path(detector_path), detector.facts, data.hashes(rows))
    logits, outside = detector.outputs(data.images, rows)
    p_fake = detector.probability(logits)
    metrics = all_metrics(
        data.labels[rows], p_fake, detector.thresholds, groups=data.groups_of(rows), seen=seen, outside=outside
    )
    metrics["audit"] = audited
    judged = Judged(data, rows, p_fake, metrics)
    grid = measure_robustness(detector, data, rows, metrics) if robustness else None
    if grid:
        metrics["robustness"] = grid.to_json()
    title = f"{Path(detector_path).name} tested on {name}"
    report = write_report(out, detector, judged, title=title, robustness=grid)
    return Trained(Path(detector_path), report, metrics, data.unused)


def _note_grey(images: Pixels, rows: np.ndarray) -> None:
    """Print a note if most images, (N, 3, R, R), for a detector of colour images are grey; if streamed, of a sample."""
    if isinstance(images, StreamedPixels):
        rows = rows[:: max(1, len(rows) // _SAMPLE)]
    found = (image for batch in in_batches(images, rows, _BATCH) for image in batch)
    grey = 0 if images.shape[1] == 1 else sum(is_grey(image.transpose(1, 2, 0)) for image in found)
    if grey > len(rows) / 2:  # photos usually include some grey ones, in training too
        say(f"note: {grey:,} of {len(rows):,} images are grey, but the detector was trained on colour images")
