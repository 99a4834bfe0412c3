"""Train, validation and test: made once, by group, so that nothing of one picture or person is on two sides."""

from __future__ import annotations

import numpy as np

from fakecore.errors import UserError
from fakecore.labels import SPLITS, Split
from fakecore.wording import counted

DEFAULT_SPLIT = (80, 10, 10)


def parse_split(text: str) -> tuple[int, int, int]:
    """ "60,20,20" -> (60, 20, 20): whole per cents of train, val and test that sum to 100, none of them 0."""
    expected = "three whole per cents, none 0, that sum to 100, such as 80,10,10"
    try:
        shares = tuple(int(part) for part in text.split(","))
    except ValueError:
        shares = ()
    if len(shares) != 3 or sum(shares) != 100 or min(shares) < 1:
        raise UserError("--split could not be read", got=repr(text), expected=expected)
    return shares


def split_groups(groups: np.ndarray, shares: tuple[int, int, int], seed: int) -> np.ndarray:
    """Give each image a split, as an array of "train" | "val" | "test", (N,).

    `groups` (N,) holds a number per image; images with the same number land together. Largest groups are placed
    first, each into a split drawn with the odds of what that split still lacks, among those it fits into: so the
    shares come out as near as groups allow, and large groups are as likely in test as in train.
    Raises UserError when there are fewer than three groups.
    """
    names, sizes = np.unique(groups, return_counts=True)
    if len(names) < 3:
        raise UserError(
            "too few different images to split into train, val and test",
            got=f"{counted(len(groups), 'image')} in {counted(len(names), 'group')} of duplicates or one origin",
            expected="3 groups or more",
            remedy="Give more images.",
        )
    random = np.random.default_rng(seed)
    order = random.permutation(len(names))
    order = order[np.argsort(-sizes[order], kind="stable")]
    draws = random.random(len(order))
    lacking = np.array(shares) / 100 * len(groups)
    used = np.zeros(3, dtype=bool)
    chosen = np.empty(len(names), dtype=np.int64)
    for place, group in enumerate(order):
        odds = np.where(lacking >= sizes[group], lacking, 0.0)
        if len(order) - place <= (~used).sum():
            split = int(np.flatnonzero(~used)[0])  # the last groups go to splits that would otherwise stay empty
        elif odds.any():
            split = int(np.searchsorted(np.cumsum(odds), draws[place] * odds.sum(), side="right"))
        else:
            split = int(np.argmax(lacking))
        chosen[group] = split
        used[split] = True
        lacking[split] -= sizes[group]
    return np.array(SPLITS)[chosen[np.searchsorted(names, groups)]]


def split_of_fake(index: int, shares: tuple[int, int, int]) -> Split:
    """The split of fake number `index`: a function of the index alone, so that a set may grow without moving any.

    Exact in every hundred; the stride (37 has no factor in common with 100) spreads small counts over all three.
    """
    place = index * 37 % 100
    return "train" if place < shares[0] else "val" if place < shares[0] + shares[1] else "test"
