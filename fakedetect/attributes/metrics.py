"""Compute the metrics of attribute classifiers from arrays; 1 is yes, 0 is no."""

from __future__ import annotations

from collections.abc import Hashable, Sequence

import numpy as np

from fakedetect.evaluation.metrics import bootstrap_intervals, ranking_metrics, verdict_metrics
from fakedetect.models.calibration import Thresholds, expected_calibration_error

YES_FROM = 0.5  # p from which the answer is yes
CHOICES = (0.5, 0.8, 0.9, 0.95)  # of --min-p: what each would choose
_AT_HALF = Thresholds(YES_FROM, YES_FROM, "p >= 0.5", 0.5, 0.5, "nothing")


def attribute_metrics(
    truth: np.ndarray,
    p: np.ndarray,
    *,
    commoner: int,
    groups: Sequence[Hashable | None] | None = None,
    seed: int = 0,
) -> dict:
    """Return the metrics of one attribute: `truth` (N,) contains both values, `p` (N,) is the probability of yes.

    `commoner` is the majority value in training; `accuracy_of_commoner` is the accuracy of always predicting it.
    AUROC and balanced accuracy have 95 % bootstrap intervals; groups, if given, are resampled as a whole.
    """
    verdicts = verdict_metrics(truth, p, _AT_HALF)
    intervals = bootstrap_intervals(truth, p, _AT_HALF, groups=groups, seed=seed)
    return {
        "n": len(truth),
        "n_yes": int(truth.sum()),
        "base_rate": float(truth.mean()),
        "accuracy": verdicts["accuracy"],
        "accuracy_of_commoner": float((truth == commoner).mean()),
        "commoner": "yes" if commoner else "no",
        "balanced_accuracy": verdicts["balanced_accuracy"],
        "balanced_accuracy_interval": intervals["balanced_accuracy"],
        "auroc": ranking_metrics(truth, p)["auroc"],
        "auroc_interval": intervals["auroc"],
        "ece": expected_calibration_error(truth, p),
        "choices": [_choice(truth, p, least) for least in CHOICES],
    }


def _choice(truth: np.ndarray, p: np.ndarray, least: float) -> dict:
    """Return the effect of `attributes select --min-p`: images chosen and their share of true yes (None if none is chosen)."""
    chosen = p >= least
    n = int(chosen.sum())
    return {"min_p": least, "chosen": n, "share_yes": float(truth[chosen].mean()) if n else None}
