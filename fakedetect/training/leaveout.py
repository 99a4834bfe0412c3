"""Leave each source of fakes out in turn: what to expect of a generator that was never seen, and thresholds that travel."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch

from fakecore.device import Precision
from fakecore.labels import REAL
from fakecore.progress import say
from fakedetect.data.joining import without_source
from fakedetect.data.loading import LabelledImages
from fakedetect.evaluation.metrics import all_metrics
from fakedetect.models.calibration import Scaling, Thresholds, choose_on
from fakedetect.models.detector import network_logits, scoring_network
from fakedetect.models.networks import Probed
from fakedetect.models.registry import Opened, open_new, trains_on_features
from fakedetect.models.settings import DetectorSettings
from fakedetect.training.fitting import fit_opened, with_degraded
from fakedetect.training.probe import FeatureCache, fit_head, probe_features

_REPORTED = ("n_real", "n_fake", "auroc", "auroc_interval", "tpr", "tpr_interval", "fpr", "fpr_interval", "ece")


@dataclass(frozen=True)
class Fold:
    """Logits of a detector that was trained without the fakes of `source`: `val` (versions, n_val), `test` (n_test,)."""

    source: str
    val: np.ndarray
    test: np.ndarray


@dataclass(frozen=True)
class LeftOut:
    """Scaling and thresholds chosen on the fakes of left-out sources, and what the test of each source showed."""

    scaling: Scaling
    thresholds: Thresholds
    expected: dict


def sources_of(data: LabelledImages) -> list[str]:
    """Return the names of the sources of fakes, in order; empty for a single source."""
    if data.generators is None:
        return []
    return [str(name) for name in dict.fromkeys(data.generators.tolist()) if name]


def leave_one_out(
    data: LabelledImages,
    fold_of: Callable[[str], tuple[np.ndarray, np.ndarray]],
    max_fpr: float,
    max_fnr: float,
    seed: int,
) -> LeftOut:
    """Train without each source in turn and test on it.

    `fold_of` trains without a source and returns the logits of all validation images, (versions, n_val), and of all test
    images, (n_test,). The scaling and thresholds returned are chosen on the validation images of all folds: the reals,
    and the fakes of the source that was left out. The test of a source uses those of the other folds, so that nothing
    about it was known.
    """
    folds = []
    for number, source in enumerate(names := sources_of(data), 1):
        say(f"left out {source} ({number} of {len(names)})")
        folds.append(Fold(source, *fold_of(source)))
    rows = {}
    for fold in folds:
        scaling, thresholds = _choose(data, [one for one in folds if one is not fold], max_fpr, max_fnr)
        test = data.rows("test")
        judged = _of_source(data, test, fold.source)
        p_fake = scaling.probability(fold.test[judged])
        groups = [data.groups[row] for row in test[judged]]
        found = all_metrics(data.labels[test[judged]], p_fake, thresholds, groups=groups, seed=seed)
        rows[fold.source] = {name: found[name] for name in _REPORTED}
    scaling, thresholds = _choose(data, folds, max_fpr, max_fnr)
    means = {name: float(np.mean([row[name] for row in rows.values()])) for name in ("auroc", "tpr", "fpr", "ece")}
    return LeftOut(scaling, thresholds, {**means, "sources": rows})


def folds(
    opened: Opened,
    data: LabelledImages,
    settings: DetectorSettings,
    out: Path,
    seed: int,
    device: torch.device,
    precision: Precision,
) -> Callable[[str], tuple[np.ndarray, np.ndarray]]:
    """Return the `fold_of` of `leave_one_out`: heads on features that are computed once, or whole networks, each trained in a
    folder of its own below `out`.
    """
    if trains_on_features(settings):
        return _head_folds(opened.network, data, settings, seed, device)

    def fold_of(source: str) -> tuple[np.ndarray, np.ndarray]:
        fold = without_source(data, source)
        folder = out / "left-out" / source
        folder.mkdir(parents=True, exist_ok=True)
        fitted = fit_opened(open_new(settings, fold, seed), fold, settings, folder, seed, device, precision)
        scorer = scoring_network(fitted.network, device)
        val, test = data.rows("val"), data.rows("test")
        logits = network_logits(scorer, data.images, device, val)
        return (
            with_degraded(scorer, data, val, logits, settings, device),
            network_logits(scorer, data.images, device, test),
        )

    return fold_of


def _head_folds(network: Probed, data: LabelledImages, settings: DetectorSettings, seed: int, device: torch.device):
    assert data.generators is not None, "only joined images have several sources"
    features = probe_features(network, data, settings, seed=seed, device=device)  # cached since the fit on all sources
    val, test = data.rows("val"), data.rows("test")
    of_test = FeatureCache(network.features, device)(data.images, test, title="features of the test")
    generators = data.generators

    def fold_of(source: str) -> tuple[np.ndarray, np.ndarray]:
        kept, kept_val = generators[features.rows] != source, generators[val] != source
        own = copy.deepcopy(network)
        versions = [version[kept] for version in features.versions]
        val_labels = np.tile(data.labels[val[kept_val]], len(features.val))
        val_features = features.val[:, kept_val].reshape(-1, features.val.shape[-1])
        fit_head(own, versions, data.labels[features.rows[kept]], (val_features, val_labels), settings, seed)
        return np.stack([_head_logits(own, one, device) for one in features.val]), _head_logits(own, of_test, device)

    return fold_of


@torch.inference_mode()
def _head_logits(network: Probed, features: np.ndarray, device: torch.device) -> np.ndarray:
    return network.head.eval()(torch.from_numpy(features).to(device)).flatten().double().cpu().numpy()


def _choose(data: LabelledImages, folds: list[Fold], max_fpr: float, max_fnr: float) -> tuple[Scaling, Thresholds]:
    """Return scaling and thresholds from the validation images of these folds."""
    val = data.rows("val")
    chosen = [_of_source(data, val, fold.source) for fold in folds]
    labels = np.concatenate([data.labels[val[own]] for own in chosen])
    logits = np.concatenate([fold.val[:, own] for fold, own in zip(folds, chosen, strict=True)], axis=1)
    scaling, found = choose_on(labels, logits, max_fpr, max_fnr)
    n_real, n_fake = int((data.labels[val] == REAL).sum()), int((labels != REAL).sum())
    after = f", each unchanged and after {len(logits) - 1} degradations" if len(logits) > 1 else ""
    where = (
        f"validation split: {n_real} real, {n_fake} fake{after}; each source of fakes by a detector trained without it"
    )
    return scaling, replace(found, chosen_on=where)


def _of_source(data: LabelledImages, rows: np.ndarray, source: str) -> np.ndarray:
    """Return the places in `rows` of the reals and of the fakes of `source`."""
    assert data.generators is not None, "only joined images have several sources"
    return np.flatnonzero((data.labels[rows] == REAL) | (data.generators[rows] == source))
