"""Find duplicate images: identical bytes, and near-identical pixels, without comparing all pairs."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import Protocol

import cv2
import numpy as np

from fakecore.media.neighbours import near_points
from fakecore.progress import progress_bar

THUMBNAIL = 16
MAX_RMS = 20.0  # grey levels of 255 between two thumbnails; copies that were cropped or retouched reach 17 (CIFAR-10)
# The measure is the difference divided by the contrast of the fainter thumbnail. For photos, copies are below 0.35 and other
# pairs above 0.5; handwritten digits, which all look alike, are below 0.3 without being copies. So a copy must also be
# twice as near as nearest neighbours usually are. Below 0.12, the effect of JPEG quality 75, it always counts as a copy.
MAX_SHARE, MIN_SHARE = 0.35, 0.12
_COMPONENTS = 24  # principal components in which pairs are searched
_BLOCK = 2048  # thumbnails, or pairs of them, at a time
_ROUNDING = 1e-2  # grey levels: distances are of single precision
_SAMPLE = 500


def thumbnails(images: np.ndarray) -> np.ndarray:
    """Return thumbnails of uint8 (N, C, H, W): float32 (N, C * 16 * 16), [0, 255], area-averaged to remove noise and codecs."""
    small = np.empty((len(images), images.shape[1] * THUMBNAIL**2), dtype=np.float32)
    for index, image in enumerate(images):
        layout = np.ascontiguousarray(image.transpose(1, 2, 0), dtype=np.float32)
        small[index] = cv2.resize(layout, (THUMBNAIL, THUMBNAIL), interpolation=cv2.INTER_AREA).reshape(-1)
    return small


class Rows(Protocol):
    """Thumbnails, float32 (N, D), in memory or made when they are read."""

    shape: tuple[int, ...]

    def __getitem__(self, rows: slice | np.ndarray, /) -> np.ndarray:
        """Return the thumbnails of `rows`, float32 (n, D)."""


class LazyThumbnails:
    """The `thumbnails` of `images`[`chosen`], uint8 (N, C, H, W), which may be memory-mapped, made when they are read."""

    def __init__(self, images: np.ndarray, chosen: np.ndarray):
        self._images, self._chosen = images, chosen
        self.shape: tuple[int, ...] = (len(chosen), images.shape[1] * THUMBNAIL**2)

    def __getitem__(self, rows: slice | np.ndarray) -> np.ndarray:
        """Return the thumbnails of `rows`, float32 (n, D)."""
        return thumbnails(self._images[self._chosen[rows]])


def near_pairs(small: Rows) -> np.ndarray:
    """Return index pairs (M, 2) of near-identical thumbnails (N, D).

    A projection on principal components never increases a distance, so a search there misses no pair; what it finds is
    compared in full.
    """
    count, dimensions = small.shape
    pairs = [np.empty((0, 2), dtype=np.int64)]
    if count < 2:
        return pairs[0]
    axes = _principal_axes(small, min(_COMPONENTS, dimensions))
    projected, contrast, share = _survey(small, axes)
    limit = np.minimum(MAX_RMS, share * contrast)  # the largest RMS that a copy may have
    for left, right in near_points(projected, np.sqrt(dimensions) * limit + _ROUNDING):
        for start in range(0, len(left), _BLOCK):
            both = left[start : start + _BLOCK], right[start : start + _BLOCK]
            rms = np.sqrt(((small[both[0]] - small[both[1]]) ** 2).mean(axis=1))
            pairs.append(np.sort(np.stack(both, axis=1)[rms <= np.minimum(limit[both[0]], limit[both[1]])], axis=1))
    found = np.concatenate(pairs)
    return found[np.lexsort(found.T[::-1])]


def _principal_axes(small: Rows, count: int) -> np.ndarray:
    """Return the `count` principal axes of thumbnails (N, D), orthonormal, float32 (D, count). They are those of a sample,
    which affects only the speed of the search, not its result.
    """
    sample = small[_spread(small.shape[0], 5000)].astype(np.float64)
    _, axes = np.linalg.eigh(np.cov(sample, rowvar=False).reshape(small.shape[1], small.shape[1]))
    return np.ascontiguousarray(axes[:, ::-1][:, :count], dtype=np.float32)


def _survey(small: Rows, axes: np.ndarray) -> tuple[np.ndarray, np.ndarray, float]:
    """Read all thumbnails (N, D) once. Return their projections on `axes` (N, K), their contrasts (N,), and the largest
    distance of a copy relative to contrast: half the usual one of nearest neighbours in a sample, MIN_SHARE to MAX_SHARE.
    """
    count, dimensions = small.shape
    rows = _spread(count, _SAMPLE)
    sample = small[rows]
    squares = (sample**2).sum(axis=1)
    nearest = np.full(len(rows), np.inf)
    projected = np.empty((count, axes.shape[1]), dtype=np.float32)
    contrast = np.empty(count, dtype=np.float32)
    with progress_bar("comparing", count, "images") as bar:
        for start in range(0, count, _BLOCK):
            block = small[start : start + _BLOCK]
            end = start + len(block)
            projected[start:end], contrast[start:end] = block @ axes, block.std(axis=1)
            distances = (block**2).sum(axis=1)[:, None] + squares - 2 * block @ sample.T  # squared, (block, sample)
            own = np.flatnonzero((rows >= start) & (rows < end))
            distances[rows[own] - start, own] = np.inf
            nearest = np.minimum(nearest, distances.min(axis=0))
            bar.advance(len(block))
    shares = np.sqrt(np.maximum(nearest, 0) / dimensions) / np.maximum(contrast[rows], 1.0)
    return projected, contrast, float(np.clip(np.median(shares) / 2, MIN_SHARE, MAX_SHARE))


def _spread(count: int, at_most: int) -> np.ndarray:
    """Return indices spread over `count`."""
    return np.linspace(0, count - 1, min(at_most, count)).astype(int)


def same_picture_groups(images: np.ndarray, hashes: Sequence[str], groups: Sequence[Hashable | None]) -> np.ndarray:
    """Return a component number (N,) for each image; images that must be in the same split have equal numbers.

    Images are joined by equal `hashes` (bytes of the source), equal `groups` (identity or video; None: no group), and
    near-identical pixels among `images`, uint8 (N, C, H, W).
    """
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    hashed = _chains(hashes)
    distinct = np.setdiff1d(np.arange(len(images)), hashed[:, 1])  # one of each file
    near = distinct[near_pairs(LazyThumbnails(images, distinct))]
    pairs = [near, hashed, _chains(groups)]
    left, right = np.concatenate(pairs).T
    count = len(images)
    graph = coo_array((np.ones(len(left), dtype=bool), (left, right)), shape=(count, count))
    return connected_components(graph, directed=False)[1]


def _chains(keys: Sequence[Hashable | None]) -> np.ndarray:
    """Return pairs (M, 2) that link each index to the previous one with the same key."""
    last: dict[Hashable, int] = {}
    pairs = []
    for index, key in enumerate(keys):
        if key is None:
            continue
        if key in last:
            pairs.append((last[key], index))
        last[key] = index
    return np.array(pairs, dtype=np.int64).reshape(-1, 2)
