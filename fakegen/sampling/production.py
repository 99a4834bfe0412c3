"""Write sets of fakes: the matched set of a run, and more fakes from any checkpoint without its real images."""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import numpy as np

from fakecore.cluster import Cluster
from fakecore.device import check_seed, choose_device, derive_seed, join_world
from fakecore.distributed import ALONE, World, launched
from fakecore.errors import Interrupted, UserError
from fakecore.interrupt import StopRequest, with_resume_command
from fakecore.labels import SPLITS, Label, Split
from fakecore.messages import command
from fakecore.progress import progress_bar
from fakecore.runs.mirror import local_folder
from fakecore.runs.runfolder import locked, refuse_used
from fakecore.sets.imageset import ImageRecord
from fakecore.sets.setwriter import ImageSetWriter
from fakecore.sets.splits import DEFAULT_SPLIT
from fakecore.sets.targets import ledger_folder
from fakecore.sets.units import Wanted
from fakecore.storage import exists, list_files, refuse_unwritable
from fakecore.urls import scheme_of, shown
from fakegen.runs.reals import Reals
from fakegen.runs.run import Run, open_run
from fakegen.sampling.clusters import OnCluster
from fakegen.sampling.fakes import Fakes
from fakegen.sampling.requests import check_resumable, choose_epoch, note_unfinished
from fakegen.sampling.sampling import BLOCK


def write_matched_set(run: Run, reals: Reals, device: str = "auto", world: World = ALONE) -> dict:
    """Write RUN/set, and return its imageset.json: fakes of the run's `set_epoch`, and as many real images, or all of them.

    Resumes a set that was stopped. The reals are the run's images at its resolution, encoded like the fakes.
    """
    count, shares, seed = run.facts["count"], tuple(run.facts["split"]), run.facts["seed"]
    remedy = f"Delete {run.path}/state and resume: the run then trains again from the first step."
    fakes = Fakes(run.set_epoch, seed, count, shares)
    generator = fakes.load(run, device, remedy)
    started = time.perf_counter()
    wanted: dict[Label, Wanted] = {
        "real": _reals(reals, choose_reals(reals, count, seed)),
        "fake": fakes.wanted(generator, run),
    }
    origin = {
        "made_by": "generate",
        **fakes.origin(generator, run),
        "source": run.facts["source"],
        "split": list(shares),
    }
    writer = ImageSetWriter(
        run.path / "set",
        wanted,
        resolution=generator.resolution,
        channels=generator.channels,
        image_format=run.facts.get("format", "png"),  # runs of earlier versions do not say it
        world=world,
    )
    facts = _write(writer, "writing the set", origin)
    run.facts["timings"]["set_s"] = round(time.perf_counter() - started, 2)
    return facts


def sample(
    run_path: Path | str,
    out: Path | str,
    *,
    count: int,
    epoch: int | None = None,
    only: str | None = None,
    truncation: float = 1.0,
    image_format: str = "png",
    seed: int | None = None,
    resume: bool = False,
    device: str = "auto",
    cluster: Cluster | None = None,
) -> dict:
    """Write `count` fakes of one checkpoint as a set without reals, and return its imageset.json.

    `run_path` may be a URL; the run is then copied to the cache. `out` may be one: files are then written there, and the
    manifest when all of them are. `epoch` defaults to the last checkpoint; `seed` to the run's seed plus 1, so that the fakes
    differ from those of the run's set. `only` is the class to make, for a conditional generator; None makes all. `truncation`
    scales the latents. Workers of a `cluster` make the fakes, if it is given.
    Raises UserError for an epoch without checkpoint, a folder in use, or a resume with other settings.
    """
    place, url = str(run_path), str(out) if scheme_of(str(out)) else None
    if launched() and (cluster or url):
        what = "--engine" if cluster else "--out at a URL"
        raise UserError(f"{what} cannot be combined with torchrun", remedy="Start one process; --engine starts others.")
    if url:
        refuse_unwritable(url)
    root = ledger_folder(url) if url else Path(out)
    # Of a cluster, the workers have the device.
    own_device, device = ("cpu", cluster.device(device)) if cluster else (device, device)
    world = join_world(choose_device(own_device))
    with world.together():
        run = open_run(world.after_first(lambda: local_folder(place)))
        epoch = choose_epoch(run, epoch)
        if count < 1:
            raise UserError("--count is out of range", got=count, expected="1 or more")
        seed = run.facts["seed"] + 1 if seed is None else seed
        check_seed(seed)
        fakes = Fakes(epoch, seed, count, DEFAULT_SPLIT, only, truncation)
        generator = fakes.load(run, own_device)
        note_unfinished(run, [epoch])
    origin = {"made_by": "sample", **fakes.origin(generator, run), "class": only, "split": list(DEFAULT_SPLIT)}
    words: list[object] = ["--count", count, "--out", shown(str(out)), "--epoch", epoch, "--seed", seed]
    words += ["--format", image_format, "--resume"] + (["--class", only] if only else [])
    words += ["--truncation", truncation] if truncation != 1 else []
    words += cluster.words() if cluster else []
    claimed = _claimed(root, url, origin, generator.batch_classes(seed, range(BLOCK), only), resume)
    with world.first(claimed), with_resume_command(command("sample", shown(place), *words)):
        writer = ImageSetWriter(
            root,
            {"fake": fakes.wanted(generator, run)},
            resolution=generator.resolution,
            channels=generator.channels,
            image_format=image_format,
            world=world,
            url=url,
        )
        on_cluster = OnCluster(writer, cluster, place, fakes, generator.facts["sha256"], device) if cluster else None
        return _write(writer, "sampling", origin, on_cluster)


@contextmanager
def _claimed(root: Path, url: str | None, origin: dict, classes: list[str | None], resume: bool) -> Iterator[None]:
    """Lock the folder `root` of a set; refuse one in use, unless it can be resumed."""
    if url and resume and not (root / "metadata.jsonl").exists():
        remedy = "Resume it on the machine that started it, with the same FAKELAB_CACHE, or choose another --out."
        raise UserError(f"this machine did not start the set at {shown(url)}", remedy=remedy)
    if resume:
        check_resumable(root, origin, classes, shown(url) if url else str(root))
    elif not url:
        hint = "Add --resume to resume it"
        refuse_used(root, made_by="a set of images", marker="metadata.jsonl", resume_hint=hint)
    elif exists(url) and any(True for _ in list_files(url, every=True)):
        remedy = "Add --resume to resume a set that this machine started, or choose another --out."
        raise UserError(f"{shown(url)} already holds files, which are never overwritten", remedy=remedy)
    with locked(root):
        if url and not resume:  # of a set that was deleted, or of which no file was written
            for split in SPLITS:
                shutil.rmtree(root / split, ignore_errors=True)
            (root / "metadata.jsonl").unlink(missing_ok=True)
        yield


def choose_reals(reals: Reals, count: int, seed: int) -> np.ndarray:
    """Return the indices of at most `count` reals, ascending, drawn by `seed`, with the same fraction of each split."""
    if count >= len(reals.images):
        return np.arange(len(reals.images))
    random = np.random.default_rng(derive_seed(seed, "reals"))
    chosen = []
    for split in SPLITS:
        own = np.flatnonzero(reals.splits == split)
        part = max(1, round(len(own) * count / len(reals.images)))
        chosen.append(random.choice(own, min(part, len(own)), replace=False))
    return np.sort(np.concatenate(chosen))


def _write(writer: ImageSetWriter, title: str, origin: dict, on_cluster: OnCluster | None = None) -> dict:
    try:
        with progress_bar(title, writer.total, "images", writer.done) as bar, StopRequest() as stop:
            made = on_cluster.write(lambda: stop.asked) if on_cluster else writer.write()
            with closing(made):
                for listed in made:
                    bar.advance(listed)
                    if stop.asked:
                        break
            if stop.asked:
                writer.flush()
                raise Interrupted(f"stopped; all images that were listed are complete at {writer.name}")
        if on_cluster and on_cluster.devices:
            origin = {**origin, "device": " and ".join(sorted(on_cluster.devices))}
        return writer.finish(origin=origin)
    finally:
        writer.close()


def _reals(reals: Reals, chosen: np.ndarray) -> Wanted:
    """Return the reals of a set: real i is row chosen[i] of `reals`."""

    def records(indices: range, file_name) -> list[ImageRecord]:
        found = []
        for index in indices:
            row = int(chosen[index])
            split: Split = reals.splits[row]
            found.append(
                ImageRecord(
                    file_name=file_name(split, "real", index),
                    label="real",
                    split=split,
                    index=index,
                    class_=reals.classes[row],
                    group=reals.groups[row],
                    source=reals.names[row],
                    source_sha256=reals.sha256[row],
                )
            )
        return found

    return Wanted(len(chosen), records, lambda indices: reals.images[chosen[indices.start : indices.stop]])
