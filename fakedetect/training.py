"""Training a detector: balanced batches, augmentation alike for both classes, the best epoch by validation AUROC."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from sklearn.metrics import roc_auc_score
from torch import nn
from torch.nn.functional import binary_cross_entropy_with_logits

from fakecore.checkpoint import load_into, optimiser_tensors, read_tensors, restore_optimiser, tensor_bytes
from fakecore.device import derive_seed, keep_freed_memory, make_fabric
from fakecore.errors import Interrupted, UserError
from fakecore.files import append_jsonl, cut_jsonl, write_bytes
from fakecore.interrupt import StopRequest
from fakecore.labels import FAKE, REAL
from fakecore.progress import progress_bar
from fakedetect.augment import augment, plan_augmentation
from fakedetect.data import LabelledImages
from fakedetect.detector import network_logits
from fakedetect.settings import DetectorSettings

_BATCHES_AHEAD = 4  # augmented beside the network


@dataclass
class Fit:
    """A network with the weights of its best epoch, and one history line per epoch."""

    network: nn.Module
    history: list[dict]  # empty where nothing was trained in epochs
    best_epoch: int | None
    chosen: dict = field(default_factory=dict)  # what else the validation split decided


def fit(
    network: nn.Module,
    data: LabelledImages,
    settings: DetectorSettings,
    *,
    folder: Path,
    seed: int,
    device: torch.device,
    precision: str,
) -> Fit:
    """Train `network` on the train split; history.jsonl and the state to resume from go to `folder`.

    Raises Interrupted after Ctrl-C or SIGTERM, once the epoch's last state is on disk; UserError when a loss is no
    longer finite.
    """
    keep_freed_memory()
    rows = training_rows(data, settings.limit, seed)
    per_class = settings.batch // 2
    steps = math.ceil(max(len(own) for own in rows) / per_class)
    network.to(device, memory_format=torch.channels_last)
    learning = [parameter for parameter in network.parameters() if parameter.requires_grad]
    optimiser = torch.optim.AdamW(learning, lr=settings.rate_in_use(), weight_decay=settings.weight_decay)
    state = _State(folder, network, optimiser)
    first, history = state.load()
    fabric = make_fabric(device, precision)
    wrapped, wrapped_optimiser = fabric.setup(network, optimiser)
    val = data.rows("val")
    title = f"training {settings.model}"
    total = settings.epochs * steps * 2 * per_class
    done = first * steps * 2 * per_class
    with StopRequest() as stop, progress_bar(title, total, "images", done) as bar:
        for epoch in range(first, settings.epochs):
            network.train()
            torch.manual_seed(derive_seed(seed, "epoch", epoch))
            losses = []
            for step, (images, labels) in enumerate(
                _batches(data, rows, steps, settings, derive_seed(seed, "batches", epoch))
            ):
                for group in optimiser.param_groups:
                    group["lr"] = settings.rate_in_use() * _half_cosine(
                        (epoch * steps + step) / (settings.epochs * steps)
                    )
                logits = wrapped(images.to(device, memory_format=torch.channels_last))  # (B,)
                loss = binary_cross_entropy_with_logits(logits, labels.to(device))
                wrapped_optimiser.zero_grad()
                fabric.backward(loss)
                wrapped_optimiser.step()
                losses.append(loss.detach())
                bar.advance(len(labels))
                if stop.asked:
                    raise Interrupted(f"stopped in epoch {epoch + 1} of {settings.epochs}; {epoch} are saved")
            line = {"epoch": epoch + 1, "train_loss": float(torch.stack(losses).mean())}
            if not math.isfinite(line["train_loss"]):
                raise UserError(
                    f"training stopped: the loss is not finite in epoch {epoch + 1}",
                    got=line["train_loss"],
                    remedy="Try a smaller rate, such as --set rate=1e-4, or --set precision=fp32.",
                )
            line |= _validate(network, data, val, device)
            bar.note(f"val AUROC {line['val_auroc']:.4f}")
            append_jsonl(folder / "history.jsonl", [line])
            history.append(line)
            state.save(epoch + 1, is_best=best_epoch(history) == epoch + 1)
    load_into(network, state.best(), str(folder))
    return Fit(network, history, best_epoch(history))


def training_rows(data: LabelledImages, limit: int | None, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Rows of the train split, (reals, fakes); with a limit, half of it each, drawn by the seed."""
    both = tuple(data.rows("train", label) for label in (REAL, FAKE))
    if limit is None:
        return both
    random = np.random.default_rng(derive_seed(seed, "limit"))
    return tuple(np.sort(random.permutation(own)[: max(1, limit // 2)]) for own in both)


def _batches(data: LabelledImages, rows, steps: int, settings: DetectorSettings, seed: int) -> Iterator:
    """(uint8 (B, C, R, R), float labels (B,)): half reals, half fakes; the smaller class comes round more than once."""
    per_class = settings.batch // 2
    random = np.random.default_rng(seed)
    drawn = [_cycled(own, steps * per_class, random) for own in rows]
    order = np.stack(drawn, axis=1).reshape(-1)  # real, fake, real, fake ...
    plan = plan_augmentation(len(order), settings, derive_seed(seed, "augment"))
    labels = torch.from_numpy(data.labels[order].astype(np.float32))

    def make(start: int):
        places = range(start, start + 2 * per_class)
        images = np.stack([augment(data.images[order[place]], plan, place) for place in places])
        return torch.from_numpy(images), labels[start : start + 2 * per_class]

    starts = range(0, len(order), 2 * per_class)
    with ThreadPoolExecutor(os.cpu_count() or 1) as pool:
        waiting = [pool.submit(make, start) for start in starts[:_BATCHES_AHEAD]]
        try:
            for number in range(len(starts)):
                batch = waiting[number].result()
                waiting[number] = None
                if number + _BATCHES_AHEAD < len(starts):
                    waiting.append(pool.submit(make, starts[number + _BATCHES_AHEAD]))
                yield batch
        finally:
            pool.shutdown(cancel_futures=True)


def _cycled(rows: np.ndarray, count: int, random: np.random.Generator) -> np.ndarray:
    rounds = -(-count // len(rows))
    return np.concatenate([random.permutation(rows) for _ in range(rounds)])[:count]


def _half_cosine(progress: float) -> float:
    return 0.5 * (1 + math.cos(math.pi * progress))


def _validate(network: nn.Module, data: LabelledImages, rows: np.ndarray, device: torch.device) -> dict:
    return validation_line(network_logits(network, data.images, device, rows), data.labels[rows])


def validation_line(logits: np.ndarray, labels: np.ndarray) -> dict:
    """Loss, AUROC and accuracy at logit 0 of (N,) logits, as a line of history.jsonl has them. Raises UserError for logits
    that are not finite.
    """
    if not np.isfinite(logits).all():
        raise UserError("training stopped: logits are not finite on validation images", remedy="Try a smaller rate.")
    loss = float((np.logaddexp(0, logits) - labels * logits).mean())
    accuracy = float(((logits > 0) == (labels == FAKE)).mean())
    return {"val_loss": loss, "val_auroc": float(roc_auc_score(labels, logits)), "val_accuracy": accuracy}


def best_epoch(history: list[dict]) -> int:
    """The epoch of the highest validation AUROC; of equals, that of the lowest validation loss."""
    return max(history, key=lambda line: (line["val_auroc"], -line["val_loss"]))["epoch"]


class _State:
    """Last and best weights on disk after every epoch, so that a stopped training goes on and the best is never lost."""

    def __init__(self, folder: Path, network: nn.Module, optimiser: torch.optim.Optimizer):
        self._path = folder / "state" / "latest.safetensors"
        self._network, self._optimiser = network, optimiser
        self._best: dict[str, torch.Tensor] = {}

    def save(self, epoch: int, *, is_best: bool) -> None:
        if is_best:
            self._best = {name: tensor.detach().clone() for name, tensor in self._network.state_dict().items()}
        whole = {f"last.{name}": tensor for name, tensor in self._network.state_dict().items()}
        whole |= {f"best.{name}": tensor for name, tensor in self._best.items()}
        whole |= optimiser_tensors(self._optimiser, "optimiser.")
        write_bytes(self._path, tensor_bytes({**whole, "epoch": torch.tensor(epoch)}))

    def load(self) -> tuple[int, list[dict]]:
        """Epochs done so far, and their lines of history.jsonl; 0 and none when there is no state.

        Raises UserError, with the remedy, when what is there is damaged or of another training.
        """
        path, history = self._path, self._path.parent.parent / "history.jsonl"
        if not path.is_file():
            return 0, cut_jsonl(history, keep=0)
        remedy = f"Remove {path} and resume again: the training then begins anew, as it was asked for."
        tensors = read_tensors(path, remedy=remedy)

        def part(prefix: str) -> dict[str, torch.Tensor]:
            return {name.removeprefix(prefix): t for name, t in tensors.items() if name.startswith(prefix)}

        try:
            epoch = int(tensors["epoch"])
            load_into(self._network, part("best."), str(path))  # both are tried now, not after hours of training
            load_into(self._network, part("last."), str(path))
            restore_optimiser(self._optimiser, part("optimiser."))
            lines = cut_jsonl(history, keep=epoch)
            done = [(line["epoch"], float(line["val_auroc"]), float(line["val_loss"])) for line in lines]
        except (UserError, KeyError, IndexError, ValueError, TypeError, RuntimeError):
            raise UserError(f"{path} is not the state of this training", remedy=remedy) from None
        if [number for number, *_ in done] != list(range(1, epoch + 1)):
            got = f"{len(done)} epochs listed, {epoch} in the state"
            raise UserError(f"{history} does not belong to {path}", got=got, remedy=remedy)
        self._best = part("best.")
        return epoch, lines

    def best(self) -> dict[str, torch.Tensor]:
        return self._best
