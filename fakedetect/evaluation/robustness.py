"""How a detector fares when pictures were compressed, blurred, resized, noisy or cropped before it saw them."""

from __future__ import annotations

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import groupby

import numpy as np

from fakecore.progress import Bar, progress_bar
from fakedetect.data.degrade import GRID, NONE, Degradation, parse_degradation
from fakedetect.data.equalise import equalised
from fakedetect.data.loading import LabelledImages
from fakedetect.evaluation.metrics import all_metrics
from fakedetect.models.calibration import probability
from fakedetect.models.detector import SCORE_BATCH, Detector

TOLERANCE = 0.05  # what AUROC or a rate may lose against the pictures as they are, and still be said to hold
BLIND = 0.7  # below this AUROC there is next to nothing that a degradation could take away
_CHUNK = 4 * SCORE_BATCH  # images degraded at a time, so that a test may be larger than memory
_MEASURED = ("auroc", "auroc_interval", "fpr", "fpr_interval", "tpr", "tpr_interval", "n_real", "n_fake")
_LABELS = {
    "jpeg": "JPEG of quality",
    "blur": "Blur of sigma (pixels)",
    "shrink": "Shrinking, and back, to",
    "enlarge": "Enlarging, and back, to",
    "noise": "Noise of sigma (grey levels)",
    "crop": "Centre crop to",
}
_TOLD = {
    "auroc": "AUROC {:.2f} instead of {:.2f}",
    "tpr": "catches {:.0%} of fakes instead of {:.0%}",
    "fpr": "accuses {:.0%} of reals instead of {:.0%}",
}


@dataclass(frozen=True)
class Robustness:
    """One cell per degradation, `none` first, and what they come to in words, a line for each kind."""

    cells: list[dict]
    words: list[str]

    def to_json(self) -> dict:
        return {"tolerance": TOLERANCE, "cells": self.cells, "words": self.words}


def measure_robustness(
    detector: Detector, data: LabelledImages, rows: np.ndarray, metrics: dict, names: Sequence[str] = GRID
) -> Robustness:
    """Judge `rows` of `data` after each of the degradations `names`; `metrics` are those of the pictures as they are.

    Rates are at the detector's own threshold, which no degradation moves.
    """
    chosen = [parse_degradation(name) for name in names if name != NONE]
    labels, groups = data.labels[rows], [data.groups[row] for row in rows]
    cells = [_cell(parse_degradation(NONE), metrics, metrics)]
    with progress_bar("robustness", len(chosen) * len(rows), "images") as bar:
        for degradation in chosen:
            logits, outside = degraded_outputs(detector, data, rows, degradation, bar)
            p_fake = probability(logits, detector.facts["temperature"])
            found = all_metrics(labels, p_fake, detector.thresholds, groups=groups, outside=outside)
            cells.append(_cell(degradation, found, metrics))
    return Robustness(cells, in_words(cells))


def degraded_outputs(
    detector: Detector, data: LabelledImages, rows: np.ndarray, degradation: Degradation, bar: Bar | None = None
) -> tuple[np.ndarray, np.ndarray | None]:
    """What Detector.outputs says of `rows` of `data`, each degraded at the detector's own resolution before it is judged."""

    def degrade(row: int) -> np.ndarray:
        made = degradation.apply(data.images[row], data.sha256[row])
        return made if detector.equalise_jpeg is None else equalised(made, detector.equalise_jpeg)

    found = []
    with ThreadPoolExecutor(os.cpu_count() or 1) as pool:
        for start in range(0, len(rows), _CHUNK):
            found.append(detector.outputs(np.stack(list(pool.map(degrade, rows[start : start + _CHUNK])))))
            if bar:
                bar.advance(len(found[-1][0]))
    if not found:
        return np.empty(0), None
    logits, outside = zip(*found, strict=True)
    return np.concatenate(logits), None if outside[0] is None else np.concatenate(outside)


def in_words(cells: Sequence[dict]) -> list[str]:
    """What holds and what breaks, a line for each kind of degradation, from its gentlest strength to its harshest."""
    told = []
    if cells[0]["auroc"] < BLIND:
        told.append(
            f"Even as they are it hardly tells fakes from reals (AUROC {cells[0]['auroc']:.2f}): that a degradation takes "
            "nothing more away means little."
        )
    families = sorted(cells[1:], key=lambda cell: (list(_LABELS).index(_family(cell)), _harshness(cell)))
    for family, own in groupby(families, key=_family):
        states: dict[str, list[str]] = {"holds": [], "unclear": [], "breaks": []}
        for cell in own:
            why = f" ({cell['why']})" if cell["why"] and not states[cell["state"]] else ""
            states[cell["state"]].append(f"{cell['amount']:g}{why}")
        parts = [
            f"{'may break' if state == 'unclear' else state} at {_listed(all_)}"
            for state, all_ in states.items()
            if all_
        ]
        told.append(f"{_LABELS[family]}: {'; '.join(parts)}.")
    return told


def _cell(degradation: Degradation, found: dict, untouched: dict) -> dict:
    """A row of the grid: what was measured, and whether it `holds`, `breaks` or is `unclear`, with the reason."""
    worse = {
        "auroc": (untouched["auroc"] - found["auroc"], found["auroc_interval"][1] < untouched["auroc"]),
        "tpr": (untouched["tpr"] - found["tpr"], found["tpr_interval"][1] < untouched["tpr"]),
        "fpr": (found["fpr"] - untouched["fpr"], found["fpr_interval"][0] > untouched["fpr"]),
    }
    # Beyond the tolerance, and then beyond what chance does to so few images.
    lost = {name: surely for name, (loss, surely) in worse.items() if loss > TOLERANCE + 1e-9}
    state = "breaks" if any(lost.values()) else "unclear" if lost else "holds"
    why = [
        _TOLD[name].format(found[name], untouched[name])
        for name, surely in lost.items()
        if surely or state == "unclear"
    ]
    told = {"degradation": degradation.name, "kind": degradation.kind, "amount": degradation.amount}
    return {
        **told,
        "words": degradation.words,
        **{name: found[name] for name in _MEASURED},
        "state": state,
        "why": ", ".join(why) or None,
    }


def _family(cell: dict) -> str:
    if cell["kind"] == "resize":
        return "shrink" if cell["amount"] < 1 else "enlarge"
    return cell["kind"]


def _harshness(cell: dict) -> float:
    return -cell["amount"] if _family(cell) in ("jpeg", "shrink", "crop") else cell["amount"]


def _listed(words: list[str]) -> str:
    return ", ".join(words[:-1]) + (" and " if len(words) > 1 else "") + words[-1]
