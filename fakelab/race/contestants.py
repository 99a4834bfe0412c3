"""The detectors of a race: models trained for it, the GANs' own discriminators, and trained detectors names by path."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from fakecore.errors import UserError
from fakecore.media.pixels import encode_png
from fakecore.progress import say
from fakecore.settings import override, setting
from fakedetect.data.overlap import which_seen
from fakedetect.models.detector import Detector
from fakedetect.models.registry import get_model, trains_on_features, uses_field
from fakedetect.models.settings import DetectorSettings
from fakelab.race.fits import OwnDiscriminator, PoolSplit, TestImages, Training
from fakelab.race.numbers import ALL, FIXED, cross_name
from fakelab.race.sets import LEAST_TESTED, RaceRun

DISCRIMINATOR = "discriminator"
# What --set cannot change here, and why.
_FIXED = {
    "model": "--detectors names the models",
    "resolution": "images have the resolution of the runs",
    "checkpoint": "the discriminator of every epoch is tested",
    "equalise": "reals and fakes come from memory, not from files",
}
_OF_BACKBONES = {"train", "frozen_layers", "pretrained", "weights", "input_size", "pool"}
_OF_EPOCHS = {"epochs", "batch", "rate", "weight_decay"}  # a linear head has a closed-form solution


@dataclass(frozen=True)
class RaceSettings(DetectorSettings):
    """Settings of the detectors that a race trains: those of detect-train, except the defaults that would cost most time."""

    epochs: int = setting(
        12,
        low=1,
        high=10_000,
        why="passes over the training images, as in detect-train: fewer save minutes and make cnn look worse than it is. On "
        "2,000 images of dcgan-64's epoch 35 its AUROC is 0.873 after 4, 0.943 after 8 and 0.980 after 12 (docs/lab/race.md)",
    )
    copies: int | None = setting(
        0,
        low=0,
        high=1000,
        why="augmented versions of each training image whose features are computed. With 0, the features of an image are "
        "computed once for all epochs, seeds and tests; with 4, again for each training",
    )


@dataclass(frozen=True)
class Finished:
    """A detector that was trained before the race."""

    key: str


@dataclass
class Contestant:
    """A detector of the race: `settings` if the race trains it, `detector` if it was trained before, else the discriminator."""

    name: str
    settings: DetectorSettings | None = None
    detector: Detector | None = None
    path: Path | None = None
    threshold: float = 0.0  # logit at or above which the verdict is fake
    known: dict[str, np.ndarray] = field(default_factory=dict)  # by pool of reals: which it was trained on, bool (N,)

    def to_json(self) -> dict:
        """Return the entry of race.json for this detector."""
        own = {"path": str(self.path), "id": self.detector.id} if self.detector else {"path": None, "id": None}
        return {"name": self.name, **own, "settings": asdict(self.settings) if self.settings else None}

    def logits(self, images: np.ndarray) -> np.ndarray:
        """Return the logits (N,) of a finished detector for images uint8 (N, C, R, R), prepared as `score` does: at its own
        size and with its own JPEG equalisation.
        """
        assert self.detector, "only a finished detector scores without training"
        colour = np.broadcast_to(images, (len(images), 3, *images.shape[2:])).transpose(0, 2, 3, 1)
        return self.detector.logits(np.stack([self.detector.prepare(np.ascontiguousarray(image)) for image in colour]))

    def find_known_reals(self, race_runs: list[RaceRun]) -> None:
        """Find the test reals that a finished detector was trained or tuned on. Raises UserError if too few others are left."""
        assert self.detector and self.path, "only a finished detector was trained before the race"
        for one in race_runs:
            pool = one.reals.images()
            # seen.npy holds the hashes of a set's reals, which are PNGs from the same encoder.
            hashes = [hashlib.sha256(encode_png(image, "real")).hexdigest() for image in pool[one.test_reals]]
            seen = which_seen(self.path, self.detector.facts, hashes)
            if seen is None:
                say(f"note: {self.name} may have been trained on test reals of {one.name}: seen.npy is missing")
                continue
            if seen.any():
                count = f"{seen.sum():,} of {len(seen):,}"
                say(f"note: {self.name} was trained on {count} test reals of {one.name}: they are left out")
            if (~seen).sum() < LEAST_TESTED:
                raise UserError(
                    f"{self.name} was trained on nearly all test reals of {one.name}",
                    got=f"{(~seen).sum()} of {len(seen)} left",
                    expected=f"{LEAST_TESTED} or more",
                )
            self.known[one.reals.key] = seen

    def unknown_reals(self, reals: TestImages) -> np.ndarray:
        """Return which of these test reals it was not trained or tuned on, bool (n,)."""
        known = self.known.get(reals.pool.key)
        return np.ones(len(reals.rows), dtype=bool) if known is None else ~known


@dataclass(frozen=True)
class Trial:
    """A planned line of results.csv: which detector is tested on which images."""

    run: str
    detector: str
    train_epoch: int | str
    test_epoch: int
    degrade: str
    seed: int
    job: Training | OwnDiscriminator | Finished
    reals: TestImages
    fakes: TestImages

    def facts(self) -> dict:
        """Return the first columns of its line."""
        names = ("run", "detector", "train_epoch", "test_epoch", "degrade", "seed")
        return {name: getattr(self, name) for name in names}


def open_contestants(names: Sequence[str], changes: dict[str, Any], device: str) -> list[Contestant]:
    """Return the detectors with these names. Raises UserError for an unknown name or one names twice."""
    if fixed := [name for name in changes if name in _FIXED]:
        raise UserError(
            f"{fixed[0]} cannot be set in a race",
            got=changes[fixed[0]],
            remedy=f"{_FIXED[fixed[0]].capitalize()}.",
        )
    found = []
    for name in names:
        path = Path(name)
        # A path that does not exist is reported as a path, not as a misspelt model.
        if path.suffix.lower() == ".onnx" or path.is_dir() or (os.sep in name and not name.startswith("timm:")):
            found.append(_finished(path, device))
        elif name == DISCRIMINATOR:
            found.append(Contestant(name))
        else:
            if get_model(name).open is not None:
                raise UserError(f"{name} is not trained for each epoch", expected="the folder of a trained detector")
            found.append(Contestant(name, _settings(name, changes)))
    if not found:
        raise UserError("--detectors is empty", expected="names such as cnn,dct,discriminator")
    names = [one.name for one in found]
    if twice := sorted({one for one in names if names.count(one) > 1}):
        raise UserError("a detector is named twice", got=", ".join(twice))
    return found


def _settings(model: str, changes: dict[str, Any]) -> RaceSettings:
    """Return the settings of one model. Fields that it does not use keep their defaults, so that its cells are found again."""
    settings = override(RaceSettings(), {**changes, "model": model})
    idle = {name for name in _OF_BACKBONES if not uses_field(settings, name)}
    if trains_on_features(settings) and settings.probe_in_use() != "mlp":
        idle = idle | _OF_EPOCHS
    plain = RaceSettings()
    return replace(settings, **{name: getattr(plain, name) for name in idle})


def _finished(path: Path, device: str) -> Contestant:
    detector = Detector.load(path, device)
    with np.errstate(divide="ignore"):  # a threshold of 1 is never reached
        p_fake = np.clip(detector.facts["thresholds"]["fake_from"], 0.0, 1.0)
        logit = float((np.log(p_fake) - np.log1p(-p_fake)) * detector.facts["temperature"])
    return Contestant(path.absolute().name, detector=detector, path=path, threshold=logit)


def trials(contestant: Contestant, race_runs: list[RaceRun], seeds: Iterable[int], degrades: list[str]) -> list[Trial]:
    """Return all tests of a contestant: within each run, trained on each epoch and tested on each; across runs, tested on the
    other runs' fakes of the same epochs.
    """
    planned = []
    for home in race_runs:
        for seed in seeds:
            for asked, train_epoch, job in _jobs(contestant, home, seed):
                for away in race_runs:
                    if away is not home and contestant.detector:
                        continue  # a finished detector belongs to no run: it is tested once on each
                    epochs = list(away.epochs.values())
                    if away is not home and asked is not None:
                        epochs = [away.epochs[asked]] if asked in away.epochs else []
                    run = home.name if away is home else cross_name(home.name, away.name)
                    for epoch in epochs:
                        for degrade in degrades:
                            reals = TestImages(away.reals, away.test_reals, degrade)
                            fakes = TestImages(away.fakes[epoch], away.split_fakes(seed)[2], degrade)
                            facts = (run, contestant.name, train_epoch, epoch, degrade, seed)
                            planned.append(Trial(*facts, job, reals, fakes))
    return planned


def _jobs(contestant: Contestant, home: RaceRun, seed: int):
    """Yield (the epoch as names in --epochs, train_epoch, job) for each detector of a contestant on a run."""
    if contestant.detector:
        yield None, FIXED, Finished(f"finished-{contestant.detector.id}")
        return
    for asked, epoch in home.epochs.items():
        if contestant.settings is None:
            yield asked, epoch, OwnDiscriminator(home.run.path, epoch, home.weights[epoch])
        else:
            yield asked, epoch, _training(contestant.settings, home, seed, [epoch])
    if contestant.settings is not None and len(home.epochs) > 1:
        yield None, ALL, _training(contestant.settings, home, seed, list(home.epochs.values()))


def _training(settings: DetectorSettings, home: RaceRun, seed: int, epochs: list[int]) -> Training:
    """Return the training on the fakes of these epochs: as many in total as for one epoch, divided evenly among them."""
    train, val = home.split_reals(seed)
    own_train, own_val, _ = home.split_fakes(seed)
    step = len(epochs)
    parts = [PoolSplit(home.fakes[epoch], own_train[k::step], own_val[k::step]) for k, epoch in enumerate(epochs)]
    return Training(settings, seed, PoolSplit(home.reals, train, val), tuple(parts))
