"""Out-of-domain detection: the distance to the training images in the features of the detector, with a limit that few
held-out reals exceed, so that a photo unlike them is reported instead of being scored with false confidence.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from fakecore.device import derive_seed
from fakecore.lazytorch import torch

NEIGHBOURS = 10
MAX_SHARE = 0.01  # of validation reals that may be out of domain
_AXES = 64  # principal directions kept; the remainder counts as one more
_PER_AXIS = (
    80  # training images for each: of fewer, the axes fit these very images, and every other one is far from them
)
_POINTS = 2000  # training images kept as reference points
_WIDEST = 4096  # numbers an image; wider features would fill the detector's file, and are whitened
TINY = 1e-9  # shorter features carry no information
_LEAST = 20  # fewest training images for a meaningful distance
_PREFIX = "domain."


@dataclass(frozen=True)
class Whitening:
    """Principal components divided by their standard deviations, and the length of the remainder, divided likewise."""

    mean: np.ndarray  # (dims,)
    axes: np.ndarray  # (dims, k), each divided by the deviation along it
    rest_deviation: float  # of the remainder

    def places(self, features: np.ndarray) -> np.ndarray:
        """Return whitened features: (N, dims) -> float32 (N, k + 1)."""
        centred = features.astype(np.float32) - self.mean
        rest = _rest(centred, self.axes) / self.rest_deviation
        return np.column_stack([centred @ self.axes, rest]).astype(np.float32)


@dataclass(frozen=True)
class Domain:
    """The distance to the 10th nearest of up to 2,000 training images: deep nearest neighbours, Sun et al. 2022 (arXiv
    2204.06507), section 3.

    Features of backbones are scaled to unit length, as published: for a detector of dogs, nearly all faces are then out of
    domain, and none after whitening, since plain images have short features, near the mean. Features of networks trained only
    on reals and fakes, and spectra, whose length is informative, are whitened after a PCA.
    """

    points: np.ndarray  # (n, k)
    limit: float
    whitening: Whitening | None = None  # None: unit length

    def distances(self, features: np.ndarray) -> np.ndarray:
        """Return the distances (N,) of features (N, dims); above `limit` is out of domain. Non-finite features have distance
        infinity."""
        finite = np.isfinite(features).all(axis=1)
        places = self._places(np.where(finite[:, None], features, 0))
        # As a matrix product, in float64 for accuracy: half the time of scipy's, noticeable for small networks.
        mode = "use_mm_for_euclid_dist"
        apart = torch.cdist(
            torch.from_numpy(places).double(), torch.from_numpy(self.points).double(), compute_mode=mode
        )
        nearest = apart.topk(min(NEIGHBOURS, len(self.points)), dim=1, largest=False).values
        return np.where(finite, nearest[:, -1].numpy(), np.inf)

    def _places(self, features: np.ndarray) -> np.ndarray:
        return unit_length(features) if self.whitening is None else self.whitening.places(features)

    def outside(self, features: np.ndarray) -> np.ndarray:
        """Return whether features (N, dims) are out of domain: bool (N,)."""
        return self.distances(features) > self.limit

    def tensors(self) -> dict[str, torch.Tensor]:
        """Return the tensors of the domain in detector.safetensors."""
        arrays = {"points": self.points, "limit": np.array(self.limit)}
        if self.whitening is not None:
            own = self.whitening
            arrays |= {"mean": own.mean, "axes": own.axes, "rest_deviation": np.array(own.rest_deviation)}
        return {f"{_PREFIX}{name}": torch.from_numpy(np.asarray(a, dtype=np.float32)) for name, a in arrays.items()}


def split_tensors(tensors: dict[str, torch.Tensor]) -> tuple[dict[str, torch.Tensor], Domain | None]:
    """Split the tensors of a detector into those of its network and its domain; None if it was saved without one."""
    own = {name.removeprefix(_PREFIX): t.numpy() for name, t in tensors.items() if name.startswith(_PREFIX)}
    rest = {name: t for name, t in tensors.items() if not name.startswith(_PREFIX)}
    if not own:
        return rest, None
    whitening = Whitening(own["mean"], own["axes"], float(own["rest_deviation"])) if "axes" in own else None
    return rest, Domain(own["points"], float(own["limit"]), whitening)


def fit_domain(training: np.ndarray, held_out_reals: np.ndarray, of_backbone: bool = False) -> Domain | None:
    """Return the domain of training features (N, dims), reals and fakes, with its limit from those of validation reals (M,
    dims); None for too few images.

    `of_backbone`: the features come from a network pretrained on other images.
    """
    training = training[np.isfinite(training).all(axis=1)].astype(np.float32)
    if len(training) < _LEAST or not len(held_out_reals) or not training.shape[1]:
        return None
    random = np.random.default_rng(derive_seed(0, "domain"))
    shown = training[np.sort(random.permutation(len(training))[: 4 * _POINTS])]
    whitening = None
    if not of_backbone or shown.shape[1] > _WIDEST:
        whitening = _whiten(shown)
        if whitening is None:
            return None
    points = shown[:: max(1, len(shown) // _POINTS)][:_POINTS]
    points = unit_length(points) if whitening is None else whitening.places(points)
    limit = np.quantile(Domain(points, np.inf, whitening).distances(held_out_reals), 1 - MAX_SHARE, method="higher")
    return Domain(points, float(limit), whitening)


def unit_length(features: np.ndarray) -> np.ndarray:
    """Return each row of (N, dims) divided by its length, float32."""
    lengths = np.linalg.norm(features, axis=1, keepdims=True)
    return (features / np.maximum(lengths, TINY)).astype(np.float32)


def _whiten(shown: np.ndarray) -> Whitening | None:
    """Return the whitening of features, or None if they are constant."""
    from sklearn.decomposition import PCA

    count = max(1, min(_AXES, shown.shape[1], len(shown) // _PER_AXIS))
    pca = PCA(count, svd_solver="auto", random_state=0).fit(shown)
    deviations = np.sqrt(np.maximum(pca.explained_variance_, 0))
    used = deviations > max(
        1e-3 * float(deviations[0]), 1e-9
    )  # in constant directions, rounding errors would count as distance
    if not used.any():
        return None
    axes = (pca.components_[used] / deviations[used, None]).T.astype(np.float32)
    mean = pca.mean_.astype(np.float32)
    rest = _rest(shown - mean, axes)
    return Whitening(mean, axes, float(max(np.sqrt((rest**2).mean()), 1e-6)))


def _rest(centred: np.ndarray, axes: np.ndarray) -> np.ndarray:
    """Return the length (N,) of each row's remainder outside `axes`, which are orthogonal but not of unit length."""
    lengths = (axes**2).sum(axis=0)
    along = ((centred @ axes) ** 2 / lengths).sum(axis=1)
    return np.sqrt(np.maximum((centred**2).sum(axis=1) - along, 0))
