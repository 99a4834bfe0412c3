"""Distances between two sets of images: arrays of features in, numbers out.

Everywhere `reals` is (n, dims) and `fakes` (m, dims), float, finite; n and m may differ. All raise UserError for too few
images.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np

from fakecore.errors import UserError

NEIGHBOURS = 3  # k of precision and recall; as published
DENSITY_NEIGHBOURS = 5  # k of density and coverage; as published
_ROWS = 1000  # rows of a block of pairs: memory is _ROWS x n numbers, whatever m is


def frechet_distance(reals: np.ndarray, fakes: np.ndarray) -> tuple[float, float]:
    """Return (Frechet distance of Gaussians fitted to the two sets, its standard error): 0 for equal sets, lower is better.

    |mean - mean'|^2 + Tr(S + S' - 2 (S S')^1/2), with means and covariances S: Heusel et al. 2017 (arXiv 1706.08500). It is
    overestimated with few images, more so in more dimensions: report it together with n. The standard error is an
    infinitesimal jackknife (Jaeckel 1972): the derivatives of the distance by the weight of each image. It tells how much
    another draw of images would differ, not how far the distance is overestimated.
    """
    reals, fakes = _checked(reals, fakes, least=2, what="the Frechet distance")
    apart = fakes.mean(axis=0) - reals.mean(axis=0)
    left, right = _centred(reals), _centred(fakes)  # S = left^T left
    # Tr (S S')^1/2 is the sum of the singular values of left right^T, (n, m): exact, whatever the ranks. An economical QR
    # leaves a matrix of at most dims x dims to decompose.
    left_basis, left_rest = np.linalg.qr(left)
    right_basis, right_rest = np.linalg.qr(right)
    u, sizes, v = np.linalg.svd(left_rest @ right_rest.T, full_matrices=False)
    u, v = left_basis @ u, right_basis @ v.T  # (n, k) and (m, k)
    distance = apart @ apart + (left**2).sum() + (right**2).sum() - 2 * sizes.sum()
    by_real = (left**2).sum(axis=1) - u**2 @ sizes - 2 * left @ apart / np.sqrt(len(reals) - 1)
    by_fake = (right**2).sum(axis=1) - v**2 @ sizes + 2 * right @ apart / np.sqrt(len(fakes) - 1)
    variance = len(reals) * by_real.var(ddof=1) + len(fakes) * by_fake.var(ddof=1)
    return max(0.0, float(distance)), float(np.sqrt(variance))  # rounding may give slightly less than 0


def kernel_distance(reals: np.ndarray, fakes: np.ndarray, kernel: str = "cubic") -> tuple[float, float]:
    """Return (kernel distance, its standard error): the squared MMD with a kernel; lower is better.

    "cubic" is (x.y / dims + 1)^3, Binkowski et al. 2018 (arXiv 1801.01401). "gaussian" is exp(-|x - y|^2 / 200), times 1000:
    that of CMMD, Jayasumana et al. 2024 (arXiv 2401.09603), section 4, for embeddings of length 1. The estimate is unbiased:
    it may be below 0, and its mean does not depend on n. The standard error is a jackknife, one image left out at a time
    (Arvesen 1969, "Jackknifing U-statistics"); it is somewhat too large for similar sets. torchmetrics requires equal counts,
    and gives the spread over random subsets instead.
    """
    reals, fakes = _checked(reals, fakes, least=3, what="the kernel distance")
    n, m = len(reals), len(fakes)
    among = _KERNELS[kernel]
    # (n,), without the pair of an image with itself
    among_reals = _kernel_sums(reals, reals, among) - _kernel_of_itself(reals, among)
    among_fakes = _kernel_sums(fakes, fakes, among) - _kernel_of_itself(fakes, among)
    # each image's sum over the other set
    of_reals, of_fakes = _kernel_sums(reals, fakes, among), _kernel_sums(fakes, reals, among)

    def distance(rr, nn, ff, mm, rf):
        return rr / (nn * (nn - 1)) + ff / (mm * (mm - 1)) - 2 * rf / (nn * mm)

    rr, ff, rf = among_reals.sum(), among_fakes.sum(), of_reals.sum()
    without_real = distance(rr - 2 * among_reals, n - 1, ff, m, rf - of_reals)  # (n,)
    without_fake = distance(rr, n, ff - 2 * among_fakes, m - 1, rf - of_fakes)  # (m,)
    variance = (n - 1) * without_real.var() + (m - 1) * without_fake.var()
    return float(distance(rr, n, ff, m, rf)), float(np.sqrt(variance))


def precision_recall(reals: np.ndarray, fakes: np.ndarray, k: int = NEIGHBOURS) -> tuple[float, float]:
    """Return (precision, recall): the fractions of fakes near reals and of reals near fakes, in [0, 1]; higher is better.

    An image is near a set if, for some member of the set, it is no farther away than the member's k-th nearest neighbour
    in the set: Kynkaanniemi et al. 2019 (arXiv 1904.06991), equation 1. Both decrease with n.
    """
    reals, fakes = _checked(reals, fakes, least=k + 1, what="precision and recall")
    centre = reals.mean(axis=0)  # smaller values, less rounding error
    reals, fakes = reals - centre, fakes - centre
    return _fraction_near(fakes, reals, k), _fraction_near(reals, fakes, k)


def density_coverage(reals: np.ndarray, fakes: np.ndarray, k: int = DENSITY_NEIGHBOURS) -> tuple[float, float, float]:
    """Return (density, its standard error, coverage): how many reals' neighbourhoods a fake lies in, divided by k, and the
    fraction of reals with a fake in their neighbourhood. Higher is better; for equal distributions, density is 1 on average,
    and coverage 1 - 2^-k with many images.

    A real's neighbourhood reaches to its k-th nearest real: Naeem et al. 2020 (arXiv 2002.09797), section 3. Unlike precision
    and recall, both build neighbourhoods around reals only: an outlier among the fakes adds nothing. The standard error takes
    the reals as given.
    """
    reals, fakes = _checked(reals, fakes, least=k + 1, what="density and coverage")
    centre = reals.mean(axis=0)
    reals, fakes = reals - centre, fakes - centre
    radii = _radii(reals, k)
    density, covered = np.empty(len(fakes)), np.zeros(len(reals), dtype=bool)
    for rows in _blocks(len(fakes)):
        inside = _squared_distances(fakes[rows], reals) <= radii
        density[rows] = inside.sum(axis=1) / k
        covered |= inside.any(axis=0)
    return float(density.mean()), float(density.std(ddof=1) / np.sqrt(len(fakes))), float(covered.mean())


def diversity(reals: np.ndarray, fakes: np.ndarray) -> float:
    """Return the mean distance between two fakes divided by that between two reals: 0 if all fakes are equal."""
    reals, fakes = _checked(reals, fakes, least=2, what="diversity")
    spread = _mean_distance(reals)
    return _mean_distance(fakes) / spread if spread > 0 else 1.0


def _checked(reals: np.ndarray, fakes: np.ndarray, *, least: int, what: str) -> tuple[np.ndarray, np.ndarray]:
    if len(reals) < least or len(fakes) < least:
        raise UserError(
            f"there are too few images for {what}",
            got=f"{len(reals)} real and {len(fakes)} fake",
            expected=f"{least} or more of each; some hundreds for reliable numbers",
        )
    for name, features in (("real", reals), ("fake", fakes)):
        if not np.isfinite(features).all():
            raise UserError(f"the features of the {name} images are not all finite numbers")
    return np.ascontiguousarray(reals, dtype=np.float64), np.ascontiguousarray(fakes, dtype=np.float64)


def _centred(features: np.ndarray) -> np.ndarray:
    return (features - features.mean(axis=0)) / np.sqrt(len(features) - 1)


def _blocks(count: int) -> Iterator[slice]:
    for start in range(0, count, _ROWS):
        yield slice(start, min(start + _ROWS, count))


def _cubic(left: np.ndarray, right: np.ndarray) -> np.ndarray:
    return (left @ right.T / left.shape[1] + 1) ** 3


def _gaussian(left: np.ndarray, right: np.ndarray) -> np.ndarray:
    # Less 1, which cancels in the distance: the values are near 1, and would leave few digits.
    return 1000 * np.expm1(-_squared_distances(left, right) / 200)


_KERNELS: dict[str, Callable[[np.ndarray, np.ndarray], np.ndarray]] = {"cubic": _cubic, "gaussian": _gaussian}


def _kernel_of_itself(images: np.ndarray, kernel: Callable) -> np.ndarray:
    """Return k(images[i], images[i]) for each i, (n,)."""
    return np.array([kernel(image[None], image[None])[0, 0] for image in images])


def _kernel_sums(left: np.ndarray, right: np.ndarray, kernel: Callable) -> np.ndarray:
    """Return the sum over j of k(left[i], right[j]) for each i, (n,)."""
    return np.concatenate([kernel(left[rows], right).sum(axis=1) for rows in _blocks(len(left))])


def _squared_distances(left: np.ndarray, right: np.ndarray) -> np.ndarray:
    squares = (left**2).sum(axis=1)[:, None] + (right**2).sum(axis=1) - 2 * (left @ right.T)
    return np.maximum(squares, 0)


def _radii(members: np.ndarray, k: int) -> np.ndarray:
    """Return each member's squared distance to its k-th nearest other member, (n,)."""
    radii = np.empty(len(members))
    for rows in _blocks(len(members)):
        squares = _squared_distances(members[rows], members)
        squares[np.arange(len(squares)), np.arange(rows.start, rows.stop)] = 0  # itself, first among k + 1
        radii[rows] = np.partition(squares, k, axis=1)[:, k]
    return radii


def _fraction_near(queries: np.ndarray, members: np.ndarray, k: int) -> float:
    """Return the fraction of `queries` that are no farther from some member than its k-th nearest neighbour among members."""
    radii = _radii(members, k)
    inside = [(_squared_distances(queries[rows], members) <= radii).any(axis=1) for rows in _blocks(len(queries))]
    return float(np.concatenate(inside).mean())


def _mean_distance(features: np.ndarray) -> float:
    centred = features - features.mean(axis=0)
    total = 0.0
    for rows in _blocks(len(centred)):
        distances = np.sqrt(_squared_distances(centred[rows], centred))
        distances[np.arange(len(distances)), np.arange(rows.start, rows.stop)] = 0
        total += distances.sum()
    return float(total / (len(features) * (len(features) - 1)))
