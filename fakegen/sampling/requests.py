"""Checks of a request for fakes, before any is made: the epoch, its checkpoint, and the set to resume."""

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

_WRITER_FILES = (".lock", ".parts", "metadata.jsonl", *SPLITS)  # left by a writer that stopped before its first image


def choose_epoch(run: Run, epoch: int | None) -> int:
    """Return `epoch`, by default the last with a checkpoint. Raises UserError, listing the choices, if there is none."""
    epochs = run.epochs_on_disk()
    if epoch is None and epochs:
        return epochs[-1]
    if epoch not in epochs:
        wanted = "no checkpoint" if epoch is None else f"no checkpoint of epoch {epoch}"
        remedy = f"Resume it: {command('generate', '--resume', '--out', run.path)}" if not epochs else None
        raise UserError(f"{run.path} has {wanted}", expected=_ranges(epochs), remedy=remedy)
    return epoch


def load_epoch(run: Run, epoch: int, device: str, remedy: str | None = None) -> Generator:
    """Return the generator of an epoch. Raises UserError for a damaged or incomplete checkpoint, with `remedy` or, by
    default, another epoch to use.
    """
    choose_device(device)  # first: a wrong device is not an error of the checkpoint
    try:
        return load_generator(run.checkpoint(epoch), device)
    except UserError as error:
        others = [other for other in run.epochs_on_disk() if other != epoch]
        other = f"Choose another epoch: --epoch {others[-1]}." if others else "Train the run again in a new folder."
        raise UserError(error.what, got=error.got, expected=error.expected, remedy=remedy or other) from None


def note_unfinished(run: Run, epochs: Iterable[int]) -> None:
    """Print a note for the last checkpoint if the run has trained further since, and for checkpoints of unfinished epochs."""
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


def check_resumable(out: Path, origin: dict, classes: list[str | None], name: str) -> None:
    """Raise UserError if `out`, called `name`, contains anything but a set that `sample` made with the same settings.

    `classes` are the classes of the first fakes of the new set. The writer checks format and count.
    """
    records = list(islice(iter_records(out), len(classes)))
    if not records:
        if out.is_dir() and any(path.name not in _WRITER_FILES for path in out.iterdir()):
            raise UserError(f"{name} contains no set that can be resumed", remedy="Choose another --out.")
        return
    first = records[0]
    if first.label == "real":
        raise UserError(f"{name} contains real images, so `sample` did not make it", remedy="Choose another --out.")
    was = {
        "epoch": first.epoch,
        "seed": first.latent_seed,
        "checkpoint": first.checkpoint_sha256,
        "truncation": 1.0 if first.truncation is None else first.truncation,
    }
    now = {
        "epoch": origin["epoch"],
        "seed": origin["latent_seed"],
        "checkpoint": origin["checkpoint_sha256"],
        "truncation": origin["truncation"],
    }
    changed = [f"{key}: {str(was[key])[:12]} -> {str(now[key])[:12]}" for key in was if was[key] != now[key]]
    if [record.class_ for record in records] != classes[: len(records)]:
        changed.append(f"class: now {origin['class'] or 'all'}")
    if changed:
        raise UserError(
            f"{name} contains images made with other settings", got="; ".join(changed), remedy="Choose another --out."
        )


def _ranges(epochs: list[int]) -> str | None:
    if not epochs:
        return None
    shown = ", ".join(map(str, epochs)) if len(epochs) <= 12 else f"{epochs[0]} to {epochs[-1]} ({len(epochs)} of them)"
    return f"one of {shown}"
