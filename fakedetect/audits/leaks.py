"""Measure how well one fact about files, or all together, separates reals from fakes. Arrays in, numbers out."""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from statistics import NormalDist
from typing import Any

import numpy as np
from threadpoolctl import threadpool_limits

from fakecore.labels import FAKE, LABEL_NUMBERS, REAL

LEVEL = 0.6  # AUROC above which a cue is a leak; 0.5: no separation, 1: complete separation
CONFIDENCE = 0.999  # of intervals: many cues are tested, and held-out scores vary more than the formula says
MIN_IMAGES = 10  # per class; with fewer, chance can separate any two
FOLDS = 5
EXAMPLES = 3  # example files per class and cue
_LEVELS = 30  # distinct values of a text cue; rarer ones are merged


@dataclass(frozen=True)
class Strength:
    """AUROC in [0.5, 1] on held-out files, and its interval at CONFIDENCE; both None if there are too few files."""

    auroc: float | None
    interval: list[float] | None

    @property
    def alarming(self) -> bool:
        """Whether the AUROC is above LEVEL and the interval excludes 0.5."""
        if self.auroc is None or self.interval is None:
            return False
        return self.auroc > LEVEL and self.interval[0] > 0.5


@dataclass(frozen=True)
class Cue:
    """One fact, and how well it alone separates reals from fakes."""

    name: str
    strength: Strength
    higher_in: str | None  # "real" | "fake": the class with the higher numbers; None for text, and if equal
    real: str  # values of reals as text; numbers as median (5th to 95th percentile)
    fake: str
    varies: bool  # False: equal in all files
    examples: dict[str, list[str]]  # {"real": file names with the value, "fake": ...}, the most typical first

    def to_json(self) -> dict:
        return {
            "name": self.name,
            "auroc": self.strength.auroc,
            "interval": self.strength.interval,
            "alarming": self.strength.alarming,
            "higher_in": self.higher_in,
            "real": self.real,
            "fake": self.fake,
            "examples": self.examples,
        }


class Folds:
    """Cross-validation folds, stratified by class, with each group in one fold. `parts` is empty with too few files."""

    def __init__(self, labels: np.ndarray, groups: Sequence[Hashable | None], seed: int = 0):
        from sklearn.model_selection import StratifiedGroupKFold, StratifiedKFold

        keys = [("alone", row) if group is None else ("group", group) for row, group in enumerate(groups)]
        numbers = {key: number for number, key in enumerate(dict.fromkeys(keys))}
        self.labels, self.groups = labels, np.array([numbers[key] for key in keys], dtype=np.int64)
        own = [self.groups[labels == label] for label in (REAL, FAKE)]
        self.parts: list[tuple[np.ndarray, np.ndarray]] = []
        if min(len(rows) for rows in own) < MIN_IMAGES or min(len(np.unique(rows)) for rows in own) < 2:
            return
        folds = min(FOLDS, *(len(np.unique(rows)) for rows in own))
        if len(numbers) == len(labels):  # equivalent and faster
            parts = StratifiedKFold(folds, shuffle=True, random_state=seed).split(labels, labels)
        else:
            parts = StratifiedGroupKFold(folds, shuffle=True, random_state=seed).split(labels, labels, self.groups)
        # Skip folds that lack a class.
        self.parts = [part for part in parts if all(len(np.unique(labels[rows])) == 2 for rows in part)]

    def strength(self, table: np.ndarray) -> tuple[Strength, np.ndarray]:
        """Return the Strength of a classifier on `table`, float (N, K), NaN for missing, fitted on the other folds, and its
        scores (N,), high for fake. K = 1: a small decision tree, which assumes no order of values; K > 1: boosted trees.
        """
        scores = np.zeros(len(self.labels))
        if not self.parts:
            return Strength(None, None), scores
        varied = [
            np.where(np.isnan(c), np.nanmin(c) - 1, c) for c in table.T if not _constant(c)
        ]  # missing: below all values
        if not varied:
            return Strength(0.5, [0.5, 0.5]), scores
        table = np.stack(varied, axis=1)
        with threadpool_limits(1, "openmp"):  # more threads are slower on such small tables
            for train, test in self.parts:
                model = _classifier(len(train), table.shape[1]).fit(table[train], self.labels[train])
                # Subtract the fraction of fakes in the training folds, so that scores of all folds are comparable.
                scores[test] = model.predict_proba(table[test])[:, FAKE] - self.labels[train].mean()
        scores = scores.round(6)
        held_out = np.concatenate([test for _, test in self.parts])
        auroc, parts = auroc_parts(self.labels[held_out], scores[held_out])
        errors = np.bincount(self.groups[held_out], weights=parts)  # errors within a group are dependent
        reach = float(NormalDist().inv_cdf((1 + CONFIDENCE) / 2) * np.sqrt((errors**2).sum()))
        interval = [max(0.0, auroc - reach), min(1.0, auroc + reach)]
        return Strength(max(0.5, auroc), interval), scores


def auroc_parts(labels: np.ndarray, scores: np.ndarray) -> tuple[float, np.ndarray]:
    """Return the AUROC of scores (N,), high for fake, and the error term of each image (N,); the sum of their squares is the
    variance. NaN if a class is missing.
    """
    fake = labels == FAKE
    n_fake, n_real = int(fake.sum()), int((~fake).sum())
    if not n_fake or not n_real:
        return float("nan"), np.zeros(len(labels))
    won = np.empty(len(scores))  # fraction of reals below a fake, or of fakes above a real
    won[fake] = _fraction_below(scores[fake], scores[~fake])
    won[~fake] = 1 - _fraction_below(scores[~fake], scores[fake])
    auroc = float(won[fake].mean())
    return auroc, (won - auroc) / np.where(fake, n_fake, n_real)


def _fraction_below(scores: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Return for each score the fraction of `others` below it; of equal ones, half."""
    ordered = np.sort(others)
    return (np.searchsorted(ordered, scores, "left") + np.searchsorted(ordered, scores, "right")) / (2 * len(others))


def weigh_cue(name: str, values: Sequence, files: Sequence[str], folds: Folds) -> Cue:
    """Return the Cue of one fact, `values` (N,) of `files`: numbers, text or bool; None is missing."""
    words = any(isinstance(value, (str, bool)) for value in values)
    column = encode(values)
    strength, scores = folds.strength(column[:, None])
    higher_in = None
    if not words and not _constant(column):
        known = np.isfinite(column)
        direction, _ = auroc_parts(folds.labels[known], column[known])
        higher_in = "fake" if direction > 0.5 else "real" if direction < 0.5 else None
    sides, examples = {}, {}
    for label, number in LABEL_NUMBERS.items():
        rows: Any = np.flatnonzero(folds.labels == number)
        sides[label] = _describe_words([values[row] for row in rows]) if words else _describe_numbers(column[rows])
        telling = rows[np.argsort(-scores[rows] if number == FAKE else scores[rows], kind="stable")][:EXAMPLES]
        examples[label] = [f"{files[row]}: {_as_text(values[row])}" for row in telling] if strength.alarming else []
    return Cue(name, strength, higher_in, sides["real"], sides["fake"], not _constant(column), examples)


def weigh_all(facts: Mapping[str, Sequence], folds: Folds) -> Strength:
    """Return the Strength of all facts together, in one classifier."""
    return folds.strength(np.stack([encode(values) for values in facts.values()], axis=1))[0]


def encode(values: Sequence) -> np.ndarray:
    """Return float (N,): numbers unchanged; text as its rank by frequency, the most frequent 0; NaN for None."""
    if any(isinstance(value, str) for value in values):
        common = Counter(value for value in values if value is not None).most_common(_LEVELS)
        codes = {value: float(code) for code, (value, _) in enumerate(common)}
        return np.array([np.nan if value is None else codes.get(value, float(_LEVELS)) for value in values])
    return np.array([np.nan if value is None else float(value) for value in values])


def _classifier(count: int, columns: int):
    """Return a classifier for `count` files, with leaves large enough not to memorise single files."""
    leaf = max(3, count // 100)
    if columns == 1:
        from sklearn.tree import DecisionTreeClassifier

        return DecisionTreeClassifier(max_leaf_nodes=16, min_samples_leaf=leaf, random_state=0)
    from sklearn.ensemble import HistGradientBoostingClassifier

    return HistGradientBoostingClassifier(
        max_iter=40, max_leaf_nodes=16, min_samples_leaf=leaf, early_stopping=False, random_state=0
    )


def _constant(column: np.ndarray) -> bool:
    return bool(np.isnan(column).all()) or bool((column == column[0]).all())


def _describe_words(values: Sequence) -> str:
    shares = Counter(map(_as_text, values)).most_common()
    texts = [value if len(shares) == 1 else f"{value} {n / len(values):.0%}" for value, n in shares[:3]]
    return ", ".join(texts) + (f", {len(shares) - 3} more" if len(shares) > 3 else "")


def _describe_numbers(column: np.ndarray) -> str:
    known = column[np.isfinite(column)]
    if not len(known):
        return "none"
    low, middle, high = (_as_text(float(edge)) for edge in np.percentile(known, (5, 50, 95)))
    text = middle if low == high else f"{middle} ({low} to {high})"
    absent = 1 - len(known) / len(column)
    return text if not absent else f"{text}; none in {absent:.0%}"


def _as_text(value: object) -> str:
    if value is None or value != value:
        return "none"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if not isinstance(value, float):
        return str(value)
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"
