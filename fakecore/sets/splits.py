"""Train, validation and test splits, made once and by group, so that no image or person is in two splits."""

from __future__ import annotations

from bisect import bisect_right
from itertools import accumulate

import numpy as np

from fakecore.errors import UserError
from fakecore.labels import SPLITS, Split
from fakecore.messages import counted

DEFAULT_SPLIT = (80, 10, 10)


def parse_split(text: str) -> tuple[int, int, int]:
    """ "60,20,20" -> (60, 20, 20): whole percentages of train, val and test, above 0, that sum to 100."""
    expected = "three whole percentages above 0 that sum to 100, such as 80,10,10"
    try:
        shares = tuple(int(part) for part in text.split(","))
    except ValueError:
        shares = ()
    if len(shares) != 3 or sum(shares) != 100 or min(shares) < 1:
        raise UserError("--split could not be read", got=repr(text), expected=expected)
    return shares


def split_groups(
    groups: np.ndarray, shares: tuple[int, int, int], seed: int, labels: np.ndarray | None = None
) -> np.ndarray:
    """Give each image a split, as an array of "train" | "val" | "test", (N,).

    `groups` (N,) holds a number per image; images with the same number go to the same split. The largest groups are placed
    first, each into a split that has room for it, drawn with probabilities proportional to what the splits still lack: so the
    shares are as exact as the groups allow, and large groups are as likely in test as in train. With `labels` (N,), numbers
    from 0, the shares hold for each label, and every split contains each label that has at least three groups.
    Raises UserError if there are fewer than three groups.
    """
    names, place, images = np.unique(groups, return_inverse=True, return_counts=True)
    if len(names) < 3:
        raise UserError(
            "too few distinct images to split into train, val and test",
            got=f"{counted(len(groups), 'image')} in {counted(len(names), 'group')} (duplicates or the same origin)",
            expected="3 groups or more",
            remedy="Give more images.",
        )
    labels = np.zeros(len(groups), dtype=np.int64) if labels is None else labels
    counts = np.zeros((len(names), labels.max() + 1), dtype=np.int64)  # images of each group, by label
    np.add.at(counts, (place, labels), 1)
    random = np.random.default_rng(seed)
    order = random.permutation(len(names))
    order = order[np.argsort(-images[order], kind="stable")]
    draws = random.random(len(order))
    # Python numbers from here on: faster for a million groups that are placed one by one.
    lacking = np.outer(np.array(shares) / 100, counts.sum(axis=0)).tolist()  # images, by split and label
    left = (counts > 0).sum(axis=0).tolist()  # groups not yet placed, by label
    empty = [{0, 1, 2} for _ in left]  # splits that hold none yet, by label
    sizes = counts.tolist()
    chosen = np.empty(len(names), dtype=np.int64)
    for draw, group in zip(draws.tolist(), order.tolist(), strict=True):
        size = sizes[group]
        own = [label for label in range(len(size)) if size[label]]
        odds = [
            sum(lack[label] for label in own) if all(lack[label] >= size[label] for label in own) else 0.0
            for lack in lacking
        ]
        scarce = [label for label in own if left[label] <= len(empty[label])]
        if scarce:
            split = min(empty[scarce[0]])  # the last groups fill splits that would otherwise be empty
        elif any(odds):
            split = bisect_right(list(accumulate(odds)), draw * sum(odds))
        else:
            split = max(range(3), key=lambda s: sum(lacking[s][label] for label in own))
        chosen[group] = split
        for label in own:
            empty[label].discard(split)
            left[label] -= 1
            lacking[split][label] -= size[label]
    return np.array(SPLITS)[chosen[place]]


def split_of_index(index: int, shares: tuple[int, int, int]) -> Split:
    """Return the split of image number `index`. It depends on the index alone, so that a set can grow without moving images.

    The shares are exact in every hundred; the stride 37, coprime with 100, spreads small counts over all three splits.
    """
    place = index * 37 % 100
    return "train" if place < shares[0] else "val" if place < shares[0] + shares[1] else "test"
