"""Metrics: arrays in, numbers out. Higher is better unless the name contains error, loss or rate."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import Any

import numpy as np

from fakecore.labels import FAKE, LABEL_NAMES, REAL
from fakedetect.models.calibration import Thresholds, expected_calibration_error, stated

RESAMPLES = 500
INTERVAL = (2.5, 97.5)  # percentiles of a 95 % interval


def ranking_metrics(labels: np.ndarray, p_fake: np.ndarray) -> dict[str, float]:
    """Return threshold-free metrics: AUROC, average precision, EER, TPR at 1 % and 5 % FPR. NaN if a class is missing.

    `labels` (N,) real 0 / fake 1; `p_fake` (N,) or any score that rises with it.
    """
    return _Ranking(labels, p_fake).metrics(np.ones(len(labels)))


class _Ranking:
    """Images in the order of their scores, sorted once for all resamples."""

    def __init__(self, labels: np.ndarray, p_fake: np.ndarray):
        self._order = np.argsort(-p_fake, kind="stable")
        self._fake = labels[self._order] == FAKE
        # The last place of each distinct score: all points of the ROC curve, since with tied scores the best rate below a
        # limit can be on a straight segment.
        self._ends = np.flatnonzero(np.diff(p_fake[self._order], append=np.nan))

    def metrics(self, counts: np.ndarray) -> dict[str, float]:
        """Return the metrics if image i occurs `counts[i]` times, (N,)."""
        ordered = counts[self._order]
        true = np.cumsum(ordered * self._fake)[self._ends]
        false = np.cumsum(ordered * ~self._fake)[self._ends]
        if not len(true) or not true[-1] or not false[-1]:
            return dict.fromkeys(("auroc", "ap", "eer", "tpr_at_fpr1", "tpr_at_fpr5"), float("nan"))
        tpr, fpr = (np.concatenate([[0.0], rate / rate[-1]]) for rate in (true, false))
        return {
            "auroc": float((np.diff(fpr) * (tpr[1:] + tpr[:-1])).sum() / 2),
            "ap": float((np.diff(tpr) * true / np.maximum(true + false, 1)).sum()),
            "eer": equal_error_rate(fpr, tpr),
            "tpr_at_fpr1": float(tpr[fpr <= 0.01].max()),
            "tpr_at_fpr5": float(tpr[fpr <= 0.05].max()),
        }


def equal_error_rate(fpr: np.ndarray, tpr: np.ndarray) -> float:
    """Return the equal error rate: the point of the ROC curve where FPR = 1 - TPR."""
    gap = fpr - (1 - tpr)  # rises from -1 to 1
    after = int(np.argmax(gap >= 0))
    if after == 0 or gap[after] == gap[after - 1]:
        return float(fpr[after])
    fraction = -gap[after - 1] / (gap[after] - gap[after - 1])
    return float(fpr[after - 1] + fraction * (fpr[after] - fpr[after - 1]))


def verdict_metrics(
    labels: np.ndarray, p_fake: np.ndarray, thresholds: Thresholds, outside: np.ndarray | None = None
) -> dict:
    """Return the metrics at the chosen thresholds; the confusion matrix is at `fake_from`. Images `outside` the detector's
    domain, bool (N,), are called neither real nor fake.
    """
    p_fake = stated(p_fake)
    inside = np.ones(len(labels), dtype=bool) if outside is None else ~outside
    called_fake, called_real = inside & (p_fake >= thresholds.fake_from), inside & (p_fake < thresholds.real_below)
    real, fake = labels == REAL, labels == FAKE
    true_fake, false_fake = int((called_fake & fake).sum()), int((called_fake & real).sum())
    n_real, n_fake = int(real.sum()), int(fake.sum())
    tpr, fpr = true_fake / max(n_fake, 1), false_fake / max(n_real, 1)
    verdicts = {
        name: {
            "real": int((called_real & which).sum()),
            "unsure": int((~called_real & ~called_fake & which).sum()),
            "fake": int((called_fake & which).sum()),
        }
        for name, which in (("real", real), ("fake", fake))
    }
    return {
        "tpr": tpr,
        "fpr": fpr,
        "balanced_accuracy": (tpr + 1 - fpr) / 2,
        "accuracy": (true_fake + n_real - false_fake) / max(len(labels), 1),
        "confusion": [
            [n_real - false_fake, false_fake],
            [n_fake - true_fake, true_fake],
        ],  # rows: truth, columns: verdict
        "verdicts": verdicts,
    }


def all_metrics(
    labels: np.ndarray,
    p_fake: np.ndarray,
    thresholds: Thresholds,
    *,
    groups: Sequence[Hashable | None] | None = None,
    seed: int = 0,
    seen: int | None = 0,
    outside: np.ndarray | None = None,
) -> dict:
    """Return all metrics of a report, with 95 % bootstrap intervals as NAME_interval: [low, high].

    Images of one group (identity, video) are resampled together, because they are not independent. `seen`
    is the number of images that the detector was trained or tuned on; None is unknown.
    """
    intervals = bootstrap_intervals(labels, p_fake, thresholds, groups=groups, seed=seed, outside=outside)
    return {
        "n_real": int((labels == REAL).sum()),
        "n_fake": int((labels == FAKE).sum()),
        "seen": seen,
        **ranking_metrics(labels, p_fake),
        **verdict_metrics(labels, p_fake, thresholds, outside),
        "outside_domain": None
        if outside is None
        else {n: int((outside & (labels == k)).sum()) for k, n in LABEL_NAMES.items()},
        "ece": expected_calibration_error(labels, p_fake),
        "brier_loss": float(np.mean((p_fake - labels) ** 2)),
        **{f"{name}_interval": interval for name, interval in intervals.items()},
        "interval": "95 %, bootstrap over "
        + ("groups" if groups is not None and any(g is not None for g in groups) else "images")
        + f", {RESAMPLES} resamples",
    }


def bootstrap_intervals(
    labels: np.ndarray,
    p_fake: np.ndarray,
    thresholds: Thresholds,
    *,
    groups: Sequence[Hashable | None] | None = None,
    seed: int = 0,
    outside: np.ndarray | None = None,
) -> dict[str, list[float]]:
    """Return percentile intervals over resamples of the groups within each class, so that every resample has both."""
    random = np.random.default_rng(seed)
    classes = [_clusters(labels, groups, label) for label in (REAL, FAKE)]
    ranking, fake = _Ranking(labels, p_fake), labels == FAKE
    called_fake = stated(p_fake) >= thresholds.fake_from
    if outside is not None:
        called_fake &= ~outside
    drawn: dict[str, list[float]] = {}
    for _ in range(RESAMPLES):
        rows = np.concatenate([_resample(clusters, random) for clusters in classes])
        counts = np.bincount(rows, minlength=len(labels))  # how often each image was drawn
        tpr, fpr = (counts[called_fake & of].sum() / max(counts[of].sum(), 1) for of in (fake, ~fake))
        values = {**ranking.metrics(counts), "tpr": tpr, "fpr": fpr, "balanced_accuracy": (tpr + 1 - fpr) / 2}
        for name, value in values.items():
            drawn.setdefault(name, []).append(value)
    return {name: [float(edge) for edge in np.percentile(values, INTERVAL)] for name, values in drawn.items()}


def _clusters(labels, groups: Sequence[Hashable | None] | None, label: int) -> np.ndarray | list[np.ndarray]:
    """Return the rows of one class: one array if no image has a group (the fast case), else an array per group."""
    rows: Any = np.flatnonzero(labels == label)
    if groups is None or all(groups[row] is None for row in rows):
        return rows
    members: dict[Hashable, list[int]] = {}
    for row in rows:
        key = ("alone", row) if groups[row] is None else ("group", groups[row])
        members.setdefault(key, []).append(int(row))
    return [np.array(own) for own in members.values()]


def _resample(clusters: np.ndarray | list[np.ndarray], random: np.random.Generator) -> np.ndarray:
    picks = random.integers(0, len(clusters), len(clusters))
    return clusters[picks] if isinstance(clusters, np.ndarray) else np.concatenate([clusters[i] for i in picks])
