"""Pictures that are there twice, and groups that stand on two sides of a split: what lets a test be passed by memory."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from fakecore.labels import FAKE, LABEL_NAMES, REAL
from fakecore.media.duplicates import near_pairs

FILES_SHOWN = 6  # of each finding


@dataclass(frozen=True)
class Twins:
    """Files that show one picture, or belong to one group."""

    kind: str  # "identical" | "near-identical" | "group"
    group: str | None
    labels: tuple[str, ...]  # "real", "fake": those met
    splits: tuple[str, ...]  # empty where the images have no splits yet
    count: int
    rows: list[int]  # up to FILES_SHOWN, of every split and label one first
    files: list[str]  # their names

    @property
    def across_splits(self) -> bool:
        return len(self.splits) > 1

    @property
    def across_classes(self) -> bool:
        return len(self.labels) > 1

    @property
    def leaks(self) -> bool:
        """True where a test would reward memory. Two fakes that are nearly alike, or a fake nearly like a real, are what
        a collapsed or memorising generator makes: a warning, not a mistake in how the files were put together.
        """
        if self.kind == "near-identical" and "fake" in self.labels:
            return False
        return self.across_splits or (self.across_classes and self.kind != "group")

    @property
    def warns(self) -> bool:
        return not self.leaks and (self.across_splits or (self.across_classes and self.kind != "group"))

    def to_json(self) -> dict:
        return {
            "kind": self.kind,
            "group": self.group,
            "labels": self.labels,
            "splits": self.splits,
            "count": self.count,
            "leaks": self.leaks,
            "files": self.files,
        }


class Twinned:
    """Finds Twins among files: `names`, `labels` (N,), `splits` (N,) or None run parallel."""

    def __init__(self, names: Sequence[str], labels: np.ndarray, splits: np.ndarray | None):
        self._names, self._labels, self._splits = names, labels, splits

    def identical(self, digests: Sequence[str]) -> list[Twins]:
        """Files with equal `digests` (N,)."""
        return [self._twins("identical", rows) for rows in _repeated(digests)]

    def straddling(self, groups: Sequence[str | None]) -> list[Twins]:
        """Groups (identities, videos; None is none) with files in more than one split."""
        found = (self._twins("group", rows, groups[rows[0]]) for rows in _repeated(groups))
        return [twins for twins in found if twins.across_splits]

    def near(self, small: np.ndarray, digests: Sequence[str]) -> list[Twins]:
        """Files whose thumbnails, (N, D) as `fakecore.media.duplicates.thumbnails` makes them, are near-identical though their
        digests differ. Reals among themselves are searched as when fakelab makes splits, so that the two agree; then
        fakes among themselves, and reals against fakes.
        """
        first: dict[tuple, int] = {}
        for row, key in enumerate(zip(digests, self._labels.tolist(), strict=True)):
            first.setdefault(key, row)
        kept = np.array(sorted(first.values()))
        found = []
        for rows, across in (
            (kept[self._labels[kept] == REAL], False),
            (kept[self._labels[kept] == FAKE], False),
            (kept, True),
        ):
            pairs = rows[near_pairs(small[rows])]
            wanted = [
                digests[a] != digests[b] and bool(self._labels[a] != self._labels[b]) == across
                for a, b in pairs.tolist()
            ]
            found += [self._twins("near-identical", own) for own in _components(pairs[wanted], len(self._names))]
        return found

    def _twins(self, kind: str, rows: Sequence[int], group: str | None = None) -> Twins:
        labels = [LABEL_NAMES[int(self._labels[row])] for row in rows]
        splits = ["" if self._splits is None else str(self._splits[row]) for row in rows]
        sides: dict[tuple, list[int]] = {}
        for row, side in zip(rows, zip(labels, splits, strict=True), strict=True):
            sides.setdefault(side, []).append(int(row))
        shown = [own[0] for own in sides.values()] + [row for own in sides.values() for row in own[1:]]
        shown = shown[:FILES_SHOWN]
        found_splits = tuple(dict.fromkeys(split for split in splits if split))
        files = [self._names[row] for row in shown]
        return Twins(kind, group, tuple(sorted(set(labels), reverse=True)), found_splits, len(rows), shown, files)


def _repeated(keys: Sequence) -> list[list[int]]:
    """Rows (two or more) of each key that occurs more than once; None is no key."""
    rows: dict[object, list[int]] = {}
    for row, key in enumerate(keys):
        if key is not None:
            rows.setdefault(key, []).append(row)
    return [own for own in rows.values() if len(own) > 1]


def _components(pairs: np.ndarray, count: int) -> list[list[int]]:
    """Rows (two or more) that the pairs (M, 2) link, directly or through others."""
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    if not len(pairs):
        return []
    left, right = pairs.T
    graph = coo_array((np.ones(len(pairs), dtype=bool), (left, right)), shape=(count, count))
    component = connected_components(graph, directed=False)[1]
    linked = np.unique(pairs)
    return _repeated(
        [int(component[row]) if keep else None for row, keep in enumerate(np.isin(np.arange(count), linked))]
    )
