"""Train a detector: balanced batches, the same augmentation for both classes, the best epoch by validation AUROC."""

from __future__ import annotations

import math
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from sklearn.metrics import roc_auc_score
from torch import nn
from torch.nn.functional import binary_cross_entropy_with_logits

from fakecore.cpus import usable_cpus
from fakecore.device import Execution, Precision, derive_seed, keep_freed_memory, to_device
from fakecore.errors import Interrupted, UserError
from fakecore.files import append_jsonl, cut_jsonl, read_jsonl, write_bytes
from fakecore.interrupt import StopRequest
from fakecore.labels import FAKE, REAL
from fakecore.progress import progress_bar
from fakecore.runs.checkpoint import load_into, optimiser_tensors, read_tensors, restore_optimiser, tensor_bytes
from fakedetect.data.augment import Augmentation, augment, plan_augmentation
from fakedetect.data.loading import LabelledImages
from fakedetect.models.detector import network_logits
from fakedetect.models.settings import DetectorSettings

TIMINGS = "timings.jsonl"  # separate from history.jsonl, which is reproducible
_STATE = "state/latest.safetensors"
_BATCHES_AHEAD = 4  # augmented in advance by threads


@dataclass
class Fit:
    """A network with the weights of its best epoch, and one history line per epoch."""

    network: nn.Module
    history: list[dict]  # empty if nothing was trained in epochs
    best_epoch: int | None
    chosen: dict = field(default_factory=dict)  # other values chosen on the validation split
    seconds: float = 0.0  # wall-clock time, interrupted parts included


@dataclass(frozen=True)
class Task:
    """A training task: what `fit_epochs` needs to know about images, labels and loss."""

    title: str
    steps: int  # of an epoch
    images: int  # of an epoch
    batches: Callable[
        [int], Iterable[tuple[torch.Tensor, torch.Tensor]]
    ]  # epoch, from 0 -> (inputs, targets) on the CPU
    loss: Callable[[torch.Tensor, torch.Tensor], torch.Tensor]  # logits, targets -> a scalar
    validate: Callable[[], dict]  # metrics on the validation split, including val_loss and val_auroc


class Schedule(Protocol):
    """The settings that `fit_epochs` reads."""

    @property
    def epochs(self) -> int: ...
    @property
    def weight_decay(self) -> float: ...
    def rate_in_use(self) -> float: ...


def fit(
    network: nn.Module,
    data: LabelledImages,
    settings: DetectorSettings,
    *,
    folder: Path,
    seed: int,
    device: torch.device,
    precision: Precision,
) -> Fit:
    """Train `network` on the train split; write history.jsonl and the state for resuming into `folder`.

    Raises Interrupted after Ctrl-C or SIGTERM, when the state of the last epoch is on disk, and UserError if a loss is not
    finite.
    """
    rows = training_rows(data, settings.limit, seed)
    per_class = settings.batch // 2
    steps = math.ceil(max(len(own) for own in rows) / per_class)
    val = data.rows("val")
    task = Task(
        title=f"training {settings.model}",
        steps=steps,
        images=steps * 2 * per_class,
        batches=lambda epoch: _batches(data, rows, steps, settings, derive_seed(seed, "batches", epoch)),
        loss=binary_cross_entropy_with_logits,
        validate=lambda: _validate(network, data, val, device),
    )
    return fit_epochs(network, task, settings, folder=folder, seed=seed, device=device, precision=precision)


def fit_epochs(
    network: nn.Module,
    task: Task,
    settings: Schedule,
    *,
    folder: Path,
    seed: int,
    device: torch.device,
    precision: Precision,
    resumable: bool = True,
) -> Fit:
    """Train `network` for `settings.epochs` and load the weights of the best epoch into it. Write history.jsonl into `folder`
    and, if `resumable`, the state after every epoch. Raises as `fit` does.
    """
    keep_freed_memory()
    to_device(network, device)
    learning = [parameter for parameter in network.parameters() if parameter.requires_grad]
    optimiser = torch.optim.AdamW(learning, lr=settings.rate_in_use(), weight_decay=settings.weight_decay)
    state = _State(folder, network, optimiser, on_disk=resumable)
    first, history = state.load()
    run = Execution(device, precision).setup(network)
    total, steps = settings.epochs * task.images, settings.epochs * task.steps
    with StopRequest() as stop, progress_bar(task.title, total, "images", first * task.images) as bar:
        for epoch in range(first, settings.epochs):
            network.train()
            torch.manual_seed(derive_seed(seed, "epoch", epoch))
            losses, began = [], time.perf_counter()
            for step, (inputs, targets) in enumerate(task.batches(epoch)):
                for group in optimiser.param_groups:
                    group["lr"] = settings.rate_in_use() * _half_cosine((epoch * task.steps + step) / steps)
                loss = task.loss(run(_onto(device, inputs)), targets.to(device))
                optimiser.zero_grad()
                loss.backward()
                optimiser.step()
                losses.append(loss.detach())
                bar.advance(len(targets))
                if stop.asked:
                    saved = f"; {epoch} are saved" if resumable else ""
                    raise Interrupted(f"stopped in epoch {epoch + 1} of {settings.epochs}{saved}")
            line = {"epoch": epoch + 1, "train_loss": float(torch.stack(losses).mean())}
            if not math.isfinite(line["train_loss"]):
                raise UserError(
                    f"training stopped: the loss is not finite in epoch {epoch + 1}",
                    got=line["train_loss"],
                    remedy="Try a smaller rate, such as --set rate=1e-4, or --set precision=fp32.",
                )
            line |= task.validate()
            bar.note(f"val AUROC {line['val_auroc']:.4f}")
            append_jsonl(folder / "history.jsonl", [line])
            append_jsonl(folder / TIMINGS, [{"epoch": epoch + 1, "seconds": round(time.perf_counter() - began, 3)}])
            history.append(line)
            state.save(epoch + 1, is_best=best_epoch(history) == epoch + 1)
    load_into(network, state.best(), str(folder))
    seconds = sum(line["seconds"] for line in read_jsonl(folder / TIMINGS))
    return Fit(network, history, best_epoch(history), seconds=seconds)


def _onto(device: torch.device, inputs: torch.Tensor) -> torch.Tensor:
    """Move inputs to the device: images (B, C, R, R) channels-last, which convolutions prefer; features unchanged."""
    return inputs.to(device, memory_format=torch.channels_last if inputs.ndim == 4 else torch.preserve_format)


def training_rows(data: LabelledImages, limit: int | None, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the rows of the train split, (reals, fakes); with a limit, half of it each, drawn by the seed."""
    reals, fakes = (data.rows("train", label) for label in (REAL, FAKE))
    if limit is None:
        return reals, fakes
    random = np.random.default_rng(derive_seed(seed, "limit"))
    reals, fakes = (np.sort(random.permutation(own)[: max(1, limit // 2)]) for own in (reals, fakes))
    return reals, fakes


def _batches(data: LabelledImages, rows, steps: int, settings: DetectorSettings, seed: int) -> Iterator:
    """Yield (uint8 (B, C, R, R), float labels (B,)): half reals, half fakes; the smaller class is repeated."""
    per_class = settings.batch // 2
    random = np.random.default_rng(seed)
    drawn = [cycled(own, steps * per_class, random) for own in rows]
    order = np.stack(drawn, axis=1).reshape(-1)  # real, fake, real, fake ...
    labels = torch.from_numpy(data.labels[order].astype(np.float32))
    return augmented_batches(data.images, order, labels, 2 * per_class, settings, seed)


def augmented_batches(
    images: np.ndarray, order: np.ndarray, targets: torch.Tensor, size: int, settings: Augmentation, seed: int
) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """Yield (uint8 (size, C, R, R), targets): the images of the rows in `order`, augmented by threads while the network trains.
    `targets` is parallel to `order`.
    """
    plan = plan_augmentation(len(order), settings, derive_seed(seed, "augment"))

    def make(start: int):
        places = range(start, min(start + size, len(order)))
        batch = np.stack([augment(images[order[place]], plan, place) for place in places])
        return torch.from_numpy(batch), targets[start : start + size]

    starts = range(0, len(order), size)
    with ThreadPoolExecutor(usable_cpus()) as pool:
        waiting = deque(pool.submit(make, start) for start in starts[:_BATCHES_AHEAD])
        try:
            for number in range(len(starts)):
                batch = waiting.popleft().result()
                if number + _BATCHES_AHEAD < len(starts):
                    waiting.append(pool.submit(make, starts[number + _BATCHES_AHEAD]))
                yield batch
        finally:
            pool.shutdown(cancel_futures=True)


def cycled(rows: np.ndarray, count: int, random: np.random.Generator) -> np.ndarray:
    """Return `count` of `rows` in random order; each is used once before any is repeated."""
    rounds = -(-count // len(rows))
    return np.concatenate([random.permutation(rows) for _ in range(rounds)])[:count]


def _half_cosine(progress: float) -> float:
    return 0.5 * (1 + math.cos(math.pi * progress))


def _validate(network: nn.Module, data: LabelledImages, rows: np.ndarray, device: torch.device) -> dict:
    return validation_line(network_logits(network, data.images, device, rows), data.labels[rows])


def validation_line(logits: np.ndarray, labels: np.ndarray) -> dict:
    """Return loss, AUROC and accuracy at logit 0 of (N,) logits, as in a line of history.jsonl. Raises UserError for logits
    that are not finite.
    """
    if not np.isfinite(logits).all():
        raise UserError("training stopped: logits are not finite on validation images", remedy="Try a smaller rate.")
    loss = float((np.logaddexp(0, logits) - labels * logits).mean())
    accuracy = float(((logits > 0) == (labels == FAKE)).mean())
    return {"val_loss": loss, "val_auroc": float(roc_auc_score(labels, logits)), "val_accuracy": accuracy}


def best_epoch(history: list[dict]) -> int:
    """Return the epoch of the highest validation AUROC; among equal ones, that of the lowest validation loss."""
    return max(history, key=lambda line: (line["val_auroc"], -line["val_loss"]))["epoch"]


def has_state(folder: Path) -> bool:
    """Return whether a training in `folder` has finished an epoch, so that `fit` resumes it."""
    return (folder / _STATE).is_file()


class _State:
    """The last and the best weights, `on_disk` after every epoch, so that a stopped training can be resumed."""

    def __init__(self, folder: Path, network: nn.Module, optimiser: torch.optim.Optimizer, *, on_disk: bool):
        self._path, self._on_disk = folder / _STATE, on_disk
        self._network, self._optimiser = network, optimiser
        self._best: dict[str, torch.Tensor] = {}

    def save(self, epoch: int, *, is_best: bool) -> None:
        if is_best:
            self._best = {name: tensor.detach().clone() for name, tensor in self._network.state_dict().items()}
        if not self._on_disk:
            return
        whole = {f"last.{name}": tensor for name, tensor in self._network.state_dict().items()}
        whole |= {f"best.{name}": tensor for name, tensor in self._best.items()}
        whole |= optimiser_tensors(self._optimiser, "optimiser.")
        write_bytes(self._path, tensor_bytes({**whole, "epoch": torch.tensor(epoch)}))

    def load(self) -> tuple[int, list[dict]]:
        """Return the number of finished epochs and their lines of history.jsonl; 0 and none if there is no state.

        Raises UserError, with the remedy, if the state is damaged or belongs to another training.
        """
        path, folder = self._path, self._path.parent.parent
        history, timings = folder / "history.jsonl", folder / TIMINGS
        if not path.is_file():
            cut_jsonl(timings, keep=0)
            return 0, cut_jsonl(history, keep=0)
        remedy = f"Remove {path} and resume again: the training then starts over with its settings."
        tensors = read_tensors(path, remedy=remedy)

        def part(prefix: str) -> dict[str, torch.Tensor]:
            return {name.removeprefix(prefix): t for name, t in tensors.items() if name.startswith(prefix)}

        try:
            epoch = int(tensors["epoch"])
            load_into(self._network, part("best."), str(path))  # both are checked now, not after hours of training
            load_into(self._network, part("last."), str(path))
            restore_optimiser(self._optimiser, part("optimiser."))
            lines = cut_jsonl(history, keep=epoch)
            cut_jsonl(timings, keep=epoch)
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
