"""What a request for fakes may ask of a run and of a set that was begun: refused, with the way out, before any is made."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import islice
from pathlib import Path

from fakecore.device import choose_device
from fakecore.errors import UserError
from fakecore.files import read_json
from fakecore.labels import SPLITS
from fakecore.messages import command
from fakecore.progress import say
from fakecore.sets.imageset import iter_records
from fakegen.runs.run import Run
from fakegen.sampling.sampling import Generator, load_generator

_BEGUN = (".lock", ".parts", "metadata.jsonl", *SPLITS)  # what a writer that was stopped at once leaves


def choose_epoch(run: Run, epoch: int | None) -> int:
    """`epoch`, or the last of which a checkpoint is there. Raises UserError, listing those that are, when it is not."""
    epochs = run.epochs_on_disk()
    if epoch is None and epochs:
        return epochs[-1]
    if epoch not in epochs:
        wanted = "no checkpoint" if epoch is None else f"no checkpoint of epoch {epoch}"
        remedy = f"Resume it: {command('generate', '--resume', '--out', run.path)}" if not epochs else None
        raise UserError(f"{run.path} has {wanted}", expected=_ranges(epochs), remedy=remedy)
    return epoch


def load_epoch(run: Run, epoch: int, device: str, remedy: str | None = None) -> Generator:
    """The generator of an epoch. Raises UserError with the `remedy`, by default another epoch, for a checkpoint that is
    damaged or lost a half.
    """
    choose_device(device)  # a wrong device is no fault of the checkpoint
    try:
        return load_generator(run.checkpoint(epoch), device)
    except UserError as error:
        others = [other for other in run.epochs_on_disk() if other != epoch]
        other = f"Choose another epoch: --epoch {others[-1]}." if others else "Train the run again in a new folder."
        raise UserError(error.what, got=error.got, expected=error.expected, remedy=remedy or other) from None


def say_how_far(run: Run, epochs: Iterable[int]) -> None:
    """Say where the checkpoints of these epochs are not what one might take them for: the last of a run that has come
    further since, or that of an epoch which was stopped midway.
    """
    chosen, on_disk = set(epochs), run.epochs_on_disk()
    if chosen and max(chosen) == on_disk[-1] < run.facts["epoch"]:
        say(
            f"note: {run.path} is at epoch {run.facts['epoch']}, but its last checkpoint is epoch {on_disk[-1]}. "
            f"Stop the run with Ctrl-C to save one; if it is not running: {command('generate', '--resume', '--out', run.path)}"
        )
    images = run.facts["source"]["images"]["train"]
    per_epoch, last_step = run.preset.steps_per_epoch(images), run.preset.last_step(images)
    for epoch in sorted(chosen):
        path = run.checkpoint(epoch).with_suffix(".json")
        step = read_json(path).get("step", 0) if path.is_file() else 0
        if 0 < step < epoch * per_epoch and step != last_step:
            of = f"step {step:,} of {epoch * per_epoch:,}"
            say(f"note: epoch {epoch} is unfinished: its checkpoint was saved at {of}. Resuming the run replaces it")


def check_resumable(out: Path, origin: dict, classes: list[str | None]) -> None:
    """Refuse to go on with what is no set of `sample`, and with one that other settings made: what is there already must
    be what would be made again. `classes` are those of its first fakes. The writer looks at format and count.
    """
    records = list(islice(iter_records(out), len(classes)))
    if not records:
        if out.is_dir() and any(path.name not in _BEGUN for path in out.iterdir()):
            raise UserError(f"{out} contains no set that can be resumed", remedy="Choose another --out.")
        return
    first = records[0]
    if first.label == "real":
        raise UserError(f"{out} contains real images, so `sample` did not make it", remedy="Choose another --out.")
    was = {"epoch": first.epoch, "seed": first.latent_seed, "checkpoint": first.checkpoint_sha256}
    now = {"epoch": origin["epoch"], "seed": origin["latent_seed"], "checkpoint": origin["checkpoint_sha256"]}
    changed = [f"{name}: {str(was[name])[:12]} -> {str(now[name])[:12]}" for name in was if was[name] != now[name]]
    if [record.class_ for record in records] != classes[: len(records)]:
        changed.append(f"class: now {origin['class'] or 'all'}")
    if changed:
        raise UserError(
            f"{out} contains images made with other settings", got="; ".join(changed), remedy="Choose another --out."
        )


def _ranges(epochs: list[int]) -> str | None:
    if not epochs:
        return None
    shown = ", ".join(map(str, epochs)) if len(epochs) <= 12 else f"{epochs[0]} to {epochs[-1]} ({len(epochs)} of them)"
    return f"one of {shown}"
