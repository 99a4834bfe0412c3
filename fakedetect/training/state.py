"""The state of a training in progress: the last and the best weights, on disk, so that a stopped training can be resumed."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import nn

from fakecore.errors import UserError
from fakecore.files import cut_jsonl, read_jsonl, write_bytes
from fakecore.runs.checkpoint import load_into, optimiser_tensors, read_tensors, restore_optimiser, tensor_bytes

TIMINGS = "timings.jsonl"  # separate from history.jsonl, which is reproducible
_STATE = "state/latest.safetensors"


def has_state(folder: Path) -> bool:
    """Return whether a training in `folder` has finished an epoch, so that `fit` resumes it."""
    return (folder / _STATE).is_file()


@dataclass(frozen=True)
class Progress:
    """How far a training is: whole epochs, windows of the next one, the losses of its steps so far (n,), and its seconds."""

    epoch: int
    window: int = 0
    losses: torch.Tensor = field(default_factory=lambda: torch.empty(0))
    seconds: float = 0.0


class TrainingState:
    """The last and the best weights of a training whose epochs consist of `windows`; `on_disk`, so that it can be resumed. Of
    several processes, one `writes`.
    """

    def __init__(
        self,
        folder: Path,
        network: nn.Module,
        optimiser: torch.optim.Optimizer,
        *,
        windows: int = 1,
        on_disk: bool = True,
        writes: bool = True,
    ):
        self._path, self._windows = folder / _STATE, windows
        self._on_disk, self._writes = on_disk and writes, writes
        self._network, self._optimiser = network, optimiser
        self._best: dict[str, torch.Tensor] = {}
        self.said = "0 are saved"  # what is saved, for people

    def save(self, at: Progress, *, is_best: bool = False) -> None:
        """Save the weights as they are now, after `at`; the best ones so far too, if they are."""
        if is_best:
            self._best = {name: tensor.detach().clone() for name, tensor in self._network.state_dict().items()}
        self.said = f"{at.epoch} are saved" + (f", and {at.window} of {self._windows} windows" if at.window else "")
        if not self._on_disk:
            return
        whole = {f"last.{name}": tensor for name, tensor in self._network.state_dict().items()}
        whole |= {f"best.{name}": tensor for name, tensor in self._best.items()}
        whole |= optimiser_tensors(self._optimiser, "optimiser.")
        whole |= {"epoch": torch.tensor(at.epoch), "window": torch.tensor([at.window, self._windows])}
        whole |= {"losses": at.losses, "seconds": torch.tensor(at.seconds)}
        write_bytes(self._path, tensor_bytes(whole))

    def load(self) -> tuple[Progress, list[dict]]:
        """Return what is done, and its lines of history.jsonl; nothing and none if there is no state.

        Raises UserError, with the remedy, if the state is damaged or belongs to another training.
        """
        path, folder = self._path, self._path.parent.parent
        history, timings = folder / "history.jsonl", folder / TIMINGS
        if not path.is_file():
            self._cut(timings, 0)
            return Progress(0), self._cut(history, 0)
        remedy = f"Remove {path} and resume again: the training then starts over with its settings."
        tensors = read_tensors(path, remedy=remedy)

        def part(prefix: str) -> dict[str, torch.Tensor]:
            return {name.removeprefix(prefix): t for name, t in tensors.items() if name.startswith(prefix)}

        try:
            epoch = int(tensors["epoch"])
            if epoch:  # before, none is the best
                load_into(self._network, part("best."), str(path))  # both are checked now, not after hours of training
            load_into(self._network, part("last."), str(path))
            restore_optimiser(self._optimiser, part("optimiser."))
            window, windows = tensors.get("window", torch.tensor([0, self._windows])).tolist()
            if window and windows != self._windows:
                raise ValueError
            losses, seconds = tensors.get("losses", torch.empty(0)), float(tensors.get("seconds", 0.0))
            lines = self._cut(history, epoch)
            self._cut(timings, epoch)
            done = [(line["epoch"], float(line["val_auroc"]), float(line["val_loss"])) for line in lines]
        except (UserError, KeyError, IndexError, ValueError, TypeError, RuntimeError):
            raise UserError(f"{path} is not the state of this training", remedy=remedy) from None
        if [number for number, *_ in done] != list(range(1, epoch + 1)):
            got = f"{len(done)} epochs listed, {epoch} in the state"
            raise UserError(f"{history} does not belong to {path}", got=got, remedy=remedy)
        self._best = part("best.")
        at = Progress(epoch, window, losses, seconds)
        self.said = f"{epoch} are saved"
        return at, lines

    def _cut(self, path: Path, keep: int) -> list[dict]:
        """Return the first `keep` lines of a file, and cut it there if this process writes it."""
        return cut_jsonl(path, keep) if self._writes else read_jsonl(path)[:keep]

    def best(self) -> dict[str, torch.Tensor]:
        return self._best
