"""Train one detector of a race and compute its logits for all test images: the work of one process."""

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
from fakedetect.training.probe import FeatureCache, fit_head, fit_probe
from fakegen.runs.run import open_run
from fakelab.discriminators import load_discriminator
from fakelab.race.cells import key_of, load_cell, save_cell
from fakelab.race.sets import Pool


@dataclass(frozen=True)
class PoolSplit:
    """Rows of a pool used by one training: for training and for validation."""

    pool: Pool
    train: np.ndarray
    val: np.ndarray


@dataclass(frozen=True)
class TestImages:
    """Test images: rows of a pool, after a degradation."""

    pool: Pool
    rows: np.ndarray
    degrade: str

    @property
    def key(self) -> str:
        return key_of("exam", pool=self.pool.key, rows=self.rows, degrade=self.degrade)


@dataclass(frozen=True)
class Training:
    """A detector to train: on reals of one pool and fakes of one or several."""

    settings: DetectorSettings
    seed: int
    reals: PoolSplit
    fakes: tuple[PoolSplit, ...]

    @property
    def key(self) -> str:
        rows = [[one.pool.key, one.train, one.val] for one in (self.reals, *self.fakes)]
        return key_of("trained", settings=asdict(self.settings), seed=self.seed, shares=rows)


@dataclass(frozen=True)
class OwnDiscriminator:
    """A GAN's own D from one checkpoint; it is not trained."""

    run: Path
    epoch: int
    checkpoint_sha256: str

    @property
    def key(self) -> str:
        return key_of("discriminator", checkpoint=self.checkpoint_sha256)


Job = Training | OwnDiscriminator


def train_and_score(job: Job, tests: list[TestImages], cells: Path, device: torch.device) -> None:
    """Train the detector unless its cell exists, and save its logits for those `tests` that have none yet.

    On a CPU it uses one thread, so that its result does not depend on the number of processes or cores.
    """
    with (
        contextlib.redirect_stderr(io.StringIO()),
        one_thread(),
        threadpool_limits(1),
    ):  # the race shows its own progress bar
        if isinstance(job, Training) and load_cell(cells, job.key) is None:
            _train(job, cells, device)
        if not tests or not (missing := missing_tests(job, tests, cells)):
            return
        network, found = load_network(job, cells, device), {}
        for test in missing:
            found[test.key] = network_logits(network, test.pool.degraded(test.degrade, test.rows), device)
        save_logits(job, found, cells)


def missing_tests(job: Job, tests: list[TestImages], cells: Path) -> list[TestImages]:
    """Return those `tests` for which the detector has no logits on disk."""
    done = load_logits(job.key, cells)
    return [test for test in tests if test.key not in done]


def load_logits(key: str, cells: Path) -> dict[str, np.ndarray]:
    """Return all logits on disk of the detector `key`: float64 (n,), by the key of the test images."""
    cell = load_cell(cells, f"logits-{key}")
    return {} if cell is None else {name: tensor.numpy() for name, tensor in cell[0].items()}


def save_logits(job: Job, found: dict[str, np.ndarray], cells: Path) -> None:
    """Add logits to those on disk. Raises UserError for logits that are not finite."""
    if any(not np.isfinite(one).all() for one in found.values()):
        raise UserError(
            f"the logits of {describe_job(job)} are not finite", remedy="Leave this detector out of --detectors."
        )
    merged = load_logits(job.key, cells) | found
    save_cell(cells, f"logits-{job.key}", {name: torch.from_numpy(one) for name, one in merged.items()}, {})


def describe_job(job: Job) -> str:
    """Return the name of a detector for messages."""
    return job.settings.model if isinstance(job, Training) else f"the discriminator of {job.run}, epoch {job.epoch}"


def load_network(job: Job, cells: Path, device: torch.device) -> nn.Module:
    """Return the trained network of a job, on `device` and in evaluation mode. Raises UserError if its cell is missing."""
    network: nn.Module
    if isinstance(job, OwnDiscriminator):
        network, _ = load_discriminator(open_run(job.run, writes=False), str(job.epoch))
    else:
        # Weights that are not in the cell belong to a frozen backbone and do not depend on the seed.
        opened = open_untrained(job)
        network = opened.network
        trained = opened.network.head if trains_on_features(job.settings) else network
        load_into(trained, _tensors_of(cells, job.key), f"{cells}/{job.key}")
    return to_device(network, device).eval()


def open_untrained(job: Training) -> Opened:
    """Return the network of a training before its first step."""
    return open_new(job.settings, _as_set([], [], job.reals.pool.images()), job.seed)


def load_heads(jobs: list[Training], extractor: Any, cells: Path) -> list[nn.Module]:
    """Return the trained heads of detectors on the same features."""
    heads = []
    for job in jobs:
        head = HEADS[job.settings.probe_in_use()](extractor.dims)
        load_into(head, _tensors_of(cells, job.key), f"{cells}/{job.key}")
        heads.append(head.eval())
    return heads


def _tensors_of(cells: Path, key: str) -> dict[str, torch.Tensor]:
    """Return the tensors of a cell. Raises UserError if another process removed or damaged it."""
    if (cell := load_cell(cells, key)) is None:
        raise UserError(f"{cells}/{key} is missing or damaged", remedy="Repeat the command: it is computed again.")
    return cell[0]


def pool_features(extractor: nn.Module, images: np.ndarray, device: torch.device) -> np.ndarray:
    """Return the features of all images of a pool, float32 (N, dims); computed once and cached for all trainings and tests."""
    return FeatureCache(extractor, device)(images, np.arange(len(images)))


def _train(job: Training, cells: Path, device: torch.device) -> None:
    if trains_on_features(job.settings):
        network, seconds, chosen = _train_head(job, device)
        tensors = network.head.state_dict()
    else:
        network, seconds, chosen = _train_network(job, cells, device)
        tensors = network.state_dict()
    save_cell(cells, job.key, tensors, {"model": job.settings.model, "seed": job.seed, "fit_s": seconds, **chosen})


def _train_head(job: Training, device: torch.device) -> tuple[Any, float, dict]:
    settings, opened = job.settings, open_untrained(job)
    if settings.copies_in_use() or settings.limit is not None:  # features of augmented or fewer images cannot be shared
        began = time.perf_counter()
        fitted = fit_probe(opened.network, _data(job), settings, seed=job.seed, device=device)
        return fitted.network, time.perf_counter() - began, fitted.chosen
    parts = (job.reals, *job.fakes)
    extractor = opened.network.features.to(device)
    pools = [pool_features(extractor, part.pool.images(), device) for part in parts]
    features = {
        split: np.concatenate([own[getattr(part, split)] for own, part in zip(pools, parts, strict=True)])
        for split in ("train", "val")
    }
    labels = {split: _labels(job, split) for split in features}
    began = time.perf_counter()
    torch.manual_seed(derive_seed(job.seed, "head"))
    network = opened.network.to(device)
    val = features["val"], labels["val"]
    fitted = fit_head(network, [features["train"]], labels["train"], val, settings, job.seed)
    return fitted.network, time.perf_counter() - began, fitted.chosen


def _train_network(job: Training, cells: Path, device: torch.device) -> tuple[nn.Module, float, dict]:
    data = _data(job)
    folder = cells / f"begun-{job.key}"  # holds the state after the last epoch, from which a killed training resumes
    resumes = folder.exists()
    try:
        return _fit_network(job, data, folder, device)
    except UserError:
        if not resumes:
            raise
        shutil.rmtree(folder)  # the state may be damaged: train from the start
        return _fit_network(job, data, folder, device)


def _fit_network(
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
    """Return the images of a training as a set: reals and fakes, with the splits train and val."""
    images, labels, splits = [], [], []
    for part, label in ((job.reals, REAL), *((one, FAKE) for one in job.fakes)):
        pool = part.pool.images()
        for split in ("train", "val"):
            rows = getattr(part, split)
            images.append(pool[rows])
            labels += [label] * len(rows)
            splits += [split] * len(rows)
    return _as_set(labels, splits, np.concatenate(images))


def _labels(job: Training, split: str) -> np.ndarray:
    reals, fakes = len(getattr(job.reals, split)), sum(len(getattr(one, split)) for one in job.fakes)
    return np.array([REAL] * reals + [FAKE] * fakes, dtype=np.int64)


def _as_set(labels: list[int], splits: list[str], images: np.ndarray) -> LabelledImages:
    """Return images without files as a set; its fields about paths and origins are empty."""
    return LabelledImages(images, np.array(labels, dtype=np.int64), np.array(splits), [], [], [], {}, [])


def prepare_worker() -> None:
    """Set up a worker process: one thread, no output, Ctrl-C left to the parent, and exit when the parent is killed."""
    import signal
    import sys

    torch.set_num_threads(1)
    sys.stderr = Path(os.devnull).open("w")  # noqa: SIM115
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    end_with_parent()
