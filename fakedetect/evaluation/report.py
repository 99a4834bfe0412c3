"""Write the report of a detector: one self-contained HTML file, with the plots as PNG and the metrics as JSON."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from fakecore.errors import UserError
from fakecore.files import write_bytes, write_json
from fakecore.labels import LABEL_NAMES, Label
from fakecore.media.pixels import encode_png, enlarge
from fakecore.report.pages import data_uri, write_page
from fakecore.report.tables import as_csv
from fakedetect.data.degrade import parse_degradation
from fakedetect.data.loading import LabelledImages
from fakedetect.evaluation import plots
from fakedetect.evaluation.robustness import Robustness
from fakedetect.explain.explain import CAPTION, heat_maps, overlay
from fakedetect.models.detector import Detector
from fakedetect.models.facts import expectation

WORST_SHOWN = 16
SAMPLE_SHOWN = 12
METRICS_VERSION = 1
ROWS = (
    ("auroc", "AUROC", "probability that a fake scores above a real; 0.5 is chance"),
    ("ap", "Average precision", "area under precision and recall of “fake”"),
    ("eer", "Equal error rate", "error rate at which FPR equals 1 - TPR; lower is better"),
    ("tpr_at_fpr1", "TPR at 1 % FPR", "fakes called fake if 1 in 100 reals may be called fake"),
    ("tpr_at_fpr5", "TPR at 5 % FPR", "fakes called fake if 1 in 20 reals may be called fake"),
    ("fpr", "False-positive rate", "reals called fake at the chosen threshold; lower is better"),
    ("tpr", "True-positive rate", "fakes called fake at the chosen threshold"),
    ("balanced_accuracy", "Balanced accuracy", "mean of both classes' accuracy at the chosen threshold"),
    (
        "ece",
        "Calibration error (ECE)",
        "mean difference between p_fake and the observed fraction of fakes; lower is better",
    ),
    ("brier_loss", "Brier loss", "mean squared error of p_fake; lower is better"),
)
_RATES = ("auroc", "tpr", "fpr")
CELL_COLUMNS = (
    "degradation",
    *(f"{name}{end}" for name in _RATES for end in ("", "_low", "_high")),
    *("n_real", "n_fake", "state", "why"),
)


@dataclass(frozen=True)
class Judged:
    """The images of a report: `rows` of `data`, their p_fake (N,) and their metrics."""

    data: LabelledImages
    rows: np.ndarray
    p_fake: np.ndarray
    metrics: dict

    @property
    def labels(self) -> np.ndarray:
        return self.data.labels[self.rows]


def write_report(
    folder: Path,
    detector: Detector,
    judged: Judged,
    *,
    title: str,
    history: list[dict] | None = None,
    robustness: Robustness | None = None,
) -> Path:
    """Write metrics.json, the plots and report.html into `folder`; return the path of report.html.

    `history` adds the learning curves; without it the report is of an evaluation on other images. `robustness` adds its
    results, as a section and as robustness.csv.
    """
    thresholds = detector.thresholds
    figures = {
        "roc": plots.roc_plot(judged.labels, judged.p_fake, judged.metrics),
        "pr": plots.pr_plot(judged.labels, judged.p_fake, judged.metrics),
        "confusion": plots.confusion_plot(judged.metrics, thresholds),
        "calibration": plots.calibration_plot(judged.labels, judged.p_fake, judged.metrics),
    }
    if history:
        figures["history"] = plots.history_plot(history, detector.facts["best_epoch"])
    if robustness:
        figures["robustness"] = plots.robustness_plot(robustness.cells)
        write_bytes(folder / "robustness.csv", as_csv(CELL_COLUMNS, [_flat(cell) for cell in robustness.cells]))
    for name, png in figures.items():
        write_bytes(folder / f"{name}.png", png)
    write_json(folder / "metrics.json", {"version": METRICS_VERSION, **judged.metrics})
    write_page(
        folder / "report.html",
        "fakedetect.evaluation",
        "report.html.j2",
        title=title,
        metrics=judged.metrics,
        rows=[(*row, _value(judged.metrics, row[0]), _interval(judged.metrics, row[0])) for row in ROWS],
        figures={name: data_uri(png) for name, png in figures.items()},
        worst=_worst(judged, detector),
        heat_caption=CAPTION,
        samples={name: _sample(judged, number) for number, name in LABEL_NAMES.items()},
        detector=detector.facts,
        detector_id=detector.id,
        thresholds=thresholds,
        tested_on={"sources": ", ".join(own)} if (own := judged.data.origin.get("sources")) else judged.data.origin,
        headline=headline(judged.metrics),
        expectation=expectation(detector.facts),
        history=history is not None,
        cautions=[*filter(None, [_from_scratch(detector.facts), caution(judged.metrics)])],
        audit=judged.metrics.get("audit", {}),
        robustness=robustness,
        degraded=_degraded(judged, detector, robustness) if robustness else {},
    )
    return folder / "report.html"


def headline(metrics: dict) -> str:
    """Return the result in one sentence. `metrics["seen"]` counts images that the
    detector was trained or tuned on; a fair test has none. None is unknown.
    """
    seen = metrics["seen"]
    if seen is None:
        unseen = "it is unknown whether it was trained on any of them"
    elif seen:
        unseen = f"it was trained or tuned on {seen:,} of these images"
    else:
        unseen = "none of these files was used in training"
    fakes, reals = (
        f"{metrics['tpr']:.1%} of {metrics['n_fake']:,} fakes",
        f"{metrics['fpr']:.1%} of {metrics['n_real']:,} reals",
    )
    return f"Classified as fake: {fakes}, {reals}; {unseen}."


def _from_scratch(facts: dict) -> str | None:
    """Return a caution if a transfer classifier was trained without pretrained weights, or None."""
    backbone = facts.get("backbone")
    if backbone is None or backbone["weights"] is not None:
        return None
    return f"Its backbone, {backbone['name']}, was trained from scratch, without pretrained weights."


def caution(metrics: dict) -> str | None:
    """Return a caution about these metrics (an unfair test or too few images), or None."""
    n_real, n_fake = metrics["n_real"], metrics["n_fake"]
    if metrics["seen"] is None:
        return (
            "Whether this is a fair test is unknown: the list of the images that the detector was trained on (seen.npy) is "
            "missing, or belongs to an older version."
        )
    if metrics["seen"]:
        known = f"{metrics['seen']:,} of these {n_real + n_fake:,} images"
        return f"This is not a fair test: the detector was trained or tuned on {known}."
    if metrics["auroc"] == 1 and min(n_real, n_fake) > 3:
        # Rule of three: with no error in n images, the upper 95 % confidence limit of the rate is 3 / n.
        return (
            f"With so few images, a test without errors still allows wrong verdicts for up to {3 / n_real:.1%} of reals and "
            f"{3 / n_fake:.1%} of fakes; a bootstrap interval cannot show that."
        )
    if min(n_real, n_fake) < 200:
        few = min(n_real, n_fake)
        tested = "one image of a class was" if few == 1 else f"{few} images of the smaller class were"
        return f"Only {tested} tested: the intervals are wide."
    return None


def _sample(judged: Judged, label: int) -> list[dict]:
    """Return images of one class, spread evenly over the test, to show in the report."""
    own = np.flatnonzero(judged.labels == label)
    return [
        _shown(judged, place) for place in own[np.linspace(0, len(own) - 1, min(SAMPLE_SHOWN, len(own))).astype(int)]
    ]


def _worst(judged: Judged, detector: Detector) -> list[dict]:
    """Return the most confident errors first: thumbnails with truth, p_fake, path, and heat maps if available."""
    error = np.where(judged.labels == 1, 1 - judged.p_fake, judged.p_fake)
    verdicts = judged.p_fake >= detector.thresholds.fake_from
    wrong = np.flatnonzero(verdicts != (judged.labels == 1))
    worst = wrong[np.argsort(-error[wrong], kind="stable")][:WORST_SHOWN]
    heat = _heat(judged, worst, detector)
    return [_shown(judged, place) | {"heat": one} for place, one in zip(worst, heat, strict=True)]


def _heat(judged: Judged, places: np.ndarray, detector: Detector) -> list[str | None]:
    """Return the heat map over each of these images, or None if the network has none."""
    images = judged.data.images[judged.rows[places]]
    nothing: list[str | None] = [None] * len(places)
    try:
        heat = (
            heat_maps(detector.network, images, judged.p_fake[places] >= 0.5, detector.device) if len(places) else None
        )
    except UserError:
        return nothing
    if heat is None or not heat.has_places:
        return nothing
    return [
        _thumbnail(overlay(image, one), LABEL_NAMES[int(label)])
        for image, one, label in zip(images, heat.maps, judged.labels[places], strict=True)
    ]


def _shown(judged: Judged, place: int) -> dict:
    """Return one image as the report shows it: truth, p_fake, path and a thumbnail."""
    row = int(judged.rows[place])
    label = LABEL_NAMES[int(judged.labels[place])]
    thumbnail = _thumbnail(judged.data.images[row], label)
    return {"truth": label, "p_fake": float(judged.p_fake[place]), "path": judged.data.paths[row], "picture": thumbnail}


def _degraded(judged: Judged, detector: Detector, robustness: Robustness) -> dict[str, list[dict]]:
    """Return one image of each class after every degradation, with its p_fake."""
    names = [cell["degradation"] for cell in robustness.cells]
    shown: dict[str, list[dict]] = {}
    for number, label in LABEL_NAMES.items():
        row = int(judged.rows[np.flatnonzero(judged.labels == number)[0]])
        image, key = judged.data.images[row], judged.data.sha256[row]
        images = np.stack([parse_degradation(name).apply(image, key) for name in names])
        p_fakes = [one.p_fake for one in detector.judge(detector.logits(images))]
        thumbnails = [_thumbnail(one, label) for one in images]
        keys = ("degradation", "p_fake", "picture")
        shown[label] = [dict(zip(keys, one, strict=True)) for one in zip(names, p_fakes, thumbnails, strict=True)]
    return shown


def _thumbnail(image: np.ndarray, label: Label) -> str:
    return data_uri(encode_png(enlarge(image, max(1, 96 // image.shape[-1])), label))


def _flat(cell: dict) -> dict:
    """Return a cell as a table row, with each interval in two columns."""
    ends = zip(("low", "high"), (0, 1), strict=True)
    return {**cell, **{f"{name}_{end}": cell[f"{name}_interval"][place] for end, place in ends for name in _RATES}}


def _value(metrics: dict, name: str) -> str:
    return f"{metrics[name]:.3f}"


def _interval(metrics: dict, name: str) -> str:
    interval = metrics.get(f"{name}_interval")
    return f"{interval[0]:.3f} – {interval[1]:.3f}" if interval else ""
