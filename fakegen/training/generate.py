"""`generate`: train a GAN, draw its plots and write its matched set. Each part can be resumed."""

from __future__ import annotations

from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from fakecore.device import check_seed, choose_device, choose_precision, default_threads, join_world, threads
from fakecore.distributed import PeerLost, World
from fakecore.errors import Interrupted, UserError
from fakecore.files import append_jsonl
from fakecore.interrupt import with_resume_command
from fakecore.media.pixels import MIN_SIDE
from fakecore.messages import command, counted
from fakecore.progress import say
from fakecore.runs.runfolder import locked, refuse_used
from fakecore.sets.splits import DEFAULT_SPLIT
from fakecore.sets.units import choose_format
from fakegen.architectures.registry import check_architecture, get_architecture
from fakegen.presets.preset import Preset
from fakegen.presets.table import change_preset, default_preset, get_preset, source_channels_of
from fakegen.runs.reals import Reals, load_reals
from fakegen.runs.run import Run, check_same_settings, create_run, open_run
from fakegen.sampling.production import write_matched_set
from fakegen.sampling.sampling import grey_levels
from fakegen.training.loop import train_gan
from fakegen.training.pair import build_pair
from fakegen.training.plots import plot_run


@dataclass(frozen=True)
class Generated:
    """The result of `train`."""

    run: Path
    set: Path
    epochs: int
    counts: dict  # {split: {"real": n, "fake": n}}
    train_s: float
    unused: list[dict]  # source images that could not be used: {"path", "status", "error"}


def train(
    preset: str | None = None,
    *,
    out: Path | str,
    real: str | None = None,
    changes: dict[str, Any] | None = None,
    count: int | None = None,
    seed: int = 0,
    split: tuple[int, int, int] = DEFAULT_SPLIT,
    image_format: str = "png",
    device: str = "auto",
    data_root: Path | None = None,
) -> Generated:
    """Train a GAN from a preset, and write its run folder with the matched set.

    `real` is a source (see fakecore.sets.sources), `changes` overrides fields of the preset, `count` is the number of fakes
    (default: that of the reals), `split` the percentages of train, val and test, `image_format` that of the set: png, jpeg or
    webdataset. Raises UserError for a wrong request, Interrupted when stopped.
    """
    out, place = Path(out), choose_device(device)
    world = join_world(place)
    with world.together():
        chosen = get_preset(preset or default_preset(real), changes)
        check_architecture(chosen, set(changes or {}))
        _check_batch_size(chosen, world)
        if count is not None and count < 3:
            expected = "3 or more: at least one for each of train, val and test"
            raise UserError("--count is out of range", got=count, expected=expected)
        check_seed(seed)
        choose_format(image_format)
        _refuse_used(out)
    spec = chosen.real if real is None else real
    source: dict[str, Any] = {"resolution": chosen.resolution, "shares": split, "seed": seed, "data_root": data_root}
    reals = world.after_first(lambda: load_reals(spec, **source))
    with world.together():
        _check_reals(reals, chosen)
    if not chosen.epochs and not chosen.steps:
        say("note: with 0 epochs the GAN is not trained; the fakes come from the untrained generator")
    request = {
        "seed": seed,
        "split": list(split),
        "count": count if count is not None else len(reals.images),
        "format": image_format,
        "precision": choose_precision(chosen.precision, place),
        "device": place.type,
        "threads": default_threads(),
        "processes": world.size,
    }

    def start() -> Run:
        if not world.is_main:
            return open_run(out, writes=False)
        _refuse_used(out)  # another job may have used it while this one decoded images
        run = create_run(out, chosen, reals, request)
        append_jsonl(out / "unused.jsonl", reals.unused)
        return run

    with world.first(locked(out)), _resumable(out):
        return _train_and_write(world.after_first(start), reals, device, world)


def resume(
    out: Path | str,
    *,
    preset: str | None = None,
    real: str | None = None,
    changes: dict[str, Any] | None = None,
    count: int | None = None,
    seed: int | None = None,
    split: tuple[int, int, int] | None = None,
    image_format: str | None = None,
    device: str = "auto",
    data_root: Path | None = None,
) -> Generated:
    """Resume a run: train to its last epoch (or further, with `changes`), then finish its set.

    Other settings, if given, must equal those of the run. Raises UserError that names the differences.
    """
    out, place = Path(out), choose_device(device)
    world = join_world(place)
    with world.together():
        open_run(out)  # before a lock file is created: `out` may not be a run
    with world.first(locked(out)), _resumable(out):
        with world.together():
            run = open_run(out, writes=world.is_main)
            wanted = _wanted_preset(run, preset, changes or {})
            _check_batch_size(wanted, world)
        request: dict[str, Any] = {
            "seed": run.facts["seed"] if seed is None else seed,
            "split": list(split or run.facts["split"]),
        }
        if image_format not in (None, run.facts.get("format", "png")):  # earlier versions do not say it
            request["format"] = image_format
        source: dict[str, Any] = {
            "resolution": wanted.resolution,
            "shares": tuple(request["split"]),
            "seed": request["seed"],
        }
        spec = run.facts["source"]["spec"] if real is None else real
        reals = world.after_first(lambda: load_reals(spec, **source, data_root=data_root))
        with world.together():
            check_same_settings(run, wanted, reals, request)
            _note_other_hardware(run, place, world)
            _extend(run, wanted, count)
        return _train_and_write(run, reals, device, world)


def _train_and_write(run: Run, reals: Reals, device: str, world: World) -> Generated:
    run.save(status="running")
    try:
        with threads(run.facts["threads"]):  # the order of a sum depends on it
            train_gan(run, reals, device, world)
        if world.is_main:
            plot_run(run, reals)
        facts = write_matched_set(run, reals, device, world)
    except (KeyboardInterrupt, PeerLost):
        run.save(status="interrupted")
        raise
    except Interrupted:
        run.save(status="interrupted")
        if world.is_main and (run.path / "metrics.jsonl").exists():
            plot_run(run, reals)
        raise
    except UserError as error:
        run.save(status="failed", error=str(error))
        raise
    run.save(status="done")
    return Generated(
        run=run.path,
        set=run.path / "set",
        epochs=run.facts["epoch"],
        counts=facts["counts"],
        train_s=run.facts["timings"]["train_s"],
        unused=reals.unused,
    )


def _resumable(out: Path) -> AbstractContextManager[None]:
    return with_resume_command(command("generate", "--resume", "--out", out))


def _refuse_used(out: Path) -> None:
    refuse_used(out, made_by="a run", marker="run.json", resume_hint="Add --resume to resume it")


def _check_batch_size(preset: Preset, world: World) -> None:
    if preset.batch % world.size:
        fitting = max(preset.batch // world.size, 2) * world.size
        raise UserError(
            "the batch size is not a multiple of the number of processes",
            got=f"a batch of {preset.batch} for {world.size} processes",
            remedy=f"Use --set batch={fitting}, or another number of processes.",
        )


def _note_other_hardware(run: Run, place: torch.device, world: World) -> None:
    """Print a note if a resumed run will give slightly different results, and record the new number of processes."""
    if place.type != run.facts["device"]:
        say(f"note: the run started on {run.facts['device']} and resumes on {place.type}: the last digits will differ")
    before = run.facts.get("processes", 1)
    if world.size != before:
        say(
            f"note: the run started with {before} process(es) and resumes with {world.size}: results will differ slightly"
        )
        run.save(processes=world.size, threads=default_threads())


def _check_reals(reals: Reals, preset: Preset) -> None:
    """Raise UserError if a preset cannot be trained on these reals; print a note if their channels are not its source's."""
    images = len(reals.train_rows())
    if images < preset.batch:
        raise UserError(
            "there are fewer training images than the batch size",
            got=f"{counted(images, 'image')} for a batch of {preset.batch}",
            remedy=f"Use more images, or --set batch={max(2, images // 4)}.",
        )
    if reals.smallest < preset.resolution and not preset.upscale:
        makes = get_architecture(preset.architecture).sides
        fitting = max(filter(makes, range(MIN_SIDE, reals.smallest + 1)), default=None)
        smaller = f"Use --set resolution={fitting}, or enlarge" if fitting else "Enlarge"
        raise UserError(
            f"images of {reals.spec} are smaller than the resolution of {preset.name}",
            got=f"a shortest side of {reals.smallest} pixels",
            expected=f"{preset.resolution} or more for every image",
            remedy=f"{smaller} them with --set upscale=true, or remove the small images.",
        )
    if preset.levels < 256 and not np.isin(reals.images, grey_levels(preset.levels)).all():
        raise UserError(
            f"images of {reals.spec} do not have the {preset.levels} grey levels of {preset.name}",
            got=f"{len(np.unique(reals.images))} different values, or unequal steps",
            remedy="Use --set levels=256: otherwise the levels alone tell fakes from reals.",
        )
    if preset.conditional and len(reals.class_names) < 2:
        without = sum(name is None for name in reals.classes)
        raise UserError(
            f"{preset.name} needs a class for every image, and at least two of them",
            got=f"{without} of {len(reals.classes)} images without a class"
            if without
            else f"only {reals.class_names[0]}",
            expected="a folder with one sub-folder per class, or cifar10, mnist, svhn, digits",
            remedy="Or train without classes: --set conditional=false.",
        )
    if preset.init_g or preset.init_d:  # refuse unsuitable weights before the run exists
        build_pair(preset, reals.channels, len(reals.class_names) * preset.conditional, torch.device("cpu"), seed=0)
    if reals.channels != source_channels_of(preset):
        kinds = {1: "grey", 3: "colour"}
        say(f"note: {reals.spec} is {kinds[reals.channels]}, so both networks have {reals.channels} channel(s)")


def _wanted_preset(run: Run, preset: str | None, changes: dict[str, Any]) -> Preset:
    if preset is not None and preset != run.preset.name:
        raise UserError(f"{run.path} is a run of another preset", got=preset, expected=run.preset.name)
    wanted = change_preset(run.preset, changes)
    check_architecture(wanted, set(changes))
    return wanted


def _extend(run: Run, wanted: Preset, count: int | None) -> None:
    """Record more epochs or fakes than before. Raises UserError if a set already exists, or the run has trained longer."""
    images = run.facts["source"]["images"]["train"]
    done = max(run.facts["step"], run.state_step())  # a killed run's state is ahead of run.json
    if wanted.last_step(images) < done:
        raise UserError(
            "the run has already trained longer than requested",
            got=f"{wanted.last_step(images)} steps",
            expected=f"{done} or more: the run has finished {counted(run.facts['epoch'], 'epoch')}",
        )
    set_exists = (run.path / "set" / "metadata.jsonl").exists()
    count = run.facts["count"] if count is None else count
    if set_exists and (wanted.last_step(images) > run.preset.last_step(images) or count != run.facts["count"]):
        raise UserError(
            f"{run.path} already has a set, made from epoch {run.facts['epoch']}",
            remedy="Use `sample` for more images, or delete the run's folder set/ and resume again.",
        )
    run.save(preset=asdict(wanted), count=count)
