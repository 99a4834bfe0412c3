"""Metrics of attribute classifiers. Arrays in, numbers out; 1 is yes, 0 is no."""

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
    """What a report says of one attribute: `truth` (N,) of both values, `p` (N,) of yes.

    `commoner` is the value that more training images have: `accuracy_of_commoner` is that of always saying it.
    AUROC and balanced accuracy have 95 % bootstrap intervals, over groups where there are some.
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
    """What `attributes select --min-p` would choose: how many, and how many of them are truly yes; None of none."""
    chosen = p >= least
    n = int(chosen.sum())
    return {"min_p": least, "chosen": n, "share_yes": float(truth[chosen].mean()) if n else None}
