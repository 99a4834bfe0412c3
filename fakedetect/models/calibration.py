"""Calibrate logits to probabilities, and choose thresholds for verdicts, on validation data only."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace

import numpy as np

from fakecore.labels import FAKE, REAL

DECIMALS = 6
MIN_OF_GROUP, MIN_GROUPS = 3, 20
_LOG_SLOPES = (float(np.log(0.05)), float(np.log(20)))  # of one over the temperature


@dataclass(frozen=True)
class Thresholds:
    """Thresholds of p_fake: `fake` from `fake_from` up, `real` below `real_below`, `unsure` between."""

    fake_from: float
    real_below: float
    name: str  # criterion of `fake_from`, such as "fpr<=5%"
    max_fpr: float
    max_fnr: float
    chosen_on: str  # number and kind of images for the choice

    def to_json(self) -> dict:
        return asdict(self)


@dataclass(frozen=True)
class Scaling:
    """p_fake = sigmoid(logit / temperature + bias) (Platt 1999)."""

    temperature: float
    bias: float = 0.0

    @staticmethod
    def of(facts: dict) -> Scaling:
        """Return the scaling in the content of a detector.json; without a bias in it, that is 0."""
        return Scaling(float(facts["temperature"]), float(facts.get("bias", 0.0)))

    def to_json(self) -> dict:
        return asdict(self)

    def odds(self, logits: np.ndarray) -> np.ndarray:
        """Return the calibrated logits, float64, of any shape."""
        return np.asarray(logits, dtype=np.float64) / self.temperature + self.bias

    def probability(self, logits: np.ndarray) -> np.ndarray:
        """Return p_fake, float64 in [0, 1]."""
        return np.exp(-np.logaddexp(0, -self.odds(logits)))  # the sigmoid, without overflow


def stated(p_fake: np.ndarray) -> np.ndarray:
    """Return p_fake rounded to six decimals, as in results. Verdicts use the rounded value, so that each row is consistent."""
    return np.round(p_fake, DECIMALS)


def fit_scaling(labels: np.ndarray, logits: np.ndarray) -> Scaling:
    """Return the scaling, temperature 0.05 to 20 and bias -100 to 100, that minimises the cross-entropy of validation logits.

    Classes have equal weight, so p_fake assumes as many fakes as reals. Targets follow Platt's rule ((n + 1) / (n + 2), Platt
    1999), so that a detector without errors on few images does not claim certainty.
    """
    from scipy.optimize import minimize  # its import takes half a second, which scoring avoids

    targets, weights = _targets(labels, balanced=True)
    logits = np.asarray(logits, dtype=np.float64)

    def cross_entropy(at: np.ndarray) -> float:
        return _cross_entropy(np.exp(at[0]) * logits + at[1], targets, weights)

    slope, bias = minimize(cross_entropy, (0.0, 0.0), method="L-BFGS-B", bounds=(_LOG_SLOPES, (-100, 100))).x
    return Scaling(float(np.exp(-slope)), float(bias))


def fit_temperature(labels: np.ndarray, logits: np.ndarray, *, balanced: bool = True) -> float:
    """Return the temperature, 0.05 to 20, that minimises the cross-entropy of validation logits without a bias (Guo et al.
    2017, section 4.2). Targets are as in `fit_scaling`; unless `balanced`, images have equal weight, rather than classes.
    """
    from scipy.optimize import minimize_scalar  # as above

    targets, weights = _targets(labels, balanced=balanced)

    def cross_entropy(log_slope: float) -> float:
        return _cross_entropy(np.exp(log_slope) * logits, targets, weights)

    return float(np.exp(-minimize_scalar(cross_entropy, bounds=_LOG_SLOPES, method="bounded").x))


def _targets(labels: np.ndarray, *, balanced: bool) -> tuple[np.ndarray, np.ndarray | float]:
    """Return the targets of Platt's rule, and the weights of the images."""
    fakes = labels == FAKE
    n_fake, n_real = int(fakes.sum()), int((~fakes).sum())
    targets = np.where(fakes, (n_fake + 1) / (n_fake + 2), 1 / (n_real + 2))
    weights = np.where(fakes, 0.5 / max(n_fake, 1), 0.5 / max(n_real, 1)) if balanced else 1 / len(labels)
    return targets, weights


def _cross_entropy(odds: np.ndarray, targets: np.ndarray, weights: np.ndarray | float) -> float:
    return float((weights * (np.logaddexp(0, odds) - targets * odds)).sum())  # log(1 + e^x) - t x, without overflow


def choose_on(labels: np.ndarray, logits: np.ndarray, max_fpr: float, max_fnr: float) -> tuple[Scaling, Thresholds]:
    """Return scaling and thresholds for validation images: labels (N,) and logits (versions, N), see
    `choose_thresholds`.
    """
    tiled = np.tile(labels, len(logits))
    scaling = fit_scaling(tiled, logits.ravel())
    p_fake = scaling.probability(logits.ravel())
    return scaling, choose_thresholds(tiled, p_fake, max_fpr, max_fnr, len(logits))


def choose_for_tracks(
    labels: np.ndarray,
    logits: np.ndarray,
    groups: Sequence[str | None],
    scaling: Scaling,
    images: Thresholds,
) -> Thresholds | None:
    """Return thresholds for the median over several images of one person, as in a track of a video: such medians vary less than
    single images do. None with fewer than MIN_GROUPS of either label, counting groups of MIN_OF_GROUP images or more.

    `labels` and `logits` are as for `choose_on`, `groups` names the person of each image, and `images` are the thresholds of
    single images, whose `real_below` is kept if it is lower: a median is no better sign that a face is genuine, if its fakes
    are of a kind never seen.
    """
    members: dict[tuple[str, int], list[int]] = {}
    for place, (group, label) in enumerate(zip(groups, labels, strict=True)):
        if group is not None:
            members.setdefault((group, int(label)), []).append(place)
    large = {key: places for key, places in members.items() if len(places) >= MIN_OF_GROUP}
    own = np.array([label for _, label in large])
    if min((own == REAL).sum(), (own == FAKE).sum()) < MIN_GROUPS:
        return None
    medians = np.stack(
        [np.median(logits[:, places], axis=1) for places in large.values()], axis=1
    )  # (versions, groups)
    p_fake = scaling.probability(medians.ravel())
    found = choose_thresholds(np.tile(own, len(logits)), p_fake, images.max_fpr, images.max_fnr, len(logits))
    chosen_on = found.chosen_on.replace("validation split:", "medians of people in the validation split:")
    return replace(found, real_below=min(found.real_below, images.real_below), chosen_on=chosen_on)


def choose_thresholds(
    labels: np.ndarray, p_fake: np.ndarray, max_fpr: float, max_fnr: float, versions: int = 1
) -> Thresholds:
    """Return thresholds from validation data: at most `max_fpr` of the reals are called fake, and at most `max_fnr` of the
    fakes real. `labels` and `p_fake` (N,) hold the images `versions` times, one version after the other: as they are, then
    after each of several degradations. The limits hold for each version.

    If the classes overlap, values between the two thresholds are `unsure`. Otherwise any threshold in the gap satisfies both
    limits; the one nearest to 0.5 is used for both.
    """
    parts = list(zip(np.split(labels, versions), np.split(stated(p_fake), versions), strict=True))
    reals, fakes = ([np.sort(p[own == label]) for own, p in parts] for label in (REAL, FAKE))
    n_real, n_fake = len(reals[0]), len(fakes[0])
    allowed = int(np.floor(max_fpr * n_real))  # reals allowed at or above fake_from
    highest_kept = max(p[n_real - 1 - allowed] for p in reals)
    lowest_fake_from = round(float(highest_kept) + 10**-DECIMALS, DECIMALS)
    highest_real_below = float(min(p[int(np.floor(max_fnr * n_fake))] for p in fakes))
    if highest_real_below >= lowest_fake_from:
        fake_from = real_below = float(np.clip(0.5, lowest_fake_from, highest_real_below))
    else:
        fake_from, real_below = lowest_fake_from, highest_real_below
    chosen_on = f"validation split: {n_real} real, {n_fake} fake"
    if versions > 1:
        chosen_on += f", each unchanged and after {versions - 1} degradations"
    return Thresholds(fake_from, real_below, f"fpr<={max_fpr:.3g}", max_fpr, max_fnr, chosen_on)


def reliability(labels: np.ndarray, p_fake: np.ndarray, bins: int = 10) -> list[dict]:
    """Return equal-width bins of p_fake: {"low", "high", "n", "mean_p", "share_fake"} of each non-empty bin."""
    place = np.minimum((p_fake * bins).astype(int), bins - 1)
    found = []
    for number in range(bins):
        inside = place == number
        if inside.any():
            mean_p, share = float(p_fake[inside].mean()), float((labels[inside] == FAKE).mean())
            edge = {"low": number / bins, "high": (number + 1) / bins}
            found.append({**edge, "n": int(inside.sum()), "mean_p": mean_p, "share_fake": share})
    return found


def expected_calibration_error(labels: np.ndarray, p_fake: np.ndarray, bins: int = 10) -> float:
    """Return the mean difference between predicted and observed fraction of fakes over bins, weighted by images (Guo et al.
    2017, section 2)."""
    table = reliability(labels, p_fake, bins)
    return float(sum(row["n"] * abs(row["mean_p"] - row["share_fake"]) for row in table) / len(labels))
