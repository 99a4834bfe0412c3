"""Which images are the same picture? Identical bytes, and near-identical pixels, exactly and without comparing all pairs."""

from __future__ import annotations

from collections.abc import Hashable, Sequence

import cv2
import numpy as np

THUMBNAIL = 16
MAX_RMS = 4.0  # grey levels of 255 between two thumbnails: re-saving as JPEG 75 stays below it
MAX_SHARE_OF_CONTRAST = 0.12  # of the fainter thumbnail's contrast, so that flat images are not all "the same"
_SEARCH_DIMENSIONS = 8


def thumbnails(images: np.ndarray) -> np.ndarray:
    """uint8 (N, C, H, W) -> float32 (N, C * 16 * 16), [0, 255]: area-averaged, so that fine noise and codecs drop out."""
    small = np.empty((len(images), images.shape[1] * THUMBNAIL**2), dtype=np.float32)
    for index, image in enumerate(images):
        layout = np.ascontiguousarray(image.transpose(1, 2, 0), dtype=np.float32)
        small[index] = cv2.resize(layout, (THUMBNAIL, THUMBNAIL), interpolation=cv2.INTER_AREA).reshape(-1)
    return small


def near_pairs(small: np.ndarray) -> np.ndarray:
    """Index pairs (M, 2) of near-identical thumbnails (N, D).

    A projection on the first principal components never lengthens a distance, so a tree search there misses no pair;
    what it finds is then measured in full.
    """
    from sklearn.decomposition import PCA
    from sklearn.neighbors import KDTree

    count, dimensions = small.shape
    if count < 2:
        return np.empty((0, 2), dtype=np.int64)
    # Fitting on a sample changes how quick the search is, never what it finds.
    sample = small[np.linspace(0, count - 1, min(count, 5000)).astype(int)]
    with np.errstate(invalid="ignore"):  # a set of equal images has no variance to divide by
        pca = PCA(min(_SEARCH_DIMENSIONS, dimensions, len(sample)), svd_solver="full").fit(sample)
    projected = pca.transform(small)
    neighbours = KDTree(projected).query_radius(projected, MAX_RMS * np.sqrt(dimensions))
    contrast = small.std(axis=1)
    pairs = []
    for index, near in enumerate(neighbours):
        near = near[near > index]
        rms = np.sqrt(((small[near] - small[index]) ** 2).mean(axis=1))
        limit = np.minimum(MAX_RMS, MAX_SHARE_OF_CONTRAST * np.minimum(contrast[near], contrast[index]))
        pairs.append(np.stack([np.full(len(near), index), near], axis=1)[rms <= limit])
    return np.concatenate(pairs)


def same_picture_groups(images: np.ndarray, hashes: Sequence[str], groups: Sequence[Hashable | None]) -> np.ndarray:
    """A component number (N,) for each image; images that must share a split have the same one.

    Joined are: equal `hashes` (bytes of the source), equal `groups` (identity or video; None is no group), and
    near-identical pictures among `images`, uint8 (N, C, H, W).
    """
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    pairs = [near_pairs(thumbnails(images)), _chains(hashes), _chains(groups)]
    left, right = np.concatenate(pairs).T
    count = len(images)
    graph = coo_array((np.ones(len(left), dtype=bool), (left, right)), shape=(count, count))
    return connected_components(graph, directed=False)[1]


def _chains(keys: Sequence[Hashable | None]) -> np.ndarray:
    """Pairs (M, 2) that link each index to the previous one with the same key."""
    last: dict[Hashable, int] = {}
    pairs = []
    for index, key in enumerate(keys):
        if key is None:
            continue
        if key in last:
            pairs.append((last[key], index))
        last[key] = index
    return np.array(pairs, dtype=np.int64).reshape(-1, 2)
