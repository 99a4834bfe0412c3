"""Training one detector of a race, and its logits of every set of test images: what a process of its own is given."""

from __future__ import annotations

import contextlib
import io
import os
import shutil
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from threadpoolctl import threadpool_limits
from torch import nn

from fakecore.device import choose_precision, derive_seed, one_thread, to_device
from fakecore.errors import UserError
from fakecore.interrupt import end_with_parent
from fakecore.labels import FAKE, REAL
from fakecore.runs.checkpoint import load_into
from fakedetect.data.loading import LabelledImages
from fakedetect.models.detector import network_logits
from fakedetect.models.heads import HEADS
from fakedetect.models.registry import Opened, open_new, trains_on_features
from fakedetect.models.settings import DetectorSettings
from fakedetect.training.loop import fit
from fakedetect.training.probe import KeptFeatures, fit_head, fit_probe
from fakegen.runs.run import open_run
from fakelab.discriminators import load_discriminator
from fakelab.race.cells import key_of, load_cell, save_cell
from fakelab.race.sets import Pool


@dataclass(frozen=True)
class Share:
    """Rows of a pool that one training sees: to train on, and to choose by."""

    pool: Pool
    train: np.ndarray
    val: np.ndarray


@dataclass(frozen=True)
class Exam:
    """Test images: some rows of a pool, after a degradation."""

    pool: Pool
    rows: np.ndarray
    degrade: str

    @property
    def key(self) -> str:
        return key_of("exam", pool=self.pool.key, rows=self.rows, degrade=self.degrade)


@dataclass(frozen=True)
class Training:
    """One detector to be trained: on the reals of one share, and the fakes of one or several."""

    settings: DetectorSettings
    seed: int
    reals: Share
    fakes: tuple[Share, ...]

    @property
    def key(self) -> str:
        shares = [[one.pool.key, one.train, one.val] for one in (self.reals, *self.fakes)]
        return key_of("trained", settings=asdict(self.settings), seed=self.seed, shares=shares)


@dataclass(frozen=True)
class Own:
    """A GAN's own D, as one checkpoint has it: there is nothing to train."""

    run: Path
    epoch: int
    checkpoint_sha256: str

    @property
    def key(self) -> str:
        return key_of("discriminator", checkpoint=self.checkpoint_sha256)


Job = Training | Own


def work(job: Job, exams: list[Exam], cells: Path, device: torch.device) -> None:
    """Train the detector unless its cell is there, and save its logits of those `exams` that have none yet.

    On a CPU it is one thread's work: its result does not depend on how many are at work, nor on the machine's size.
    """
    with contextlib.redirect_stderr(io.StringIO()), one_thread(), threadpool_limits(1):  # the race has a bar of its own
        if isinstance(job, Training) and load_cell(cells, job.key) is None:
            _train(job, cells, device)
        if not exams or not (missing := absent(job, exams, cells)):
            return
        network, found = open_network(job, cells, device), {}
        for exam in missing:
            found[exam.key] = network_logits(network, exam.pool.degraded(exam.degrade, exam.rows), device)
        add_logits(job, found, cells)


def absent(job: Job, exams: list[Exam], cells: Path) -> list[Exam]:
    """Those `exams` of which a detector's logits are not kept yet."""
    done = logits_of(job.key, cells)
    return [exam for exam in exams if exam.key not in done]


def logits_of(key: str, cells: Path) -> dict[str, np.ndarray]:
    """All logits that are kept of the detector called `key`, float64 (n,) by the exam's key."""
    kept = load_cell(cells, f"logits-{key}")
    return {} if kept is None else {name: tensor.numpy() for name, tensor in kept[0].items()}


def add_logits(job: Job, found: dict[str, np.ndarray], cells: Path) -> None:
    """Keep logits beside those that are kept already. Raises UserError for logits that are not finite."""
    if any(not np.isfinite(one).all() for one in found.values()):
        raise UserError(f"the logits of {told_job(job)} are not finite", remedy="Leave that detector out.")
    whole = logits_of(job.key, cells) | found
    save_cell(cells, f"logits-{job.key}", {name: torch.from_numpy(one) for name, one in whole.items()}, {})


def told_job(job: Job) -> str:
    """What a message calls a detector."""
    return job.settings.model if isinstance(job, Training) else f"the discriminator of {job.run}, epoch {job.epoch}"


def open_network(job: Job, cells: Path, device: torch.device) -> nn.Module:
    """The network of a job whose cell is there, ready to judge."""
    network: nn.Module
    if isinstance(job, Own):
        network, _ = load_discriminator(open_run(job.run, writes=False), str(job.epoch))
    else:
        # Weights that the cell does not hold are those of a frozen backbone, which the seed does not decide.
        opened = open_untrained(job)
        network = opened.network
        trained = opened.network.head if trains_on_features(job.settings) else network
        load_into(trained, _tensors_of(cells, job.key), f"{cells}/{job.key}")
    return to_device(network, device).eval()


def open_untrained(job: Training) -> Opened:
    """The network of a training as it begins."""
    return open_new(job.settings, _labelled([], [], job.reals.pool.images()), job.seed)


def open_heads(jobs: list[Training], extractor: Any, cells: Path) -> list[nn.Module]:
    """The heads of detectors on the same features, whose cells are there."""
    heads = []
    for job in jobs:
        head = HEADS[job.settings.probe_in_use()](extractor.dims)
        load_into(head, _tensors_of(cells, job.key), f"{cells}/{job.key}")
        heads.append(head.eval())
    return heads


def _tensors_of(cells: Path, key: str) -> dict[str, torch.Tensor]:
    """The tensors of a cell. Raises UserError where another process removed or damaged it."""
    if (cell := load_cell(cells, key)) is None:
        raise UserError(f"{cells}/{key} is missing or damaged", remedy="Repeat the command: it is computed again.")
    return cell[0]


def pool_features(extractor: nn.Module, images: np.ndarray, device: torch.device) -> np.ndarray:
    """Features of a whole pool, float32 (N, dims): computed once, for every training and test that wants some of them."""
    return KeptFeatures(extractor, device)(images, np.arange(len(images)))


def _train(job: Training, cells: Path, device: torch.device) -> None:
    if trains_on_features(job.settings):
        network, seconds, chosen = _train_head(job, device)
        tensors = network.head.state_dict()
    else:
        network, seconds, chosen = _train_whole(job, cells, device)
        tensors = network.state_dict()
    save_cell(cells, job.key, tensors, {"model": job.settings.model, "seed": job.seed, "fit_s": seconds, **chosen})


def _train_head(job: Training, device: torch.device) -> tuple[Any, float, dict]:
    settings, opened = job.settings, open_untrained(job)
    if settings.copies_in_use() or settings.limit is not None:  # features of images that this training alone sees
        began = time.perf_counter()
        fitted = fit_probe(opened.network, _data(job), settings, seed=job.seed, device=device)
        return fitted.network, time.perf_counter() - began, fitted.chosen
    shares = (job.reals, *job.fakes)
    extractor = opened.network.features.to(device)
    pools = [pool_features(extractor, share.pool.images(), device) for share in shares]
    features = {
        split: np.concatenate([own[getattr(share, split)] for own, share in zip(pools, shares, strict=True)])
        for split in ("train", "val")
    }
    labels = {split: _labels(job, split) for split in features}
    began = time.perf_counter()
    torch.manual_seed(derive_seed(job.seed, "head"))
    network = opened.network.to(device)
    val = features["val"], labels["val"]
    fitted = fit_head(network, [features["train"]], labels["train"], val, settings, job.seed)
    return fitted.network, time.perf_counter() - began, fitted.chosen


def _train_whole(job: Training, cells: Path, device: torch.device) -> tuple[nn.Module, float, dict]:
    data = _data(job)
    folder = cells / f"begun-{job.key}"  # an epoch's state stands here: a killed training goes on from it
    begun = folder.exists()
    try:
        return _fit_whole(job, data, folder, device)
    except UserError:
        if not begun:
            raise
        shutil.rmtree(folder)  # what it was to go on from may be damaged; it can be made again
        return _fit_whole(job, data, folder, device)


def _fit_whole(
    job: Training, data: LabelledImages, folder: Path, device: torch.device
) -> tuple[nn.Module, float, dict]:
    folder.mkdir(parents=True, exist_ok=True)
    began = time.perf_counter()
    network = open_new(job.settings, data, job.seed).network
    precision = choose_precision(job.settings.precision, device)
    fitted = fit(network, data, job.settings, folder=folder, seed=job.seed, device=device, precision=precision)
    seconds = time.perf_counter() - began
    shutil.rmtree(folder)
    return fitted.network, seconds, {"best_epoch": fitted.best_epoch}


def _data(job: Training) -> LabelledImages:
    """What a training sees, as a set: reals and fakes, to train on and to choose by."""
    images, labels, splits = [], [], []
    for share, label in ((job.reals, REAL), *((one, FAKE) for one in job.fakes)):
        pool = share.pool.images()
        for split in ("train", "val"):
            rows = getattr(share, split)
            images.append(pool[rows])
            labels += [label] * len(rows)
            splits += [split] * len(rows)
    return _labelled(labels, splits, np.concatenate(images))


def _labels(job: Training, split: str) -> np.ndarray:
    reals, fakes = len(getattr(job.reals, split)), sum(len(getattr(one, split)) for one in job.fakes)
    return np.array([REAL] * reals + [FAKE] * fakes, dtype=np.int64)


def _labelled(labels: list[int], splits: list[str], images: np.ndarray) -> LabelledImages:
    """Images without files: what has to do with paths and origins stays empty."""
    return LabelledImages(images, np.array(labels, dtype=np.int64), np.array(splits), [], [], [], {}, [])


def prepare_worker() -> None:
    """Make this process a good worker: one thread, silent, deaf to a Ctrl-C meant for the first process, and never left
    behind when that is killed.
    """
    import signal
    import sys

    torch.set_num_threads(1)
    sys.stderr = Path(os.devnull).open("w")  # noqa: SIM115
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    end_with_parent()
