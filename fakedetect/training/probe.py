"""Train detectors on fixed features: computed once and cached on disk, so that epochs are cheap."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.svm import LinearSVC
from torch.nn.functional import binary_cross_entropy_with_logits

from fakecore.cpus import usable_cpus
from fakecore.device import autocast, choose_precision, derive_seed, one_thread, to_device
from fakecore.errors import Interrupted, UserError
from fakecore.interrupt import StopRequest
from fakecore.labels import FAKE, REAL
from fakecore.progress import progress_bar, say
from fakecore.runs.checkpoint import tensor_bytes
from fakecore.runs.tensorcache import load_tensors, save_tensors
from fakecore.sets.streaming import Pixels
from fakedetect.data.augment import WITHSTOOD, Plan, augment, plan_augmentation, plan_degradation
from fakedetect.data.loading import LabelledImages
from fakedetect.models.backbones import for_scoring
from fakedetect.models.networks import Probed
from fakedetect.models.settings import DetectorSettings
from fakedetect.training.batches import training_rows
from fakedetect.training.loop import Fit, best_epoch, validation_line

_CHUNK = 256  # images per cache file
_BATCH = 32
_STRENGTHS = (1e-4, 1e-3, 1e-2, 1e-1, 1.0)  # inverse regularisation of linear probes; the best on validation is chosen


class FeatureCache:
    """Computes features with a frozen extractor; features of images with equal content come from the cache."""

    def __init__(self, extractor: Any, device: torch.device):
        self._device, self._precision = device, choose_precision(extractor.precision, device)
        self._extractor: Any = for_scoring(extractor.eval(), self._precision)
        own = hashlib.sha256(tensor_bytes(extractor.state_dict())).hexdigest()
        shape = (getattr(extractor, "input_size", None), getattr(extractor, "pool", None))
        self._key = f"{type(extractor).__name__}|{own}|{shape}|{self._precision}"

    def __call__(self, images: Pixels, rows: np.ndarray, plan=None, title: str = "features") -> np.ndarray:
        """Return the features of some `rows` of uint8 (N, C, R, R), augmented by `plan`: float32 (len(rows), dims)."""
        found = np.empty((len(rows), self._extractor.dims), dtype=np.float32)

        def chunk(start: int) -> np.ndarray:
            batch = images[rows[start : start + _CHUNK]]
            if plan is not None:
                batch = np.stack([augment(image, plan, place) for place, image in enumerate(batch, start)])
            return self._chunk(batch)

        starts = range(0, len(rows), _CHUNK)
        # On a GPU one batch at a time; on a CPU one batch per core, each on one thread.
        workers = 1 if self._device.type == "cuda" else usable_cpus()
        pool = ThreadPoolExecutor(workers)
        with StopRequest() as stop, progress_bar(title, len(rows), "images") as bar, pool:
            for start, part in zip(starts, pool.map(chunk, starts), strict=True):
                found[start : start + len(part)] = part
                bar.advance(len(part))
                if stop.asked:
                    pool.shutdown(cancel_futures=True)
                    raise Interrupted(f"stopped after the features of {start + len(part)} images; they are kept")
        return found

    @torch.inference_mode()
    def _chunk(self, batch: np.ndarray) -> np.ndarray:
        digest = hashlib.sha256(self._key.encode() + str(batch.shape).encode() + batch.tobytes()).hexdigest()
        key = f"detector-{digest[:32]}"
        if (kept := load_tensors(key)) is not None:
            return kept[0]["features"].numpy()
        parts = []
        with one_thread():
            for start in range(0, len(batch), _BATCH):
                part = torch.from_numpy(batch[start : start + _BATCH]).to(self._device)
                with autocast(self._device, self._precision):
                    parts.append(self._extractor(part).float().cpu())
        features = torch.cat(parts)
        save_tensors(key, {"features": features}, {})
        return features.numpy()


@dataclass(frozen=True)
class ProbeFeatures:
    """Features for fitting a head: `versions`, each float32 (N, dims), of the training images `rows` (N,), and `val`, float32
    (V, M, dims), of V versions of the M validation images: as they are, and degraded if training degrades images.
    """

    rows: np.ndarray
    versions: list[np.ndarray]
    val: np.ndarray


def fit_probe(
    network: Probed, data: LabelledImages, settings: DetectorSettings, *, seed: int, device: torch.device
) -> Fit:
    """Fit the head of `network` on features of augmented versions of the training images, or of the unchanged images. The
    extractor is not trained.

    Raises UserError for features that are not finite, and Interrupted after Ctrl-C; computed features stay in the cache.
    """
    found = probe_features(network, data, settings, seed=seed, device=device)
    val_labels = np.tile(data.labels[data.rows("val")], len(found.val))
    val = found.val.reshape(-1, found.val.shape[-1]), val_labels
    return fit_head(network, found.versions, data.labels[found.rows], val, settings, seed)


def probe_features(
    network: Probed, data: LabelledImages, settings: DetectorSettings, *, seed: int, device: torch.device
) -> ProbeFeatures:
    """Return the features that the head of `network` is fitted on. Raises as `fit_probe` does."""
    to_device(network, device).eval()
    features = FeatureCache(network.features, device)
    rows = np.concatenate(training_rows(data, settings.limit, seed))
    if data.streamed:
        gigabytes = max(settings.copies_in_use(), 1) * len(rows) * network.features.dims * 4 / 1e9
        say(
            f"features of {len(rows):,} training images: {gigabytes:.1f} GB of memory, three times that to fit a linear head"
        )
    copies, versions = settings.copies_in_use(), []
    for copy in range(max(copies, 1)):
        plan = plan_augmentation(len(rows), settings, derive_seed(seed, "copy", copy)) if copies else None
        title = f"features, version {copy + 1} of {max(copies, 1)}"
        versions.append(_finite(features(data.images, rows, plan, title)))
    val_rows = data.rows("val")
    plans: list[Plan | None] = [None]
    if settings.degrade_in_use():
        plans += [plan_degradation(len(val_rows), degradation) for degradation in WITHSTOOD]
    val = [_finite(features(data.images, val_rows, plan, "features of validation")) for plan in plans]
    return ProbeFeatures(rows, versions, np.stack(val))


def fit_head(
    network: Probed,
    versions: list[np.ndarray],
    labels: np.ndarray,
    val: tuple[np.ndarray, np.ndarray],
    settings: DetectorSettings,
    seed: int,
) -> Fit:
    """Fit the head of `network` on given features: each of `versions` is float32 (N, dims) of the same images, `labels` (N,)
    are real 0 / fake 1, and `val` are the features (M, dims) and labels (M,) for the choice of the best.
    """
    if settings.probe_in_use() == "mlp":
        return _fit_layers(network, versions, labels, val, settings, seed)
    return _fit_linear(network, versions, labels, val, settings)


def _finite(features: np.ndarray) -> np.ndarray:
    if not np.isfinite(features).all():
        count = int((~np.isfinite(features).all(axis=1)).sum())
        raise UserError(
            f"the features of {count:,} of {len(features):,} images are not finite",
            remedy="The weights are damaged, or overflow: try others, or --set precision=fp32.",
        )
    return features


def _fit_linear(network: Probed, versions, labels, val, settings: DetectorSettings) -> Fit:
    """Fit logistic regression or a linear SVM with the regularisation that ranks validation images best."""
    training = np.concatenate(versions)
    mean, deviation = training.mean(axis=0), training.std(axis=0)
    deviation[deviation < 1e-6 * max(float(deviation.max()), 1e-12)] = 1.0  # a constant feature
    training = (training - mean) / deviation
    standard_val = (val[0] - mean) / deviation
    repeated = np.tile(labels, len(versions))
    best: Any = None
    for strength in _STRENGTHS:
        if settings.probe_in_use() == "svm":
            model = LinearSVC(C=strength, class_weight="balanced", dual="auto", random_state=0)
        else:
            model = LogisticRegression(C=strength, class_weight="balanced", max_iter=300)
        model.fit(training, repeated)
        auroc = float(roc_auc_score(val[1], model.decision_function(standard_val)))
        if best is None or auroc > best[0]:
            best = auroc, strength, model
    auroc, strength, model = best
    sign = 1 if model.classes_[1] == FAKE else -1
    head = network.head
    with torch.no_grad():
        head.mean.copy_(torch.from_numpy(mean))
        head.deviation.copy_(torch.from_numpy(deviation))
        head.linear.weight.copy_(torch.from_numpy(sign * model.coef_).float())
        head.linear.bias.copy_(torch.from_numpy(np.atleast_1d(sign * model.intercept_)).float())
    return Fit(network, [], None, {"inverse_regularisation": strength, "val_auroc": auroc})


def _fit_layers(network: Probed, versions, labels, val, settings: DetectorSettings, seed: int) -> Fit:
    """Train the layers of the head in balanced batches, each epoch on one version of every image; keep the best epoch."""
    head = network.head
    optimiser = torch.optim.AdamW(head.parameters(), lr=settings.rate_in_use(), weight_decay=settings.weight_decay)
    device = next(head.parameters()).device
    tensors = [torch.from_numpy(version) for version in versions]
    targets = torch.from_numpy((labels == FAKE).astype(np.float32))
    val_features = torch.from_numpy(val[0]).to(device)
    per_class = settings.batch // 2
    reals, fakes = (np.flatnonzero(labels == label) for label in (REAL, FAKE))
    steps = -(-max(len(reals), len(fakes)) // per_class)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, settings.epochs * steps)
    history, best_weights = [], {}
    with StopRequest() as stop, progress_bar("training the head", settings.epochs * steps, "steps") as bar:
        for epoch in range(settings.epochs):
            head.train()
            torch.manual_seed(derive_seed(seed, "epoch", epoch))
            losses = []
            for rows in _balanced(reals, fakes, per_class, steps, derive_seed(seed, "batches", epoch)):
                logits = head(tensors[epoch % len(tensors)][rows].to(device)).flatten()
                loss = binary_cross_entropy_with_logits(logits, targets[rows].to(device))
                optimiser.zero_grad()
                loss.backward()
                optimiser.step()
                schedule.step()
                losses.append(float(loss.detach()))
                bar.advance()
                if stop.asked:
                    raise Interrupted(f"stopped in epoch {epoch + 1} of {settings.epochs}; the features are kept")
            head.eval()
            with torch.no_grad():
                logits = head(val_features).flatten().double().cpu().numpy()
            line = {"epoch": epoch + 1, "train_loss": float(np.mean(losses)), **validation_line(logits, val[1])}
            history.append(line)
            bar.note(f"val AUROC {line['val_auroc']:.4f}")
            if best_epoch(history) == epoch + 1:
                best_weights = {name: tensor.detach().clone() for name, tensor in head.state_dict().items()}
    head.load_state_dict(best_weights)
    return Fit(network, history, best_epoch(history))


def _balanced(reals: np.ndarray, fakes: np.ndarray, per_class: int, steps: int, seed: int) -> Iterator[torch.Tensor]:
    """Yield batches of half reals and half fakes; the smaller class is repeated."""
    random = np.random.default_rng(seed)
    orders = []
    for own in (reals, fakes):
        rounds = -(-steps * per_class // len(own))
        orders.append(np.concatenate([random.permutation(own) for _ in range(rounds)]))
    for step in range(steps):
        span = slice(step * per_class, (step + 1) * per_class)
        yield torch.from_numpy(np.concatenate([order[span] for order in orders]))
