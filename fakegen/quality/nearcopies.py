"""Memorisation: the nearest training real of each fake, and whether the fake is a near copy of it.

Distances are between 16x16 thumbnails, which average out noise and compression. A plain image is near many others, so a
distance is divided by the mean distance to the nearest 50 training reals, as in Carlini et al. 2023 (arXiv 2301.13188),
section 5.1, or by the contrast of the training real if that is smaller: a grey blob is near a low-contrast photo without
being a copy. The threshold of this ratio is calibrated on held-out reals. Mirrored or far shifted copies are not found.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch

from fakecore.errors import UserError
from fakecore.media.duplicates import thumbnails

NEAREST = 50  # training reals whose mean distance normalises a distance; as published
FALSE_COPY_RATE = 0.01  # fraction of held-out reals below the threshold: chance, not copying
MAX_THRESHOLD = 0.5  # upper limit of the threshold: blends of two photos begin here
_CHUNK = 4096  # training images per chunk: memory does not grow with their number


@dataclass(frozen=True)
class Neighbours:
    """For each query image: the row of its nearest training real (n,), and the ratio that says how near it is (n,)."""

    rows: np.ndarray
    ratios: np.ndarray  # 0: equal to the training real; 1: as far as the 50 nearest on average, or as a flat grey image


@dataclass(frozen=True)
class TrainingImages:
    """The training reals: the `rows` (n,) of `images`, uint8 (N, C, R, R), which may be memory-mapped."""

    images: np.ndarray
    rows: np.ndarray

    def neighbours(self, queries: np.ndarray) -> Neighbours:
        """Find the nearest training real of each query, uint8 (n, C, R, R). Raises UserError below two training images."""
        if len(self.rows) < 2:
            raise UserError(
                "there are too few training images to search for near copies", got=len(self.rows), expected="2"
            )
        nearest = min(NEAREST, len(self.rows))
        small = _centred_thumbnails(queries)
        best = torch.full((len(small), nearest), torch.inf)
        places = torch.zeros((len(small), nearest), dtype=torch.long)
        for first, chunk in self._chunks():
            squares = torch.addmm((chunk**2).sum(1), small, chunk.T, alpha=-2).add_((small**2).sum(1, keepdim=True))
            both = torch.cat([best, squares], dim=1)
            numbers = torch.cat([places, torch.arange(first, first + len(chunk)).expand(len(small), -1)], dim=1)
            best, order = both.topk(nearest, dim=1, largest=False)
            places = numbers.gather(1, order)
        distances = best.clamp_(min=0).sqrt_()
        rows = self.rows[places[:, 0].numpy()]
        scale = torch.minimum(distances.mean(dim=1), _contrast(self.images[rows]))
        return Neighbours(rows, (distances[:, 0] / scale.clamp_(min=1e-6)).double().numpy())

    def _chunks(self) -> Iterator[tuple[int, torch.Tensor]]:
        for first in range(0, len(self.rows), _CHUNK):
            yield first, _centred_thumbnails(self.images[self.rows[first : first + _CHUNK]])


def copy_threshold(held_out: Neighbours) -> float:
    """Return the ratio below which an image is a near copy: at most 1 % of the held-out reals are below it."""
    return min(float(np.quantile(held_out.ratios, FALSE_COPY_RATE)), MAX_THRESHOLD)


def near_copies(fakes: Neighbours, threshold: float) -> np.ndarray:
    """Return the indices of the fakes that are near copies, nearest first."""
    order = np.argsort(fakes.ratios, kind="stable")
    return order[fakes.ratios[order] < threshold]


def _centred_thumbnails(images: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(thumbnails(np.asarray(images))).sub_(127.5)  # (n, C * 256); centred: less rounding error


def _contrast(images: np.ndarray) -> torch.Tensor:
    """Return the distance of each thumbnail from its mean colour, (n,), in the unit of the other distances."""
    small = _centred_thumbnails(images).unflatten(1, (-1, images.shape[1]))  # (n, 256, C)
    return (small - small.mean(dim=1, keepdim=True)).flatten(1).norm(dim=1)
