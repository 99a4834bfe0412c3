"""How well one fact about files, or all of them together, tells reals from fakes. Arrays in, numbers out."""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.stats import norm, rankdata
from threadpoolctl import threadpool_limits

from fakecore.labels import FAKE, LABEL_NUMBERS, REAL

LEVEL = 0.6  # AUROC from which a cue is worth an alarm: at 0.5 a cue is none, at 1 it is all that a detector needs
CONFIDENCE = 0.999  # of intervals: many cues are looked at, and held-out scores stray further than their formula says
MIN_IMAGES = 10  # of each class: of fewer, chance alone can part any two
FOLDS = 5
EXAMPLES = 3  # files of each class that show a cue
_LEVELS = 30  # values of a cue in words that are told apart; rarer ones count as one


@dataclass(frozen=True)
class Strength:
    """AUROC in [0.5, 1] on files held out, and its interval at CONFIDENCE; None for both: too few files to tell."""

    auroc: float | None
    interval: list[float] | None

    @property
    def alarming(self) -> bool:
        """True above LEVEL, and by more than chance explains."""
        return self.auroc is not None and self.auroc > LEVEL and self.interval[0] > 0.5


@dataclass(frozen=True)
class Cue:
    """One fact, and how well it alone tells reals from fakes."""

    name: str
    strength: Strength
    higher_in: str | None  # "real" | "fake": where a number tends to be higher; None for words, and where neither
    real: str  # what reals have, in words; numbers as median (5th to 95th per cent)
    fake: str
    varies: bool  # False: the same in every file, real or fake
    examples: dict[str, list[str]]  # {"real": file names with the value, "fake": ...}, the most telling first

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
    """How files are held out: in folds alike in classes, files of one group in one fold. None where there are too few."""

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
        if len(numbers) == len(labels):  # the same, and quick
            parts = StratifiedKFold(folds, shuffle=True, random_state=seed).split(labels, labels)
        else:
            parts = StratifiedGroupKFold(folds, shuffle=True, random_state=seed).split(labels, labels, self.groups)
        # A fold without one of the classes says nothing.
        self.parts = [part for part in parts if all(len(np.unique(labels[rows])) == 2 for rows in part)]

    def strength(self, table: np.ndarray) -> tuple[Strength, np.ndarray]:
        """Of float (N, K), NaN for what is missing: the Strength of a classifier fitted on the other folds, and its scores
        (N,), high for fake. K = 1: a small decision tree, so that no order of values is taken for granted; K > 1:
        boosted trees.
        """
        scores = np.zeros(len(self.labels))
        if not self.parts:
            return Strength(None, None), scores
        varied = [np.where(np.isnan(c), np.nanmin(c) - 1, c) for c in table.T if not _constant(c)]  # missing: below all
        if not varied:
            return Strength(0.5, [0.5, 0.5]), scores
        table = np.stack(varied, axis=1)
        with threadpool_limits(1, "openmp"):  # as many threads as cores wait for one another on tables so small
            for train, test in self.parts:
                model = _classifier(len(train), table.shape[1]).fit(table[train], self.labels[train])
                # Less what the fold's classes alone make of it, so that scores of all folds can be ranked together.
                scores[test] = model.predict_proba(table[test])[:, FAKE] - self.labels[train].mean()
        scores = scores.round(6)
        held_out = np.concatenate([test for _, test in self.parts])
        auroc, parts = auroc_parts(self.labels[held_out], scores[held_out])
        errors = np.bincount(self.groups[held_out], weights=parts)  # files of one group err together
        reach = float(norm.ppf((1 + CONFIDENCE) / 2) * np.sqrt((errors**2).sum()))
        interval = [max(0.0, auroc - reach), min(1.0, auroc + reach)]
        return Strength(max(0.5, auroc), interval), scores


def auroc_parts(labels: np.ndarray, scores: np.ndarray) -> tuple[float, np.ndarray]:
    """AUROC of scores (N,) that rise with fake, and what each image adds to its error (N,): the sum of squares of these
    is its variance. NaN where a class is absent.
    """
    fake = labels == FAKE
    n_fake, n_real = int(fake.sum()), int((~fake).sum())
    if not n_fake or not n_real:
        return float("nan"), np.zeros(len(labels))
    ranks = rankdata(scores)
    won = np.empty(len(scores))  # for a fake the share of reals below it, for a real the share of fakes above it
    won[fake] = (ranks[fake] - rankdata(scores[fake])) / n_real
    won[~fake] = 1 - (ranks[~fake] - rankdata(scores[~fake])) / n_fake
    auroc = float(won[fake].mean())
    return auroc, (won - auroc) / np.where(fake, n_fake, n_real)


def weigh_cue(name: str, values: Sequence, files: Sequence[str], folds: Folds) -> Cue:
    """The Cue of one fact, `values` (N,) of `files`: numbers, words, True or False; None is missing."""
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
        rows = np.flatnonzero(folds.labels == number)
        sides[label] = _told_words([values[row] for row in rows]) if words else _told_numbers(column[rows])
        telling = rows[np.argsort(-scores[rows] if number == FAKE else scores[rows], kind="stable")][:EXAMPLES]
        examples[label] = [f"{files[row]}: {_told(values[row])}" for row in telling] if strength.alarming else []
    return Cue(name, strength, higher_in, sides["real"], sides["fake"], not _constant(column), examples)


def weigh_all(facts: Mapping[str, Sequence], folds: Folds) -> Strength:
    """The Strength of all facts together, in one classifier."""
    return folds.strength(np.stack([encode(values) for values in facts.values()], axis=1))[0]


def encode(values: Sequence) -> np.ndarray:
    """Float (N,): numbers as they are; words by how common they are, the commonest 0; NaN for None."""
    if any(isinstance(value, str) for value in values):
        common = Counter(value for value in values if value is not None).most_common(_LEVELS)
        codes = {value: float(code) for code, (value, _) in enumerate(common)}
        return np.array([np.nan if value is None else codes.get(value, float(_LEVELS)) for value in values])
    return np.array([np.nan if value is None else float(value) for value in values])


def _classifier(count: int, columns: int):
    """For `count` files: leaves that hold enough of them not to learn single ones."""
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


def _told_words(values: Sequence) -> str:
    shares = Counter(map(_told, values)).most_common()
    told = [value if len(shares) == 1 else f"{value} {n / len(values):.0%}" for value, n in shares[:3]]
    return ", ".join(told) + (f", {len(shares) - 3} more" if len(shares) > 3 else "")


def _told_numbers(column: np.ndarray) -> str:
    known = column[np.isfinite(column)]
    if not len(known):
        return "none"
    low, middle, high = (_told(float(edge)) for edge in np.percentile(known, (5, 50, 95)))
    told = middle if low == high else f"{middle} ({low} to {high})"
    absent = 1 - len(known) / len(column)
    return told if not absent else f"{told}; none in {absent:.0%}"


def _told(value: object) -> str:
    if value is None or value != value:
        return "none"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if not isinstance(value, float):
        return str(value)
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"
