"""A GAN's run folder: what was asked and resolved (run.json), the log, the checkpoints, and the state to go on from."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from pathlib import Path

import torch

from fakecore.checkpoint import read_tensors, tensor_bytes, write_checkpoint
from fakecore.errors import UserError
from fakecore.files import read_json, write_bytes, write_json
from fakecore.runfolder import host, versions
from fakegen.networks import discriminator_arguments, generator_arguments, get_architecture
from fakegen.preset import Preset
from fakegen.reals import Reals

RUN_VERSION = 1


@dataclass
class Run:
    """An open run folder; `facts` is run.json, written back by `save`."""

    path: Path
    facts: dict
    _writer: ThreadPoolExecutor = field(default_factory=lambda: ThreadPoolExecutor(1))  # one thread keeps the order
    _writing: list[Future] = field(default_factory=list)

    @property
    def preset(self) -> Preset:
        return Preset(**self.facts["preset"])

    @property
    def channels(self) -> int:
        return self.facts["source"]["channels"]

    @property
    def classes(self) -> dict[str, float]:
        """The classes that a conditional run is told, in the order of their numbers, with each one's share of the training
        reals; empty for other runs.
        """
        return self.facts["source"]["classes"] if self.preset.conditional else {}

    @property
    def value_range(self) -> tuple[float, float]:
        """Of the images that the networks make and see."""
        return get_architecture(self.preset.architecture).value_range

    def save(self, **changes) -> None:
        self.facts.update(changes)
        write_json(self.path / "run.json", self.facts)

    def checkpoint(self, epoch: int) -> Path:
        """Where the checkpoint of an epoch stands, without suffix."""
        return self.path / "checkpoints" / f"epoch-{epoch:04d}"

    def epochs_on_disk(self) -> list[int]:
        found = (self.path / "checkpoints").glob("epoch-*.safetensors")
        return sorted(int(path.stem.removeprefix("epoch-")) for path in found)

    def save_checkpoint(self, epoch: int, step: int, tensors: dict[str, torch.Tensor]) -> None:
        """Take the weights as they are now; they are on disk after `wait`, and before any state saved later."""
        preset = self.preset
        facts = {
            "kind": "gan",
            "architecture": preset.architecture,
            "generator": generator_arguments(preset, self.channels, len(self.classes)),
            "discriminator": discriminator_arguments(preset, self.channels, len(self.classes)),
            "value_range": self.value_range,
            "latent": preset.latent,
            "classes": self.classes,
            "precision": self.facts["precision"],
            "preset": preset.name,
            "seed": self.facts["seed"],
            "epoch": epoch,
            "step": step,
        }
        self._write(write_checkpoint, self.checkpoint(epoch), tensor_bytes(tensors), facts)

    def save_state(self, step: int, tensors: dict[str, torch.Tensor]) -> None:
        """What resume needs, in one file, written as checkpoints are. Random numbers and data order follow from the step."""
        data = tensor_bytes({**tensors, "step": torch.tensor(step)})
        self._write(write_bytes, self.path / "state" / "latest.safetensors", data)

    def wait(self) -> None:
        """Return when everything saved so far is on disk. Raises what its writing raised."""
        while self._writing:
            self._writing.pop(0).result()

    def _write(self, write: Callable, *arguments: object) -> None:
        while len(self._writing) > 2:  # a slow disk must hold training up before it fills the memory
            self._writing.pop(0).result()
        self._writing.append(self._writer.submit(write, *arguments))

    def load_state(self) -> tuple[int, dict[str, torch.Tensor]] | None:
        path = self.path / "state" / "latest.safetensors"
        if not path.is_file():
            return None
        tensors = read_tensors(path)
        return int(tensors.pop("step")), tensors


def create_run(path: Path, preset: Preset, reals: Reals, asked: dict) -> Run:
    """Write the first run.json of a new run. `asked` holds seed, split, count, precision, device and threads."""
    counts = {split: int((reals.splits == split).sum()) for split in ("train", "val", "test")}
    source = {
        "spec": reals.spec,
        "fingerprint": reals.fingerprint,
        "images": counts,
        "channels": reals.channels,
        "classes": reals.class_shares() if preset.conditional else {},
        "unused": len(reals.unused),
        "smallest_side": reals.smallest,
    }
    facts = {
        "version": RUN_VERSION,
        "status": "running",
        "preset": asdict(preset),
        "source": source,
        **asked,
        "epoch": 0,
        "step": 0,
        "versions": versions(),
        "host": host(),
        "timings": {"train_s": 0.0, "set_s": 0.0},
    }
    for name in ("checkpoints", "state", "snapshots", "plots"):
        (path / name).mkdir(exist_ok=True)
    run = Run(path, facts)
    run.save()
    return run


def open_run(path: Path) -> Run:
    """Open a run folder. Raises UserError when it is not one."""
    if not path.is_dir():
        raise UserError(f"there is no run in {path}", expected="the folder that `generate` made")
    if not (path / "run.json").is_file():
        raise UserError(f"{path} is not a run", expected="a folder with run.json, made by `generate`")
    facts = read_json(path / "run.json")
    if not isinstance(facts, dict) or facts.get("version") != RUN_VERSION:
        raise UserError(f"{path}/run.json is of another version or kind", expected=f"version {RUN_VERSION}")
    return Run(path, facts)


def check_same_settings(run: Run, preset: Preset, reals: Reals, asked: dict) -> None:
    """Raise UserError, naming the fields, when a run is to be resumed with other settings than it was begun with.

    More epochs or steps and another count are no contradiction: they only go further.
    """
    before, now = {**run.facts, **run.facts["preset"]}, {**asked, **asdict(preset)}
    settled = [name for name in now if name not in ("epochs", "steps")]
    changed = [f"{name}: {before.get(name)} -> {now[name]}" for name in settled if now[name] != before.get(name)]
    if changed:
        raise UserError(
            f"{run.path} was begun with other settings",
            got="; ".join(changed),
            remedy="Resume without them, or start a new run with another --out.",
        )
    if reals.fingerprint != run.facts["source"]["fingerprint"]:
        raise UserError(
            f"the real images have changed since {run.path} was begun",
            got=reals.spec,
            expected=f"the images of {run.facts['source']['spec']} as they were",
            remedy="Put them back, or start a new run.",
        )
