"""`attributes train`: train an attribute classifier on labelled images and write its report."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from sklearn.metrics import roc_auc_score
from torch import nn
from torch.nn.functional import binary_cross_entropy_with_logits, log_softmax

from fakecore.device import check_seed, choose_device, choose_precision, derive_seed, to_device
from fakecore.errors import UserError
from fakecore.files import append_jsonl, write_bytes
from fakecore.progress import say
from fakecore.runs.runfolder import host, locked, refuse_used, versions
from fakecore.settings import override
from fakedetect.attributes.data import SPLIT, AttributeImages, load_attributes
from fakedetect.attributes.metrics import YES_FROM, attribute_metrics
from fakedetect.attributes.model import VERSION, AttributeModel, all_logits, open_network, probabilities
from fakedetect.attributes.report import write_report
from fakedetect.attributes.settings import AttributeSettings, require_model
from fakedetect.data.augment import plan_augmentation
from fakedetect.models.calibration import fit_temperature
from fakedetect.training.batches import augmented_batches, cycled
from fakedetect.training.loop import Fit, Task, fit_epochs
from fakedetect.training.probe import FeatureCache


@dataclass(frozen=True)
class TrainedAttributes:
    """The result of `train`; `metrics` are those of the test split, by attribute."""

    model: Path
    report: Path
    metrics: dict[str, dict]
    unused: list[dict]  # {"path", "status", "error"}


def train(
    data: str,
    labels: Path | str,
    targets: str,
    *,
    out: Path | str,
    changes: dict[str, Any] | None = None,
    group: str | None = None,
    shares: tuple[int, int, int] = SPLIT,
    seed: int = 0,
    device: str = "auto",
    data_root: Path | None = None,
) -> TrainedAttributes:
    """Train a classifier of the attributes `targets` on the source `data`; write its folder and report.

    The best epoch, by mean AUROC, and the temperatures are chosen on the validation split; the metrics are of the test
    split. Raises UserError or Interrupted.
    """
    out, settings = Path(out), override(AttributeSettings(), changes or {})
    require_model(settings.model)
    settings.require_backbone_for_weights()
    check_seed(seed)
    _refuse_used(out)
    place = choose_device(device)
    images = load_attributes(
        data, Path(labels), targets, resolution=settings.resolution, group=group, shares=shares, seed=seed,
        data_root=data_root,
    )  # fmt: skip
    if settings.head == "softmax" and len(images.targets) < 2:
        what = "softmax over one attribute says yes of every image"
        raise UserError(what, got=images.targets[0].words, expected="two targets or more, or head=sigmoid")
    _say_base_rates(images)
    channels = images.images.shape[1]
    network, arguments, facts = open_network(settings, settings.resolution, channels, len(images.targets), seed)
    precision = choose_precision(settings.precision, place)
    with locked(out):
        _refuse_used(out)  # again: another process may have taken it while images were decoded
        fitted = _fit(network, images, settings, out, seed, place, precision)
        logits = all_logits(network, images.images, place)
        temperatures = _temperatures(images, logits, settings.head)
        p = probabilities(logits, settings.head, temperatures)
        metrics = _test_metrics(images, p, seed)
        facts = {
            "kind": "attributes",
            "version": VERSION,
            "model": settings.model,
            "arguments": arguments,
            **facts,
            "targets": [asdict(target) for target in images.targets],
            "head": settings.head,
            "temperatures": temperatures.tolist(),
            "training": {"fingerprint": images.fingerprint, "counts": images.counts(), "origin": images.origin},
            "settings": asdict(settings),
            "best_epoch": fitted.best_epoch,
            "seed": seed,
            "precision": precision,
            "versions": versions(),
            "host": host(),
            "test_metrics": metrics,
        }
        write_bytes(out / "predictions.csv", _predictions(images, p))
        append_jsonl(out / "unused.jsonl", images.unused)
        report = write_report(out / "report", facts, images, p, fitted.history)
        AttributeModel(network, facts, place).save(out)  # last: a folder with attributes.json is whole
    return TrainedAttributes(out, report, metrics, images.unused)


def _refuse_used(out: Path) -> None:
    refuse_used(out, made_by="an attribute classifier", marker="attributes.json")


def _say_base_rates(images: AttributeImages) -> None:
    counts = [(target.name, int(n)) for target, n in zip(images.targets, images.truth.sum(axis=0), strict=True)]
    text = ", ".join(f"{name} {n:,} ({n / len(images.truth):.1%})" for name, n in counts)
    left_out = images.origin["unanswered"]
    rest = f"; {left_out:,} others answer not every target and are left out" if left_out else ""
    say(f"note: of {len(images.truth):,} images have: {text}{rest}")


def _fit(network: Any, images: AttributeImages, settings: AttributeSettings, out, seed: int, device, precision):
    """Train the network on images, or, if only the head is trained, train the head on features that are computed once."""
    rows, val = _training_rows(images, settings.limit, seed), images.rows("val")
    size = min(settings.batch, len(rows))
    steps = -(-len(rows) // size)
    truth = torch.from_numpy(images.truth.astype(np.float32))

    def order(epoch: int) -> np.ndarray:
        random = np.random.default_rng(derive_seed(seed, "order", epoch))
        return cycled(np.arange(len(rows)), steps * size, random)

    def from_images(epoch: int) -> Iterator:
        drawn = rows[order(epoch)]
        batch_seed = derive_seed(seed, "batches", epoch)
        return augmented_batches(images.images, drawn, truth[drawn], size, settings, batch_seed)

    def shared(learner: nn.Module, batches, logits) -> Fit:
        task = Task(
            title=f"training {settings.model}",
            steps=[steps],
            images=steps * size,
            windows=lambda epoch, first: (one for one in [batches(epoch)]),
            seed_of=lambda epoch, window: derive_seed(seed, "epoch", epoch),
            loss=softmax_loss if settings.head == "softmax" else sigmoid_loss,
            validate=lambda: _validation_line(logits(), images, settings.head),
        )
        how = {"folder": out, "device": device, "precision": precision, "resumable": False}
        return fit_epochs(learner, task, settings, **how)

    if not settings.on_features:
        return shared(network, from_images, lambda: all_logits(network, images.images, device, val))
    to_device(network, device)
    features = FeatureCache(network.features, device)
    versions_ = [torch.from_numpy(one) for one in _versions(features, images, rows, settings, seed)]
    val_features = torch.from_numpy(features(images.images, val, None, "features of validation")).to(device)

    def from_features(epoch: int) -> Iterator:
        version, drawn = versions_[epoch % len(versions_)], torch.from_numpy(order(epoch))
        return ((version[part], truth[rows[part]]) for part in drawn.split(size))

    @torch.no_grad()
    def val_logits() -> np.ndarray:
        network.head.eval()
        return network.head(val_features).double().cpu().numpy()

    return shared(network.head, from_features, val_logits)


def _training_rows(images: AttributeImages, limit: int | None, seed: int) -> np.ndarray:
    rows = images.rows("train")
    if limit is None:
        return rows
    return np.sort(np.random.default_rng(derive_seed(seed, "limit")).permutation(rows)[:limit])


def _versions(features: FeatureCache, images: AttributeImages, rows, settings: AttributeSettings, seed: int):
    """Return features (len(rows), dims) of each augmented version of the training images, or of the unchanged images."""
    for copy in range(max(settings.copies, 1)):
        plan = plan_augmentation(len(rows), settings, derive_seed(seed, "copy", copy)) if settings.copies else None
        yield features(images.images, rows, plan, f"features, version {copy + 1} of {max(settings.copies, 1)}")


def sigmoid_loss(logits: torch.Tensor, truth: torch.Tensor) -> torch.Tensor:
    """Return the binary cross-entropy, averaged over images and attributes."""
    return binary_cross_entropy_with_logits(logits.view(truth.shape), truth)


def softmax_loss(logits: torch.Tensor, truth: torch.Tensor) -> torch.Tensor:
    """Return system E's loss: -sum over an image's attributes of log softmax, although attributes are not exclusive."""
    return -(truth * log_softmax(logits.float(), dim=1)).sum(dim=1).mean()


def _validation_line(logits: np.ndarray, images: AttributeImages, head: str) -> dict:
    """Return the line of history.jsonl for validation logits (N, T): loss, mean AUROC and accuracy, and both by attribute."""
    if not np.isfinite(logits).all():
        raise UserError("training stopped: logits are not finite on validation images", remedy="Try a smaller rate.")
    truth = images.truth[images.rows("val")]
    loss = softmax_loss if head == "softmax" else sigmoid_loss
    p = probabilities(logits, head, np.ones(logits.shape[1]))
    found = {
        target.name: {
            "val_auroc": float(roc_auc_score(truth[:, place], p[:, place])),
            "val_accuracy": float(((p[:, place] >= YES_FROM) == truth[:, place]).mean()),
        }
        for place, target in enumerate(images.targets)
    }
    return {
        "val_loss": float(loss(torch.from_numpy(logits), torch.from_numpy(truth.astype(np.float64)))),
        "val_auroc": float(np.mean([one["val_auroc"] for one in found.values()])),
        "val_accuracy": float(np.mean([one["val_accuracy"] for one in found.values()])),
        "attributes": found,
    }


def _temperatures(images: AttributeImages, logits: np.ndarray, head: str) -> np.ndarray:
    """Return one calibration temperature per attribute (Guo et al. 2017, arXiv 1706.04599, section 4.2); 1 with softmax."""
    count, val = logits.shape[1], images.rows("val")
    if head == "softmax":
        return np.ones(count)
    return np.array([fit_temperature(images.truth[val, t], logits[val, t], balanced=False) for t in range(count)])


def _test_metrics(images: AttributeImages, p: np.ndarray, seed: int) -> dict[str, dict]:
    train, test = images.rows("train"), images.rows("test")
    groups = [images.groups[row] for row in test]
    return {
        target.name: attribute_metrics(
            images.truth[test, place],
            p[test, place],
            commoner=int(images.truth[train, place].mean() >= 0.5),
            groups=groups,
            seed=seed,
        )
        for place, target in enumerate(images.targets)
    }


def _predictions(images: AttributeImages, p: np.ndarray) -> bytes:
    """Return one line per image: path, split, and truth and p of each attribute."""
    text = io.StringIO()
    writer = csv.writer(text)
    names = [target.name for target in images.targets]
    writer.writerow(["path", "split", *(f"{kind}_{name}" for name in names for kind in ("true", "p"))])
    for path, split, truth, own in zip(images.paths, images.splits, images.truth, p, strict=True):
        cells = [cell for y, value in zip(truth, own, strict=True) for cell in (int(y), f"{value:.6f}")]
        writer.writerow([path, split, *cells])
    return text.getvalue().encode(errors="surrogateescape")
