"""Duplicate images, and groups in more than one split: a detector can pass a test on those from memory."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from fakecore.labels import FAKE, LABEL_NAMES, REAL
from fakecore.media.duplicates import THUMBNAIL, near_pairs

FILES_SHOWN = 6  # per finding


@dataclass(frozen=True)
class Duplicates:
    """Files with the same image, or of the same group."""

    kind: str  # "identical" | "near-identical" | "group"
    group: str | None
    labels: tuple[str, ...]  # "real", "fake": the labels of the files
    splits: tuple[str, ...]  # empty if the images have no splits
    count: int
    rows: list[int]  # up to FILES_SHOWN, first one of each split and label
    files: list[str]  # their names

    @property
    def across_splits(self) -> bool:
        return len(self.splits) > 1

    @property
    def across_classes(self) -> bool:
        return len(self.labels) > 1

    @property
    def leaks(self) -> bool:
        """Whether a detector could pass the test from memory. Near-identical fakes, or a fake near-identical to a real image,
        come from a collapsed or memorising generator: a warning, not an error of the data set.
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


class SmallThumbnails:
    """Thumbnails of `count` images with `channels`, of `fakecore.media.duplicates.thumbnails`, in half precision: 512 bytes for
    each channel of an image. What differs by rounding, an eighth of a grey level at most, is as near-identical as before.
    """

    def __init__(self, count: int, channels: int, *, held: np.ndarray | None = None, chosen: np.ndarray | None = None):
        self._held = np.empty((count, channels * THUMBNAIL**2), np.float16) if held is None else held
        self._chosen = np.arange(count) if chosen is None else chosen
        self.shape: tuple[int, ...] = (count, self._held.shape[1])

    def put(self, row: int, thumbnail: np.ndarray) -> None:
        """Keep the thumbnail (D,) of an image."""
        self._held[row] = thumbnail

    def of(self, rows: np.ndarray) -> SmallThumbnails:
        """Return the thumbnails of some rows, without a copy."""
        return SmallThumbnails(len(rows), 1, held=self._held, chosen=self._chosen[rows])

    def __getitem__(self, rows: slice | np.ndarray, /) -> np.ndarray:
        """Return the thumbnails of `rows`, float32 (n, D)."""
        return self._held[self._chosen[rows]].astype(np.float32)


class DuplicateFinder:
    """Finds Duplicates among files, given their `names`, `labels` (N,) and `splits` (N,) or None."""

    def __init__(self, names: Sequence[str], labels: np.ndarray, splits: np.ndarray | None):
        self._names, self._labels, self._splits = names, labels, splits

    def identical(self, digests: Sequence[str]) -> list[Duplicates]:
        """Return files with equal `digests` (N,)."""
        return [self._duplicates("identical", rows) for rows in _repeated(digests)]

    def straddling(self, groups: Sequence[str | None]) -> list[Duplicates]:
        """Return groups (identities, videos; None is no group) with files in more than one split."""
        found = (self._duplicates("group", rows, groups[rows[0]]) for rows in _repeated(groups))
        return [one for one in found if one.across_splits]

    def near(self, small: SmallThumbnails, digests: Sequence[str]) -> list[Duplicates]:
        """Return files whose thumbnails, of the N files, are near-identical but whose digests differ. Searches reals among
        themselves (as fakelab does for splits, so that both agree), then fakes among themselves, then reals against fakes.
        """
        first: dict[tuple, int] = {}
        for row, key in enumerate(zip(digests, self._labels.tolist(), strict=True)):
            first.setdefault(key, row)
        unique = np.array(sorted(first.values()))
        found = []
        for rows, across in (
            (unique[self._labels[unique] == REAL], False),
            (unique[self._labels[unique] == FAKE], False),
            (unique, True),
        ):
            pairs = rows[near_pairs(small.of(rows))]
            wanted = [
                digests[a] != digests[b] and bool(self._labels[a] != self._labels[b]) == across
                for a, b in pairs.tolist()
            ]
            found += [self._duplicates("near-identical", own) for own in _components(pairs[wanted], len(self._names))]
        return found

    def _duplicates(self, kind: str, rows: Sequence[int], group: str | None = None) -> Duplicates:
        labels = [LABEL_NAMES[int(self._labels[row])] for row in rows]
        splits = ["" if self._splits is None else str(self._splits[row]) for row in rows]
        sides: dict[tuple, list[int]] = {}
        for row, side in zip(rows, zip(labels, splits, strict=True), strict=True):
            sides.setdefault(side, []).append(int(row))
        shown = [own[0] for own in sides.values()] + [row for own in sides.values() for row in own[1:]]
        shown = shown[:FILES_SHOWN]
        found_splits = tuple(dict.fromkeys(split for split in splits if split))
        files = [self._names[row] for row in shown]
        return Duplicates(kind, group, tuple(sorted(set(labels), reverse=True)), found_splits, len(rows), shown, files)


def _repeated(keys: Sequence) -> list[list[int]]:
    """Return the rows (two or more) of each key that occurs more than once; None is no key."""
    rows: dict[object, list[int]] = {}
    for row, key in enumerate(keys):
        if key is not None:
            rows.setdefault(key, []).append(row)
    return [own for own in rows.values() if len(own) > 1]


def _components(pairs: np.ndarray, count: int) -> list[list[int]]:
    """Return groups of rows (two or more) that the pairs (M, 2) connect, directly or through others."""
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
