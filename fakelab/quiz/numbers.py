"""Numbers of a quiz: how often the fake of a pair is ranked above the real, the AUROC, and their intervals."""

from __future__ import annotations

import math

import numpy as np

_Z = 1.959963984540054  # of a 95 % interval


def pairs_right(reals: np.ndarray, fakes: np.ndarray) -> np.ndarray:
    """Return for each pair 1.0 if the fake has the higher score, 0.5 for equal scores, else 0.0.

    `reals` and `fakes`, (N,), are scores that rise with the probability of fake. The mean estimates the area under the ROC
    curve: it is the share of right answers in a choice between two (Green and Swets 1966), which a person can make too.
    """
    return np.where(fakes > reals, 1.0, np.where(fakes == reals, 0.5, 0.0))


def auroc(reals: np.ndarray, fakes: np.ndarray) -> float:
    """Return the AUROC over all images, each fake against each real, of scores that rise with the probability of fake."""
    return float(pairs_right(reals[:, None], fakes[None, :]).mean())


def wilson_interval(share: float, n: int) -> tuple[float, float]:
    """Return Wilson's 95 % interval of a share of `n` answers; `share` times `n` may end in a half, for a tie."""
    middle, spread = share + _Z**2 / (2 * n), _Z * math.sqrt(share * (1 - share) / n + (_Z / (2 * n)) ** 2)
    scale = 1 + _Z**2 / n
    return max(0.0, (middle - spread) / scale), min(1.0, (middle + spread) / scale)


def auroc_interval(area: float, n: int) -> tuple[float, float]:
    """Return the 95 % interval of an AUROC over `n` reals and `n` fakes: all areas whose own standard error (Hanley and McNeil
    1982) reaches the found one (Newcombe 2006, method 5). Unlike a bootstrap, it has a width at an AUROC of 1.
    """
    return _edge(area, 0.0, n), _edge(area, 1.0, n)


def _edge(area: float, end: float, n: int) -> float:
    """Return the area between `area` and `end` that is just compatible with the found `area`, by bisection."""
    near, far = area, end
    for _ in range(60):
        middle = (near + far) / 2
        near, far = (middle, far) if abs(middle - area) <= _Z * _standard_error(middle, n) else (near, middle)
    return near


def _standard_error(area: float, n: int) -> float:
    """Return the standard error of an AUROC over `n` reals and `n` fakes (Hanley and McNeil 1982)."""
    others = (n - 1) * ((1 - area) / (2 - area) + area / (1 + area))
    return math.sqrt(area * (1 - area) * (1 + others)) / n


def against_chance(interval: tuple[float, float]) -> str:
    """Return in words whether a share with this interval differs from chance."""
    low, high = interval
    if low <= 0.5 <= high:
        return "not different from chance"
    return "better than chance" if low > 0.5 else "worse than chance"
