"""Metrics of a race: from logits to rows of results.csv, means with intervals, and rank correlations."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from statistics import NormalDist

import numpy as np
from scipy.stats import rankdata, spearmanr

from fakecore.device import derive_seed
from fakecore.labels import FAKE, REAL
from fakedetect.evaluation.metrics import ranking_metrics

COLUMNS = (
    *("run", "detector", "train_epoch", "test_epoch", "degrade", "seed", "n_real", "n_fake"),
    *("auroc", "auroc_lo", "auroc_hi", "ap", "eer", "tpr_at_fpr5", "accuracy", "fit_seconds", "score_images_per_s"),
)
TIMINGS = ("fit_seconds", "score_images_per_s")  # of results.csv: the other columns are reproducible
ALL, FIXED = "all", "fixed"  # values of train_epoch that are not an epoch
CROSS = " > "  # in the column `run`: between the run trained on and the run tested on
LEAST_EPOCHS = 6  # for a rank correlation: with fewer, the bootstrap interval is too narrow
_Z = NormalDist().inv_cdf(0.975)
_RESAMPLES = 1000
_MOST_LOST = 0.05  # largest fraction of resamples without ranks: with more, the interval may not contain the estimate


def detection_metrics(reals: np.ndarray, fakes: np.ndarray, threshold: float) -> dict[str, float]:
    """Return the metrics of a detector from its logits for reals (n,) and fakes (m,); logits >= `threshold` are fake.

    The 95 % interval of AUROC is DeLong's. At an AUROC of 1 it has no width, which does not mean certainty.
    """
    scores = np.concatenate([reals, fakes])
    labels = np.repeat([REAL, FAKE], [len(reals), len(fakes)])
    ranking = ranking_metrics(labels, scores)
    spread = _Z * auroc_error(reals, fakes)
    return {
        "n_real": len(reals),
        "n_fake": len(fakes),
        **{name: round(ranking[name], 6) for name in ("auroc", "ap", "eer", "tpr_at_fpr5")},
        "auroc_lo": round(max(0.0, ranking["auroc"] - spread), 6),
        "auroc_hi": round(min(1.0, ranking["auroc"] + spread), 6),
        "accuracy": round(float(((scores >= threshold) == (labels == FAKE)).mean()), 6),
    }


def auroc_error(reals: np.ndarray, fakes: np.ndarray) -> float:
    """Return the standard error of AUROC over test images: DeLong et al. 1988, computed from ranks (Sun and Xu 2014)."""
    n, m = len(reals), len(fakes)
    if min(n, m) < 2:
        return 0.0
    ranks = rankdata(np.concatenate([fakes, reals]))
    of_fakes = (ranks[:m] - rankdata(fakes)) / n  # for each fake, the fraction of reals below it
    of_reals = 1 - (ranks[m:] - rankdata(reals)) / m
    return float(np.sqrt(of_fakes.var(ddof=1) / m + of_reals.var(ddof=1) / n))


def over_seeds(rows: Sequence[dict]) -> dict[str, float] | None:
    """Return the mean AUROC of one test over seeds and its 95 % interval, from the variances over seeds and over test images
    (Rubin 1987's rule for several estimates of one number). None without rows.
    """
    if not rows:
        return None
    found = np.array([row["auroc"] for row in rows])
    within = np.mean([((row["auroc_hi"] - row["auroc_lo"]) / (2 * _Z)) ** 2 for row in rows])
    between = found.var(ddof=1) * (1 + 1 / len(found)) if len(found) > 1 else 0.0
    mean, spread = float(found.mean()), _Z * float(np.sqrt(within + between))
    return {"mean": mean, "low": max(0.0, mean - spread), "high": min(1.0, mean + spread), "seeds": len(found)}


def select_rows(rows: Sequence[dict], **wanted: object) -> list[dict]:
    """Return the rows that have all of these values."""
    return [row for row in rows if all(row[name] == value for name, value in wanted.items())]


def cross_name(home: str, away: str) -> str:
    """Return the value of the column `run` for detectors trained on the run `home` and tested on the fakes of `away`."""
    return f"{home}{CROSS}{away}"


def same_epoch(rows: Sequence[dict], run: str, detector: str, epoch: int, degrade: str) -> dict[str, float] | None:
    """Return the AUROC at one epoch, over seeds, of the detector trained on that epoch, or of a finished detector."""
    own = select_rows(rows, run=run, detector=detector, test_epoch=epoch, degrade=degrade)
    return over_seeds([row for row in own if row["train_epoch"] in (epoch, FIXED)])


def correlation(rows: Sequence[dict], distances: dict[int, float]) -> dict[str, object]:
    """Return Spearman's rank correlation, over epochs, of the generator's distance and the AUROC of one detector on the fakes
    of that epoch: +1 if fakes nearer to the reals are always harder to detect.

    The interval is a 95 % bootstrap over epochs and, within each, over seeds. `rho` is None if there are too few epochs or
    the AUROC is nearly constant; `why` gives the reason.
    """
    epochs = sorted({row["test_epoch"] for row in rows} & distances.keys())
    empty = {"rho": None, "low": None, "high": None, "epochs": len(epochs)}
    if len(epochs) < LEAST_EPOCHS:
        return {**empty, "why": f"{len(epochs)} epochs are too few"}
    found = [np.array([row["auroc"] for row in select_rows(rows, test_epoch=epoch)]) for epoch in epochs]
    far = np.array([distances[epoch] for epoch in epochs])
    means = np.array([one.mean() for one in found])
    if np.ptp(means) == 0 or np.ptp(far) == 0:
        return {**empty, "why": "its AUROC is the same at all epochs"}
    random = np.random.default_rng(derive_seed(0, "correlation"))
    drawn = []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a resample of a single epoch has no ranks and is ignored
        for _ in range(_RESAMPLES):
            picks = random.integers(0, len(epochs), len(epochs))
            drawn.append(spearmanr(far[picks], [random.choice(found[place]) for place in picks]).statistic)
    if np.isnan(drawn).mean() > _MOST_LOST:
        return {**empty, "why": "its AUROC is the same at nearly all epochs"}
    low, high = np.nanpercentile(drawn, (2.5, 97.5))
    rho = float(spearmanr(far, means).statistic)
    return {"rho": rho, "low": float(low), "high": float(high), "epochs": len(epochs), "why": None}


def headline(
    rows: Sequence[dict], runs: Sequence[dict], distances: dict[str, dict[int, dict]], detectors: list[str]
) -> str:
    """Summarise the race in two or three sentences, computed from the numbers of its first run."""
    run = runs[0]["name"]
    epochs = sorted(runs[0]["epochs"].values())
    first, last = epochs[0], epochs[-1]
    after = {name: same_epoch(rows, run, name, last, "none") for name in detectors}
    aurocs = {name: one["mean"] for name, one in after.items() if one}
    if not aurocs:
        return "Nothing could be measured."
    far = distances[run]
    sentences = []
    if first != last and far.get(first) and far.get(last):
        change = f"changes from {far[first]['frechet']:.3g} to {far[last]['frechet']:.3g}"
        sentences.append(
            f"From epoch {first} to {last}, the Frechet distance of the fakes of {run} to real images {change}."
        )
    ranked = sorted(aurocs, key=lambda name: -aurocs[name])
    listed = ", ".join(f"{name} {aurocs[name]:.3f}" for name in ranked)
    sentences.append(f"AUROC of detectors trained and tested on the fakes of epoch {last}: {listed}.")
    if aged := _early_detector(rows, run, epochs, detectors):
        sentences.append(aged)
    return " ".join(sentences)


def _early_detector(rows: Sequence[dict], run: str, epochs: list[int], detectors: list[str]) -> str | None:
    """Describe how a detector of an early epoch performs on the last one: the detector that loses most."""
    early = next((epoch for epoch in epochs[1:-1]), None)
    if early is None:
        return None
    losses = {}
    for name in detectors:
        own = select_rows(rows, run=run, detector=name, degrade="none", test_epoch=epochs[-1])
        then = over_seeds([row for row in own if row["train_epoch"] == early])
        now = over_seeds([row for row in own if row["train_epoch"] == epochs[-1]])
        if then and now:
            losses[name] = (now["mean"] - then["mean"], then["mean"], now["mean"])
    if not losses:
        return None
    name = max(losses, key=lambda one: losses[one][0])
    loss, early_auroc, _ = losses[name]
    if loss < 0.005:
        return f"Detectors trained on epoch {early} detect the fakes of epoch {epochs[-1]} as well as those trained on them."
    return f"If trained on epoch {early}, {name} reaches AUROC {early_auroc:.3f} on the fakes of epoch {epochs[-1]}."
