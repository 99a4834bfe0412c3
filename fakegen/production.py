"""Mass production: the matched set of a run, and more fakes from any checkpoint with no real images at hand."""

from __future__ import annotations

import time
from functools import partial
from pathlib import Path

import numpy as np

from fakecore.device import check_seed, derive_seed
from fakecore.errors import Interrupted, UserError
from fakecore.imageset import ImageRecord, ImageSetWriter
from fakecore.interrupt import StopRequest, going_on_with
from fakecore.labels import SPLITS
from fakecore.progress import Bar, progress_bar
from fakecore.runfolder import locked, refuse_used
from fakecore.splits import DEFAULT_SPLIT, split_of_fake
from fakecore.wording import command
from fakegen.reals import Reals
from fakegen.requests import check_resumable, choose_epoch, load_epoch
from fakegen.run import Run, open_run
from fakegen.sampling import BLOCK, Generator

_REALS_PER_BATCH = 64


def write_matched_set(run: Run, reals: Reals, device: str = "auto") -> dict:
    """Write RUN/set: `count` fakes of the last epoch, and as many matched reals (or all there are); its imageset.json.

    Goes on where an earlier call was stopped. The reals are the run's own images at its own resolution, through the
    same encoder as the fakes.
    """
    count, shares = run.facts["count"], tuple(run.facts["split"])
    epoch = run.set_epoch
    remedy = f"Delete {run.path}/state to have it trained again from its first step, and resume."
    generator = load_epoch(run, epoch, device, remedy)
    chosen = choose_reals(reals, count, run.facts["seed"])
    began = time.perf_counter()
    writer = ImageSetWriter(run.path / "set", resolution=generator.resolution, channels=generator.channels)
    try:
        done = writer.done["real"] + writer.done["fake"]
        with progress_bar("writing the set", len(chosen) + count, "images", done) as bar, StopRequest() as stop:
            _write_reals(writer, reals, chosen, bar, stop)
            _write_fakes(writer, generator, run, epoch, run.facts["seed"], count, shares, bar, stop)
        origin = {
            "made_by": "generate",
            "run": run.path.name,
            "preset": run.preset.name,
            "epoch": epoch,
            "checkpoint_sha256": generator.facts["sha256"],
            "latent_seed": run.facts["seed"],
            "source": run.facts["source"],
            "split": list(shares),
        }
        facts = writer.finish(origin=origin)
    finally:
        writer.close()
    run.facts["timings"]["set_s"] = round(time.perf_counter() - began, 2)
    return facts


def sample(
    run_path: Path,
    out: Path,
    *,
    count: int,
    epoch: int | None = None,
    only: str | None = None,
    image_format: str = "png",
    seed: int | None = None,
    resume: bool = False,
    device: str = "auto",
) -> dict:
    """Write `count` fakes of one checkpoint as a set without reals, and return its imageset.json.

    `epoch` defaults to the last; `seed` to the run's own plus 1, so that these are others than the run's set holds.
    `only` names the one class that a conditional generator is to make.
    Raises UserError for an epoch that is not on disk, a folder that is in use, or a resume with other settings.
    """
    run = open_run(run_path)
    epoch = choose_epoch(run, epoch)
    if count < 1:
        raise UserError("--count is out of range", got=count, expected="1 or more")
    seed = run.facts["seed"] + 1 if seed is None else seed
    check_seed(seed)
    generator = load_epoch(run, epoch, device)
    generator.check_class(only)
    origin = {
        "made_by": "sample",
        "run": run.path.name,
        "preset": run.preset.name,
        "epoch": epoch,
        "checkpoint_sha256": generator.facts["sha256"],
        "latent_seed": seed,
        "class": only,
        "split": list(DEFAULT_SPLIT),
    }
    if resume:
        check_resumable(out, origin, image_format, count)
    else:
        hint = "Add --resume to go on with it"
        refuse_used(out, made_by="a set of images", marker="metadata.jsonl", resume_hint=hint)
    words = ("--count", count, "--out", out, "--epoch", epoch, "--seed", seed, "--format", image_format, "--resume")
    with locked(out), going_on_with(command("sample", run_path, *words)):
        writer = ImageSetWriter(
            out, resolution=generator.resolution, channels=generator.channels, image_format=image_format
        )
        try:
            with progress_bar("sampling", count, "images", writer.done["fake"]) as bar, StopRequest() as stop:
                _write_fakes(writer, generator, run, epoch, seed, count, DEFAULT_SPLIT, bar, stop, only)
            return writer.finish(origin=origin)
        finally:
            writer.close()


def choose_reals(reals: Reals, count: int, seed: int) -> np.ndarray:
    """Indices of at most `count` reals, ascending, each split cut by the same share; the same for the same seed."""
    if count >= len(reals.images):
        return np.arange(len(reals.images))
    random = np.random.default_rng(derive_seed(seed, "reals"))
    kept = []
    for split in SPLITS:
        own = np.flatnonzero(reals.splits == split)
        share = max(1, round(len(own) * count / len(reals.images)))
        kept.append(random.choice(own, min(share, len(own)), replace=False))
    return np.sort(np.concatenate(kept))


def _write_reals(writer: ImageSetWriter, reals: Reals, chosen: np.ndarray, bar: Bar, stop: StopRequest) -> None:
    for start in range(writer.done["real"], len(chosen), _REALS_PER_BATCH):
        places = range(start, min(start + _REALS_PER_BATCH, len(chosen)))
        records = []
        for place in places:
            row = int(chosen[place])
            split = str(reals.splits[row])
            records.append(
                ImageRecord(
                    file_name=writer.file_name(split, "real", place),
                    label="real",
                    split=split,
                    index=place,
                    class_=reals.classes[row],
                    group=reals.groups[row],
                    source=reals.names[row],
                    source_sha256=reals.sha256[row],
                )
            )
        writer.add(records, partial(reals.images.__getitem__, chosen[places.start : places.stop]))
        bar.advance(len(records))
        _honour(stop, writer)


def _write_fakes(
    writer,
    generator: Generator,
    run: Run,
    epoch,
    seed,
    count,
    shares,
    bar: Bar,
    stop: StopRequest,
    only: str | None = None,
) -> None:
    checkpoint = generator.facts["sha256"]
    start = writer.done["fake"]
    for number, indices in generator.blocks(start, count - start):
        classes = generator.block_classes(seed, number, only)
        records = []
        for index in indices:
            split = split_of_fake(index, shares)
            records.append(
                ImageRecord(
                    file_name=writer.file_name(split, "fake", index),
                    label="fake",
                    split=split,
                    index=index,
                    class_=classes[index - number * BLOCK],
                    run=run.path.name,
                    epoch=epoch,
                    checkpoint_sha256=checkpoint,
                    latent_seed=seed,
                )
            )
        writer.add(records, partial(_part_of_block, generator, seed, number, indices, only))
        bar.advance(len(records))
        _honour(stop, writer)


def _part_of_block(generator: Generator, seed: int, number: int, indices: range, only: str | None = None) -> np.ndarray:
    """The whole block is made even where only a part is wanted: see fakegen.sampling."""
    first = number * BLOCK
    return generator.block(seed, number, only)[indices.start - first : indices.stop - first]


def _honour(stop: StopRequest, writer: ImageSetWriter) -> None:
    if stop.asked:
        writer.flush()
        raise Interrupted(f"stopped; every image that {writer.root}/metadata.jsonl lists is complete")
