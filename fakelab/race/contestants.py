"""Who races: detectors that are trained for it, the GANs' own discriminators, and finished ones given by path."""

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
from fakedetect.data.equalise import equalised
from fakedetect.data.overlap import which_seen
from fakedetect.models.detector import Detector
from fakedetect.models.registry import get_model, trains_on_features, uses_field
from fakedetect.models.settings import DetectorSettings
from fakelab.race.fits import Exam, Own, Share, Training
from fakelab.race.numbers import ALL, FIXED
from fakelab.race.sets import LEAST_TESTED, Entrant

DISCRIMINATOR = "discriminator"
# What --set cannot change here, and why.
_FIXED = {
    "model": "--detectors names the models",
    "resolution": "images are looked at as the runs make them",
    "checkpoint": "the discriminator is asked at every epoch",
    "equalise": "reals and fakes come from memory, not from files",
}
_OF_BACKBONES = {"train", "frozen_layers", "pretrained", "weights", "input_size", "pool"}
_OF_EPOCHS = {"epochs", "batch", "rate", "weight_decay"}  # a linear head is solved for at once


@dataclass(frozen=True)
class RaceSettings(DetectorSettings):
    """How detectors are trained for a race: as ever, but for what would cost most, since there are many of them."""

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
        why="augmented versions of each training image whose features are computed; 0: as they are, so that the features of "
        "an image are computed once, for every epoch, seed and test: with 4 they would be for each training anew",
    )


@dataclass(frozen=True)
class Finished:
    """A trained detector, as it stands."""

    key: str


@dataclass
class Contestant:
    """One line of the curves. `settings` where it is trained here, `detector` where it was trained before."""

    name: str
    settings: DetectorSettings | None = None
    detector: Detector | None = None
    path: Path | None = None
    cut: float = 0.0  # the logit from which it says fake
    known: dict[str, np.ndarray] = field(default_factory=dict)  # by pool of reals: which of them it has met, bool (N,)

    def told(self) -> dict:
        """What race.json says of it."""
        own = {"path": str(self.path), "id": self.detector.id} if self.detector else {"path": None, "id": None}
        return {"name": self.name, **own, "settings": asdict(self.settings) if self.settings else None}

    def judge(self, images: np.ndarray) -> np.ndarray:
        """Logits (N,) of a finished detector, of images uint8 (N, C, R, R) prepared as it wants them."""
        assert self.detector, "only a finished detector scores without training"
        if (quality := self.detector.equalise_jpeg) is not None:
            images = np.stack([equalised(image, quality) for image in images])
        return self.detector.logits(images)

    def meet(self, entrants: list[Entrant]) -> None:
        """Find out which test reals a finished detector was trained or tuned on. Raises UserError where too few are left."""
        assert self.detector and self.path, "only a finished detector was trained before"
        for one in entrants:
            pool = one.reals.images()
            # A set's reals are PNGs that our encoder wrote: their hashes are what seen.npy remembers.
            hashes = [hashlib.sha256(encode_png(image, "real")).hexdigest() for image in pool[one.test_reals]]
            seen = which_seen(self.path, self.detector.facts, hashes)
            if seen is None:
                say(
                    f"note: whether {self.name} was trained on test reals of {one.name} is unknown: seen.npy is missing"
                )
                continue
            if seen.any():
                say(
                    f"note: {self.name} knows {seen.sum():,} of {len(seen):,} test reals of {one.name}: they are left out"
                )
            if (~seen).sum() < LEAST_TESTED:
                left = f"{(~seen).sum()} of {len(seen)}"
                raise UserError(f"{self.name} knows nearly all test reals of {one.name}", got=f"{left} are new to it")
            self.known[one.reals.key] = seen

    def fair(self, reals: Exam) -> np.ndarray:
        """Which of these test reals it has not met, bool (n,)."""
        known = self.known.get(reals.pool.key)
        return np.ones(len(reals.rows), dtype=bool) if known is None else ~known


@dataclass(frozen=True)
class Trial:
    """One line of results.csv, before anything is computed."""

    run: str
    detector: str
    train_epoch: int | str
    test_epoch: int
    degrade: str
    seed: int
    job: Training | Own | Finished
    reals: Exam
    fakes: Exam

    def facts(self) -> dict:
        """Its first columns."""
        names = ("run", "detector", "train_epoch", "test_epoch", "degrade", "seed")
        return {name: getattr(self, name) for name in names}


def open_contestants(names: Sequence[str], changes: dict[str, Any], device: str) -> list[Contestant]:
    """The detectors called so. Raises UserError for a name that is none, or named twice."""
    if fixed := [name for name in changes if name in _FIXED]:
        raise UserError(
            f"{fixed[0]} is not a field to set in a race",
            got=changes[fixed[0]],
            remedy=f"{_FIXED[fixed[0]].capitalize()}.",
        )
    found = []
    for name in names:
        path = Path(name)
        # A path that leads nowhere is no misspelt model.
        if path.suffix.lower() == ".onnx" or path.is_dir() or (os.sep in name and not name.startswith("timm:")):
            found.append(_finished(path, device))
        elif name == DISCRIMINATOR:
            found.append(Contestant(name))
        else:
            if get_model(name).open is not None:
                raise UserError(f"{name} is not trained for each epoch", expected="the folder of a trained detector")
            found.append(Contestant(name, _settings(name, changes)))
    if not found:
        raise UserError("--detectors names none", expected="such as cnn,dct,discriminator")
    told = [one.name for one in found]
    if twice := sorted({one for one in told if told.count(one) > 1}):
        raise UserError("a detector is named twice", got=", ".join(twice))
    return found


def _settings(model: str, changes: dict[str, Any]) -> RaceSettings:
    """Those of one model. What does not concern it stays as it is, so that what was trained before is known again."""
    settings = override(RaceSettings(), {**changes, "model": model})
    idle = {name for name in _OF_BACKBONES if not uses_field(settings, name)}
    if trains_on_features(settings) and settings.probe_in_use() != "mlp":
        idle = idle | _OF_EPOCHS
    plain = RaceSettings()
    return replace(settings, **{name: getattr(plain, name) for name in idle})


def _finished(path: Path, device: str) -> Contestant:
    detector = Detector.load(path, device)
    cut = detector.facts["thresholds"]["fake_from"]
    with np.errstate(divide="ignore"):  # a threshold of 1 is never reached
        share = np.clip(cut, 0.0, 1.0)
        logit = float((np.log(share) - np.log1p(-share)) * detector.facts["temperature"])
    return Contestant(path.absolute().name, detector=detector, path=path, cut=logit)


def trials(contestant: Contestant, entrants: list[Entrant], seeds: Iterable[int], degrades: list[str]) -> list[Trial]:
    """Every test of a contestant: on each run, trained at each epoch and tested at each; and on the other runs' fakes of the
    same epochs.
    """
    planned = []
    for home in entrants:
        for seed in seeds:
            for asked, train_epoch, job in _jobs(contestant, home, seed):
                for away in entrants:
                    if away is not home and contestant.detector:
                        continue  # it belongs to no run: that run's own turn tests it
                    epochs = list(away.epochs.values())
                    if away is not home and asked is not None:
                        epochs = [away.epochs[asked]] if asked in away.epochs else []
                    run = home.name if away is home else crossing(home.name, away.name)
                    for epoch in epochs:
                        for degrade in degrades:
                            reals = Exam(away.reals, away.test_reals, degrade)
                            fakes = Exam(away.fakes[epoch], away.deal_fakes(seed)[2], degrade)
                            facts = (run, contestant.name, train_epoch, epoch, degrade, seed)
                            planned.append(Trial(*facts, job, reals, fakes))
    return planned


def crossing(home: str, away: str) -> str:
    """What the column `run` calls a test of detectors trained on one run with the fakes of another."""
    return f"{home} > {away}"


def _jobs(contestant: Contestant, home: Entrant, seed: int):
    """(what --epochs called it, train_epoch, job) of each detector that a contestant brings to a run."""
    if contestant.detector:
        yield None, FIXED, Finished(f"finished-{contestant.detector.id}")
        return
    for asked, epoch in home.epochs.items():
        if contestant.settings is None:
            yield asked, epoch, Own(home.run.path, epoch, home.weights[epoch])
        else:
            yield asked, epoch, _training(contestant.settings, home, seed, [epoch])
    if contestant.settings is not None and len(home.epochs) > 1:
        yield None, ALL, _training(contestant.settings, home, seed, list(home.epochs.values()))


def _training(settings: DetectorSettings, home: Entrant, seed: int, epochs: list[int]) -> Training:
    """Training on the fakes of these epochs: as many in all as of one, dealt among them."""
    train, val = home.deal_reals(seed)
    own_train, own_val, _ = home.deal_fakes(seed)
    step = len(epochs)
    shares = [Share(home.fakes[epoch], own_train[k::step], own_val[k::step]) for k, epoch in enumerate(epochs)]
    return Training(settings, seed, Share(home.reals, train, val), tuple(shares))
