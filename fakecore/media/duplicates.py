"""Find duplicate images: identical bytes, and near-identical pixels, without comparing all pairs."""

from __future__ import annotations

from collections.abc import Hashable, Sequence

import cv2
import numpy as np

from fakecore.progress import progress_bar

THUMBNAIL = 16
MAX_RMS = 20.0  # grey levels of 255 between two thumbnails; copies that were cropped or retouched reach 17 (CIFAR-10)
# The measure is the difference divided by the contrast of the fainter thumbnail. For photos, copies are below 0.35 and other
# pairs above 0.5; handwritten digits, which all look alike, are below 0.3 without being copies. So a copy must also be
# twice as near as nearest neighbours usually are. Below 0.12, the effect of JPEG quality 75, it always counts as a copy.
MAX_SHARE, MIN_SHARE = 0.35, 0.12
_TREE_DIMENSIONS, _KEPT_DIMENSIONS = 12, 48  # principal components of the search, and of the first comparison
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


def near_pairs(small: np.ndarray) -> np.ndarray:
    """Return index pairs (M, 2) of near-identical thumbnails (N, D).

    A projection on principal components never increases a distance, so a search there misses no pair: a tree finds those that
    are near in a few components, more components dismiss most of them, and the rest are compared in full.
    """
    from scipy.spatial import cKDTree

    count, dimensions = small.shape
    if count < 2:
        return np.empty((0, 2), dtype=np.int64)
    projected = small @ _principal_axes(small, min(_KEPT_DIMENSIONS, dimensions))
    tree = cKDTree(projected[:, :_TREE_DIMENSIONS])
    contrast = small.std(axis=1)
    limit = np.minimum(MAX_RMS, _share_limit(small, contrast) * contrast)  # the largest RMS that a copy may have
    radius = np.sqrt(dimensions) * limit
    pairs = [np.empty((0, 2), dtype=np.int64)]
    with progress_bar("comparing", count, "images") as bar:
        for start in range(0, count, _BLOCK):
            rows = slice(start, start + _BLOCK)
            near = tree.query_ball_point(tree.data[rows], radius[rows] + _ROUNDING, workers=-1)
            left = np.repeat(np.arange(start, start + len(near)), [len(one) for one in near])
            right = np.concatenate([np.asarray(one, dtype=np.int64) for one in near])
            left, right = left[left < right], right[left < right]
            for part in range(0, len(left), _BLOCK):
                pairs.append(
                    _confirmed(small, projected, left[part : part + _BLOCK], right[part : part + _BLOCK], limit)
                )
            bar.advance(len(near))
    return np.concatenate(pairs)


def _principal_axes(small: np.ndarray, count: int) -> np.ndarray:
    """Return the `count` principal axes of thumbnails (N, D), orthonormal, float32 (D, count). They are those of a sample,
    which affects only the speed of the search, not its result.
    """
    sample = small[np.linspace(0, len(small) - 1, min(len(small), 5000)).astype(int)].astype(np.float64)
    _, axes = np.linalg.eigh(np.cov(sample, rowvar=False).reshape(small.shape[1], small.shape[1]))
    return np.ascontiguousarray(axes[:, ::-1][:, :count], dtype=np.float32)


def _confirmed(
    small: np.ndarray, projected: np.ndarray, left: np.ndarray, right: np.ndarray, limit: np.ndarray
) -> np.ndarray:
    """Return those of the pairs `left`, `right` (n,) whose thumbnails are as near as `limit` (N,) allows for both, (m, 2)."""
    most = np.minimum(limit[left], limit[right])
    bound = np.sqrt(((projected[left] - projected[right]) ** 2).sum(axis=1))
    kept = bound <= np.sqrt(small.shape[1]) * most + _ROUNDING
    left, right, most = left[kept], right[kept], most[kept]
    rms = np.sqrt(((small[left] - small[right]) ** 2).mean(axis=1))
    return np.stack([left, right], axis=1)[rms <= most]


def _share_limit(small: np.ndarray, contrast: np.ndarray) -> float:
    """Return half the usual distance of nearest neighbours, relative to contrast, between MIN_SHARE and MAX_SHARE."""
    rows = np.linspace(0, len(small) - 1, min(_SAMPLE, len(small))).astype(int)
    sample = small[rows]
    squares = (sample**2).sum(axis=1)
    nearest = np.full(len(rows), np.inf)
    for start in range(0, len(small), _BLOCK):
        block = small[start : start + _BLOCK]
        distances = (block**2).sum(axis=1)[:, None] + squares - 2 * block @ sample.T  # squared, (block, sample)
        own = np.flatnonzero((rows >= start) & (rows < start + len(block)))
        distances[rows[own] - start, own] = np.inf
        nearest = np.minimum(nearest, distances.min(axis=0))
    shares = np.sqrt(np.maximum(nearest, 0) / small.shape[1]) / np.maximum(contrast[rows], 1.0)
    return float(np.clip(np.median(shares) / 2, MIN_SHARE, MAX_SHARE))


def same_picture_groups(images: np.ndarray, hashes: Sequence[str], groups: Sequence[Hashable | None]) -> np.ndarray:
    """Return a component number (N,) for each image; images that must be in the same split have equal numbers.

    Images are joined by equal `hashes` (bytes of the source), equal `groups` (identity or video; None: no group), and
    near-identical pixels among `images`, uint8 (N, C, H, W).
    """
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    pairs = [near_pairs(thumbnails(images)), _chains(hashes), _chains(groups)]
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
