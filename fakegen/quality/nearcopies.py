"""Does a generator repeat its training images? Each fake's nearest training real, and whether it is too near to be new.

Distances are between 16x16 thumbnails, in which noise and codecs drop out. What is near depends on the picture (a
plain one is near many), so a distance is taken as a share of the mean distance to the nearest 50 training reals, as in
Carlini et al. 2023 (arXiv 2301.13188), section 5.1; or of the training real's own contrast where that is less, since
a grey cloud is near the palest photo without repeating it. How small a share is suspicious is learned from reals that
the generator never saw. Copies that were mirrored or moved by much are not found.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch

from fakecore.errors import UserError
from fakecore.media.duplicates import thumbnails

CROWD = 50  # the nearest training reals by which a distance is judged, as published
UNSEEN_CALLED_COPIES = 0.01  # largest share of held-out reals below the threshold: chance, not copying
LOOSEST = 0.5  # no threshold above this, where held-out reals are all far: half-way mixtures of two photos begin there
_CHUNK = 4096  # training images at a time: memory does not grow with their number


@dataclass(frozen=True)
class Neighbours:
    """For each asked image: the row of its nearest training real (n,), and how near that is (n,)."""

    rows: np.ndarray
    shares: (
        np.ndarray
    )  # 0 is the training image itself, 1 is no nearer than the 50 nearest on average, or than plain grey


@dataclass(frozen=True)
class TrainingImages:
    """The training reals, uint8 (N, C, R, R), memory-mapped or not, at `rows` (n,) of `images`."""

    images: np.ndarray
    rows: np.ndarray

    def neighbours(self, asked: np.ndarray) -> Neighbours:
        """The nearest training real of each of `asked`, uint8 (n, C, R, R). Raises UserError below two training images."""
        if len(self.rows) < 2:
            raise UserError(
                "there are too few training images to search for near copies", got=len(self.rows), expected="2"
            )
        crowd = min(CROWD, len(self.rows))
        small = _small(asked)
        best = torch.full((len(small), crowd), torch.inf)
        places = torch.zeros((len(small), crowd), dtype=torch.long)
        for first, chunk in self._chunks():
            squares = torch.addmm((chunk**2).sum(1), small, chunk.T, alpha=-2).add_((small**2).sum(1, keepdim=True))
            both = torch.cat([best, squares], dim=1)
            numbers = torch.cat([places, torch.arange(first, first + len(chunk)).expand(len(small), -1)], dim=1)
            best, order = both.topk(crowd, dim=1, largest=False)
            places = numbers.gather(1, order)
        distances = best.clamp_(min=0).sqrt_()
        rows = self.rows[places[:, 0].numpy()]
        yardstick = torch.minimum(distances.mean(dim=1), _contrast(self.images[rows]))
        return Neighbours(rows, (distances[:, 0] / yardstick.clamp_(min=1e-6)).double().numpy())

    def _chunks(self) -> Iterator[tuple[int, torch.Tensor]]:
        for first in range(0, len(self.rows), _CHUNK):
            yield first, _small(self.images[self.rows[first : first + _CHUNK]])


def copy_threshold(held_out: Neighbours) -> float:
    """The share below which an image counts as a near-copy: at most 1 % of reals that were held out are nearer."""
    return min(float(np.quantile(held_out.shares, UNSEEN_CALLED_COPIES)), LOOSEST)


def near_copies(fakes: Neighbours, threshold: float) -> np.ndarray:
    """Numbers of the fakes that count as near-copies, nearest first."""
    order = np.argsort(fakes.shares, kind="stable")
    return order[fakes.shares[order] < threshold]


def _small(images: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(thumbnails(np.asarray(images))).sub_(127.5)  # (n, C * 256); small numbers, small rounding


def _contrast(images: np.ndarray) -> torch.Tensor:
    """How far each thumbnail is from one flat colour, (n,), in the same unit as the distances."""
    small = _small(images).unflatten(1, (-1, images.shape[1]))  # (n, 256, C)
    return (small - small.mean(dim=1, keepdim=True)).flatten(1).norm(dim=1)
