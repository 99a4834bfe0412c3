"""Measure a detector on images that are compressed, blurred, resized, noisy or cropped."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import groupby

import numpy as np

from fakecore.cpus import usable_cpus
from fakecore.progress import Bar, progress_bar
from fakecore.sets.streaming import in_batches
from fakedetect.data.degrade import GRID, NONE, Degradation, parse_degradation
from fakedetect.data.equalise import equalised
from fakedetect.data.loading import LabelledImages
from fakedetect.evaluation.metrics import all_metrics
from fakedetect.models.detector import SCORE_BATCH, Detector

TOLERANCE = 0.05  # loss of AUROC or of a rate, against the original images, that still counts as "holds"
BLIND = 0.7  # below this AUROC, degradations cannot make a detector much worse
_CHUNK = 4 * SCORE_BATCH  # images degraded at once, so that a test can be larger than memory
_MEASURED = ("auroc", "auroc_interval", "fpr", "fpr_interval", "tpr", "tpr_interval", "n_real", "n_fake")
_LABELS = {
    "jpeg": "JPEG (quality)",
    "webp": "WebP (quality)",
    "blur": "Blur (sigma, pixels)",
    "shrink": "Downscaling (factor)",
    "enlarge": "Upscaling (factor)",
    "noise": "Noise (sigma, grey levels)",
    "crop": "Centre crop (share of the side)",
    "gamma": "Gamma (exponent)",
}
_REASONS = {
    "auroc": "AUROC {:.2f} instead of {:.2f}",
    "tpr": "calls {:.0%} of fakes fake instead of {:.0%}",
    "fpr": "calls {:.0%} of reals fake instead of {:.0%}",
}


@dataclass(frozen=True)
class Robustness:
    """One cell per degradation, `none` first, and a summary sentence for each kind of degradation."""

    cells: list[dict]
    words: list[str]

    def to_json(self) -> dict:
        return {"tolerance": TOLERANCE, "cells": self.cells, "words": self.words}


def measure_robustness(
    detector: Detector, data: LabelledImages, rows: np.ndarray, metrics: dict, names: Sequence[str] = GRID
) -> Robustness:
    """Test `rows` of `data` after each of the degradations `names`; `metrics` are those of the original images.

    Rates use the detector's own threshold, the same for all degradations.
    """
    chosen = [parse_degradation(name) for name in names if name != NONE]
    labels, groups = data.labels[rows], [data.groups[row] for row in rows]
    cells = [_cell(parse_degradation(NONE), metrics, metrics)]
    with progress_bar("robustness", len(chosen) * len(rows), "images") as bar:
        for degradation in chosen:
            logits, outside = degraded_outputs(detector, data, rows, degradation, bar)
            p_fake = detector.probability(logits)
            found = all_metrics(labels, p_fake, detector.thresholds, groups=groups, outside=outside)
            cells.append(_cell(degradation, found, metrics))
    return Robustness(cells, summarise(cells))


def degraded_outputs(
    detector: Detector, data: LabelledImages, rows: np.ndarray, degradation: Degradation, bar: Bar | None = None
) -> tuple[np.ndarray, np.ndarray | None]:
    """Return Detector.outputs for `rows` of `data`, each degraded at the detector's own resolution."""

    def degrade(image: np.ndarray, row: int) -> np.ndarray:
        made = degradation.apply(image, data.sha256[row])
        return made if detector.equalise_jpeg is None else equalised(made, detector.equalise_jpeg)

    found = []
    with ThreadPoolExecutor(usable_cpus()) as pool:
        batches = in_batches(data.images, rows, _CHUNK)
        for start, batch in zip(range(0, len(rows), _CHUNK), batches, strict=True):
            found.append(detector.outputs(np.stack(list(pool.map(degrade, batch, rows[start : start + _CHUNK])))))
            if bar:
                bar.advance(len(found[-1][0]))
    if not found:
        return np.empty(0), None
    logits, outside = zip(*found, strict=True)
    return np.concatenate(logits), None if outside[0] is None else np.concatenate(outside)


def summarise(cells: Sequence[dict]) -> list[str]:
    """Return a sentence for each kind of degradation: what holds and what breaks, from weak to strong."""
    described = []
    if cells[0]["auroc"] < BLIND:
        described.append(
            f"Even on the original images it hardly separates fakes from reals (AUROC {cells[0]['auroc']:.2f}): "
            "robustness to degradations then means little."
        )
    families = sorted(cells[1:], key=lambda cell: (list(_LABELS).index(_family(cell)), _severity(cell)))
    for family, own in groupby(families, key=_family):
        states: dict[str, list[str]] = {"holds": [], "unclear": [], "breaks": []}
        for cell in own:
            why = f" ({cell['why']})" if cell["why"] and not states[cell["state"]] else ""
            states[cell["state"]].append(f"{cell['amount']:g}{why}")
        parts = [
            f"{'may break' if state == 'unclear' else state} at {_join(all_)}" for state, all_ in states.items() if all_
        ]
        described.append(f"{_LABELS[family]}: {'; '.join(parts)}.")
    return described


def _cell(degradation: Degradation, found: dict, original: dict) -> dict:
    """Return one row: the metrics, whether the detector `holds`, `breaks` or is `unclear`, and why."""
    worse = {
        "auroc": (original["auroc"] - found["auroc"], found["auroc_interval"][1] < original["auroc"]),
        "tpr": (original["tpr"] - found["tpr"], found["tpr_interval"][1] < original["tpr"]),
        "fpr": (found["fpr"] - original["fpr"], found["fpr_interval"][0] > original["fpr"]),
    }
    # Losses larger than the tolerance, and whether they are statistically significant.
    lost = {name: surely for name, (loss, surely) in worse.items() if loss > TOLERANCE + 1e-9}
    state = "breaks" if any(lost.values()) else "unclear" if lost else "holds"
    why = [
        _REASONS[name].format(found[name], original[name])
        for name, surely in lost.items()
        if surely or state == "unclear"
    ]
    described = {"degradation": degradation.name, "kind": degradation.kind, "amount": degradation.amount}
    return {
        **described,
        "words": degradation.words,
        **{name: found[name] for name in _MEASURED},
        "state": state,
        "why": ", ".join(why) or None,
    }


def _family(cell: dict) -> str:
    if cell["kind"] == "resize":
        return "shrink" if cell["amount"] < 1 else "enlarge"
    return cell["kind"]


def _severity(cell: dict) -> float:
    return -cell["amount"] if _family(cell) in ("jpeg", "shrink", "crop") else cell["amount"]


def _join(words: list[str]) -> str:
    return ", ".join(words[:-1]) + (" and " if len(words) > 1 else "") + words[-1]
