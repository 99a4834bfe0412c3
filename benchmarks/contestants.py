"""Who races: detectors that are trained for it, the GANs' own discriminators, and finished ones given by path."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.race_fits import Exam, Own, Share, Training
from benchmarks.race_numbers import ALL, FIXED
from benchmarks.race_sets import LEAST_TESTED, Entrant
from fakecore.errors import UserError
from fakecore.pixels import encode_png
from fakecore.progress import say
from fakecore.settings import override
from fakedetect.detector import Detector
from fakedetect.models import FINISHED
from fakedetect.networks import require_model
from fakedetect.seen import which_seen
from fakedetect.settings import DetectorSettings

DISCRIMINATOR = "discriminator"
# Every image is looked at as it is, so that the features of a frozen network are computed once for all trainings.
_DEFAULTS = {"copies": 0}


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
        return {"name": self.name, **own}

    def meet(self, entrants: list[Entrant]) -> None:
        """Find out which test reals a finished detector was trained or tuned on. Raises UserError where too few are left."""
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
    found = []
    for name in names:
        path = Path(name)
        if (path / "detector.json").is_file() or path.suffix.lower() == ".onnx" or path.is_dir():
            found.append(_finished(path, device))
        elif name == DISCRIMINATOR:
            found.append(Contestant(name))
        else:
            require_model(name)
            if name.partition(":")[0] in FINISHED:
                raise UserError(f"{name} is not trained for each epoch", expected="the folder of a trained detector")
            found.append(Contestant(name, override(DetectorSettings(), {**_DEFAULTS, **changes, "model": name})))
    if not found:
        raise UserError("--detectors names none", expected="such as cnn,dct,discriminator")
    told = [one.name for one in found]
    if twice := sorted({one for one in told if told.count(one) > 1}):
        raise UserError("a detector is named twice", got=", ".join(twice))
    return found


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
        yield None, FIXED, Finished(f"fixed-{contestant.detector.id}")
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
