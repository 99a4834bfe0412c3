"""The run folder of a GAN: run.json (settings and progress), checkpoints, and the state from which training resumes."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path

import torch

from fakecore.errors import UserError
from fakecore.files import atomic_path, read_json, write_json
from fakecore.progress import say
from fakecore.runs.checkpoint import read_tensors, tensor_bytes, write_checkpoint
from fakecore.runs.runfolder import host, versions
from fakecore.schema import TEXT, Kind, check_fields, number, whole
from fakecore.settings import override
from fakegen.architectures.registry import discriminator_arguments, generator_arguments, get_architecture
from fakegen.presets.preset import Preset
from fakegen.runs.reals import Reals

RUN_VERSION = 1
STATES = ("latest.safetensors", "previous.safetensors")
FIELDS = {
    "preset": {"name": TEXT, "summary": TEXT},
    "source": {"spec": TEXT, "fingerprint": TEXT, "channels": whole(1), "images": {"train": whole(1)}},
    "seed": whole(0),
    "split": Kind("three whole numbers", lambda value: isinstance(value, list) and [*map(type, value)] == [int] * 3),
    "count": whole(1),
    "precision": TEXT,
    "device": TEXT,
    "threads": whole(1),
    "epoch": whole(0),
    "step": whole(0),
    "timings": {"train_s": number(0), "set_s": number(0)},
}
# Fields that a resumed run may change: none of them changes the weights.
CHANGEABLE = ("epochs", "steps", "stop_on_collapse", "checkpoint_every", "snapshot_every", "measure_every")
_REMEDY = "Copy it again from the original, or start a new run."


@dataclass
class Run:
    """An open run folder. `facts` is the content of run.json, which `save` writes. Only one process of a job `writes`."""

    path: Path
    facts: dict
    writes: bool = True
    # One thread, so that files are written in order.
    _writer: ThreadPoolExecutor = field(default_factory=lambda: ThreadPoolExecutor(1))
    _writing: list[Future] = field(default_factory=list)

    @property
    def preset(self) -> Preset:
        return Preset(**self.facts["preset"])

    @property
    def channels(self) -> int:
        return self.facts["source"]["channels"]

    @property
    def classes(self) -> dict[str, float]:
        """The classes of a conditional run with their fractions of the training reals, in the order of the class numbers;
        empty for other runs.
        """
        return self.facts["source"]["classes"] if self.preset.conditional else {}

    @property
    def set_epoch(self) -> int:
        """The epoch from which the run's set is made: the last, or the best if a collapse stopped the run."""
        stopped_early = self.preset.stop_on_collapse and self.facts.get("collapse")
        return self.facts["best"]["epoch"] if stopped_early else self.facts["epoch"]

    @property
    def value_range(self) -> tuple[float, float]:
        """The values of black and white in the images of the networks."""
        return get_architecture(self.preset.architecture).value_range

    def save(self, **changes) -> None:
        """Update `facts` with `changes`, and write run.json."""
        self.facts.update(changes)
        if self.writes:
            write_json(self.path / "run.json", self.facts)

    def checkpoint(self, epoch: int) -> Path:
        """Return the path of the checkpoint of an epoch, without suffix."""
        return self.path / "checkpoints" / f"epoch-{epoch:04d}"

    def epochs_on_disk(self) -> list[int]:
        """Return the epochs with at least one file of a checkpoint, so that an incomplete one is reported, not skipped."""
        names = {path.stem.removeprefix("epoch-") for path in (self.path / "checkpoints").glob("epoch-*")}
        return sorted(int(name) for name in names if name.isdecimal())

    def save_checkpoint(self, epoch: int, step: int, tensors: dict[str, torch.Tensor]) -> None:
        """Copy the weights and write them in the background: on disk after `wait`, and before any state saved later."""
        if not self.writes:
            return
        preset = self.preset
        facts = {
            "kind": "gan",
            "architecture": preset.architecture,
            "generator": generator_arguments(preset, self.channels, len(self.classes)),
            "discriminator": discriminator_arguments(preset, self.channels, len(self.classes)),
            "value_range": self.value_range,
            "levels": preset.levels,
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
        """Write all that resume needs to one file, in the background. The step determines random numbers and data order."""
        if self.writes:
            self._write(_write_state, self.path / "state", tensor_bytes({**tensors, "step": torch.tensor(step)}))

    def wait(self) -> None:
        """Wait until everything saved so far is on disk. Raises the exception of a failed write."""
        while self._writing:
            self._writing.pop(0).result()

    def _write(self, write: Callable, *arguments: object) -> None:
        while len(self._writing) > 2:  # a slow disk must slow training down, not fill the memory
            self._writing.pop(0).result()
        self._writing.append(self._writer.submit(write, *arguments))

    def state_step(self) -> int:
        """Return the step of the latest readable state, or 0."""
        for name in STATES:
            with suppress(UserError, OSError, KeyError):
                return int(read_tensors(self.path / "state" / name, "step")[""])
        return 0

    def load_state(self) -> tuple[int, dict[str, torch.Tensor]] | None:
        """Return (step, tensors) of the latest state, or of the previous one if the latest is damaged; None without a state.

        Raises UserError if neither can be read.
        """
        latest, previous = (self.path / "state" / name for name in STATES)
        if not latest.is_file() and not previous.is_file():
            return None
        try:
            return _read_state(latest)
        except UserError as error:
            damage = error
        try:
            found = _read_state(previous)
        except UserError:
            remedy = f"Delete {latest.parent} and resume: the run then trains again from the first step, with the same result."
            raise UserError(damage.what, got=damage.got, expected=damage.expected, remedy=remedy) from None
        say(f"note: {damage.what}; resuming from the previous state, step {found[0]:,}")
        return found


def _write_state(folder: Path, data: bytes) -> None:
    """Write a state, and keep the previous one in case the latest is damaged."""
    latest, previous = (folder / name for name in STATES)
    with atomic_path(latest) as temporary:
        temporary.write_bytes(data)
        if latest.exists():
            latest.replace(previous)


def _read_state(path: Path) -> tuple[int, dict[str, torch.Tensor]]:
    if not path.is_file():
        raise UserError(f"{path} is missing")
    tensors = read_tensors(path)
    if "step" not in tensors:
        raise UserError(f"{path} is not a training state")
    return int(tensors.pop("step")), tensors


def create_run(path: Path, preset: Preset, reals: Reals, request: dict) -> Run:
    """Write the first run.json of a new run, and create its folders.

    `request` holds seed, split, count, precision, device, threads and processes.
    """
    counts = {split: int((reals.splits == split).sum()) for split in ("train", "val", "test")}
    source = {
        "spec": reals.spec,
        "fingerprint": reals.fingerprint,
        "images": counts,
        "channels": reals.channels,
        "classes": reals.class_fractions() if preset.conditional else {},
        "unused": len(reals.unused),
        "smallest_side": reals.smallest,
        **({"faces": reals.faces} if reals.faces else {}),
    }
    facts = {
        "version": RUN_VERSION,
        "status": "running",
        "preset": asdict(preset),
        "source": source,
        **request,
        "epoch": 0,
        "step": 0,
        "versions": versions(),
        "host": host(),
        "timings": {"train_s": 0.0, "set_s": 0.0},
    }
    run = Run(path, facts)
    run.save()  # first: without run.json, a folder with other content is not a run and would be refused
    for name in ("checkpoints", "state", "snapshots", "plots"):
        (path / name).mkdir(exist_ok=True)
    return run


def open_run(path: Path, *, writes: bool = True) -> Run:
    """Open a run folder. Raises UserError if it is not one, or run.json is damaged or of another version."""
    if not path.is_dir():
        raise UserError(f"there is no run in {path}", expected="a run folder, made by `generate`")
    if not (path / "run.json").is_file():
        raise UserError(f"{path} is not a run", expected="a folder with run.json, made by `generate`")
    where = path / "run.json"
    facts = read_json(where, remedy=_REMEDY)
    check_fields(facts, {"version": whole()}, where, remedy=_REMEDY)
    if facts["version"] != RUN_VERSION:
        raise UserError(f"{where} has another format version", got=facts["version"], expected=RUN_VERSION)
    check_fields(facts, FIELDS, where, remedy=_REMEDY)
    try:
        named = Preset(name=facts["preset"]["name"], summary=facts["preset"]["summary"])
        override(named, {name: value for name, value in facts["preset"].items() if name not in ("name", "summary")})
    except UserError as error:
        raise UserError(f"{where}: preset: {error.what}", got=error.got, remedy=_REMEDY) from None
    return Run(path, facts, writes)


def check_same_settings(run: Run, preset: Preset, reals: Reals, request: dict) -> None:
    """Raise UserError, naming the fields, if a run would be resumed with other reals or other settings.

    The fields in CHANGEABLE may differ: they do not change the weights.
    """
    before, now = {**run.facts, **asdict(run.preset)}, {**request, **asdict(preset)}
    fixed = [name for name in now if name not in CHANGEABLE]
    changed = [f"{name}: {before.get(name)} -> {now[name]}" for name in fixed if now[name] != before.get(name)]
    if changed:
        raise UserError(
            f"{run.path} was started with other settings",
            got="; ".join(changed),
            remedy="Resume without these changes, or start a new run with another --out.",
        )
    if reals.fingerprint != run.facts["source"]["fingerprint"]:
        raise UserError(
            f"the real images have changed since {run.path} was started",
            got=reals.spec,
            expected=f"the unchanged images of {run.facts['source']['spec']}",
            remedy="Restore the images, or start a new run.",
        )
