"""Train a detector: balanced batches, the same augmentation for both classes, the best epoch by validation AUROC."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Generator, Iterable, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from sklearn.metrics import roc_auc_score
from torch import nn
from torch.nn.functional import binary_cross_entropy_with_logits

from fakecore.device import Execution, Precision, keep_freed_memory, to_device
from fakecore.distributed import ALONE, World
from fakecore.errors import Interrupted, UserError
from fakecore.files import append_jsonl, read_jsonl
from fakecore.interrupt import StopRequest
from fakecore.labels import FAKE
from fakecore.progress import progress_bar
from fakecore.runs.checkpoint import load_into
from fakedetect.data.loading import LabelledImages
from fakedetect.models.detector import network_logits
from fakedetect.models.settings import DetectorSettings
from fakedetect.training.batches import Batch, TrainingBatches, training_rows
from fakedetect.training.state import TIMINGS, Progress, TrainingState

_SAVING = 0.05  # largest share of the time that saving the state between windows may take


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
    """A training task: what `fit_epochs` needs to know about images, labels and loss. An epoch consists of windows."""

    title: str
    steps: Sequence[int]  # of each window
    images: int  # of an epoch
    windows: Callable[[int, int], Generator[Iterable[Batch]]]  # epoch, first window, from 0 -> batches, on the CPU
    seed_of: Callable[[int, int], int]  # epoch, window -> the seed of what the network draws
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
    world: World = ALONE,
) -> Fit:
    """Train `network` on the train split, together with the other processes of `world`; write history.jsonl and the state for
    resuming into `folder`.

    Raises Interrupted after Ctrl-C or SIGTERM, when the state of the last epoch is on disk, and UserError if a loss is not
    finite.
    """
    batches = TrainingBatches(data, training_rows(data, settings.limit, seed), settings, seed, world.rank, world.size)
    val = data.rows("val")
    task = Task(
        title=f"training {settings.model}",
        steps=batches.steps,
        images=sum(batches.steps) * settings.batch,
        windows=batches.epoch,
        seed_of=partial(batches.seed_of, "epoch"),
        loss=binary_cross_entropy_with_logits,
        validate=lambda: _validate(network, data, val, device),
    )
    how: dict[str, Any] = {"folder": folder, "device": device, "precision": precision, "world": world}
    return fit_epochs(network, task, settings, **how)


def fit_epochs(
    network: nn.Module,
    task: Task,
    settings: Schedule,
    *,
    folder: Path,
    device: torch.device,
    precision: Precision,
    resumable: bool = True,
    world: World = ALONE,
) -> Fit:
    """Train `network` for `settings.epochs` and load the weights of the best epoch into it. Write history.jsonl into `folder`
    and, if `resumable`, the state: after every epoch, and after a window unless that would take more than _SAVING of the time.
    Raises as `fit` does.
    """
    keep_freed_memory()
    to_device(network, device)
    learning = [parameter for parameter in network.parameters() if parameter.requires_grad]
    optimiser = torch.optim.AdamW(learning, lr=settings.rate_in_use(), weight_decay=settings.weight_decay)
    state = TrainingState(folder, network, optimiser, windows=len(task.steps), on_disk=resumable, writes=world.is_main)
    with world.together():
        at, history = state.load()
    run = Execution(device, precision).setup(network)
    per_epoch = sum(task.steps)
    total, step = settings.epochs * per_epoch, at.epoch * per_epoch + sum(task.steps[: at.window])
    images, saved_at, saving_s = task.images // per_epoch, time.monotonic(), 0.0
    with StopRequest() as stop, progress_bar(task.title, total * images, "images", step * images) as bar:
        for epoch in range(at.epoch, settings.epochs):
            # One tensor: small ones that stay, between the large buffers of each step, would divide the heap ever further.
            losses, done = torch.zeros(per_epoch, device=device), len(at.losses)
            losses[:done] = at.losses.to(device)
            began = time.perf_counter() - at.seconds
            with closing(task.windows(epoch, at.window)) as windows:
                for window, batches in enumerate(windows, at.window):
                    network.train()
                    torch.manual_seed(task.seed_of(epoch, window))
                    for inputs, targets in batches:
                        for group in optimiser.param_groups:
                            group["lr"] = settings.rate_in_use() * _half_cosine(step / total)
                        loss = task.loss(run(_onto(device, inputs)), targets.to(device))
                        optimiser.zero_grad()
                        loss.backward()
                        optimiser.step()
                        losses[done] = loss.detach()
                        step, done = step + 1, done + 1
                        bar.advance(images)
                        if world.any(stop.asked)[0]:
                            saved = f"; {state.said}" if resumable else ""
                            raise Interrupted(f"stopped in epoch {epoch + 1} of {settings.epochs}{saved}")
                    ended = time.monotonic()
                    if window + 1 < len(task.steps) and saving_s <= _SAVING * (ended - saved_at):
                        seconds = time.perf_counter() - began
                        state.save(Progress(epoch, window + 1, losses[:done].cpu(), seconds))
                        saved_at = time.monotonic()
                        saving_s = saved_at - ended
            line = {"epoch": epoch + 1, "train_loss": float(world.mean(losses[:done].mean().cpu()))}
            if not math.isfinite(line["train_loss"]):
                raise UserError(
                    f"training stopped: the loss is not finite in epoch {epoch + 1}",
                    got=line["train_loss"],
                    remedy="Try a smaller rate, such as --set rate=1e-4, or --set precision=fp32.",
                )
            with world.together():
                checked = task.validate() if world.is_main else None
            line |= world.share(checked)
            bar.note(f"val AUROC {line['val_auroc']:.4f}")
            history.append(line)
            if world.is_main:
                append_jsonl(folder / "history.jsonl", [line])
                seconds = round(time.perf_counter() - began, 3)
                append_jsonl(folder / TIMINGS, [{"epoch": epoch + 1, "seconds": seconds}])
            at = Progress(epoch + 1)
            state.save(at, is_best=best_epoch(history) == epoch + 1)
    load_into(network, state.best(), str(folder))
    seconds = sum(line["seconds"] for line in read_jsonl(folder / TIMINGS))
    return Fit(network, history, best_epoch(history), seconds=seconds)


def _onto(device: torch.device, inputs: torch.Tensor) -> torch.Tensor:
    """Move inputs to the device: images (B, C, R, R) channels-last, which convolutions prefer; features unchanged."""
    return inputs.to(device, memory_format=torch.channels_last if inputs.ndim == 4 else torch.preserve_format)


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
