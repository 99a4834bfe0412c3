"""Is this image anything like those of the training? A distance in the detector's own features, with a limit that few
held-out reals exceed, so that a photo from elsewhere is said to be so instead of being judged with false confidence.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from fakecore.device import derive_seed

NEIGHBOURS = 10
MAX_SHARE = 0.01  # of validation reals that may be called outside
_AXES = 64  # principal directions that are kept; what lies across all of them counts as one more
_POINTS = 2000  # training images that are kept to measure from
_LEAST = 20  # training images, below which no distance means anything
_PREFIX = "domain."


@dataclass(frozen=True)
class Domain:
    """Distances are to the 10th nearest of up to 2,000 training images, in whitened principal components and the length
    of what they leave out: deep nearest neighbours, Sun et al. 2022 (arXiv 2204.06507), section 3, after a PCA.
    """

    mean: np.ndarray  # (dims,)
    axes: np.ndarray  # (dims, k), each divided by the deviation along it
    rest_deviation: float  # of what the axes leave out
    points: np.ndarray  # (n, k + 1)
    limit: float

    def distances(self, features: np.ndarray) -> np.ndarray:
        """features (N, dims) -> (N,): above `limit` is outside. Not finite features are infinitely far."""
        finite = np.isfinite(features).all(axis=1)
        places = _places(np.where(finite[:, None], features, 0), self.mean, self.axes, self.rest_deviation)
        # As a matrix product, in doubles so that nothing is lost: half the time of scipy's, which shows in small networks.
        mode = "use_mm_for_euclid_dist"
        apart = torch.cdist(*(torch.from_numpy(a).double() for a in (places, self.points)), compute_mode=mode)
        nearest = apart.topk(min(NEIGHBOURS, len(self.points)), dim=1, largest=False).values
        return np.where(finite, nearest[:, -1].numpy(), np.inf)

    def outside(self, features: np.ndarray) -> np.ndarray:
        """features (N, dims) -> bool (N,)."""
        return self.distances(features) > self.limit

    def tensors(self) -> dict[str, torch.Tensor]:
        """What detector.safetensors holds of it, beside the network."""
        arrays = {"mean": self.mean, "axes": self.axes, "points": self.points}
        arrays |= {"rest_deviation": np.array(self.rest_deviation), "limit": np.array(self.limit)}
        return {f"{_PREFIX}{name}": torch.from_numpy(np.asarray(a, dtype=np.float32)) for name, a in arrays.items()}


def split_tensors(tensors: dict[str, torch.Tensor]) -> tuple[dict[str, torch.Tensor], Domain | None]:
    """Tensors of a detector as those of its network and its domain; None for one that was saved without."""
    own = {name.removeprefix(_PREFIX): t.numpy() for name, t in tensors.items() if name.startswith(_PREFIX)}
    rest = {name: t for name, t in tensors.items() if not name.startswith(_PREFIX)}
    if not own:
        return rest, None
    own |= {name: float(own[name]) for name in ("rest_deviation", "limit")}
    return rest, Domain(**own)


def fit_domain(training: np.ndarray, held_out_reals: np.ndarray) -> Domain | None:
    """The domain of training features (N, dims), reals and fakes, with its limit from those of validation reals (M, dims).

    None for too few images to say what is like them.
    """
    from sklearn.decomposition import PCA

    training = training[np.isfinite(training).all(axis=1)].astype(np.float32)
    if len(training) < _LEAST or not len(held_out_reals) or not training.shape[1]:
        return None
    random = np.random.default_rng(derive_seed(0, "domain"))
    shown = training[np.sort(random.permutation(len(training))[: 4 * _POINTS])]
    count = min(_AXES, shown.shape[1], len(shown) - 1)
    pca = PCA(count, svd_solver="auto", random_state=0).fit(shown)
    deviations = np.sqrt(np.maximum(pca.explained_variance_, 0))
    used = deviations > max(1e-3 * float(deviations[0]), 1e-9)  # where nothing varies, rounding would count as distance
    if not used.any():
        return None
    axes = (pca.components_[used] / deviations[used, None]).T.astype(np.float32)
    mean = pca.mean_.astype(np.float32)
    rest = _rest(shown - mean, axes)
    rest_deviation = float(max(np.sqrt((rest**2).mean()), 1e-6))
    points = _places(shown[:: max(1, len(shown) // _POINTS)][:_POINTS], mean, axes, rest_deviation)
    found = Domain(mean, axes, rest_deviation, points, np.inf)
    limit = float(np.quantile(found.distances(held_out_reals), 1 - MAX_SHARE, method="higher"))
    return Domain(mean, axes, rest_deviation, points, limit)


def _places(features: np.ndarray, mean: np.ndarray, axes: np.ndarray, rest_deviation: float) -> np.ndarray:
    centred = features.astype(np.float32) - mean
    return np.column_stack([centred @ axes, _rest(centred, axes) / rest_deviation]).astype(np.float32)


def _rest(centred: np.ndarray, axes: np.ndarray) -> np.ndarray:
    """The length of what `axes`, orthogonal but not of unit length, leave out of each row, (N,)."""
    lengths = (axes**2).sum(axis=0)
    along = ((centred @ axes) ** 2 / lengths).sum(axis=1)
    return np.sqrt(np.maximum((centred**2).sum(axis=1) - along, 0))
