"""What a race is run on: checkpoints of runs, fakes from the same latents at every epoch, and reals that no one trained on.

Of `per_epoch` fakes of an epoch 70 % are for training (a seventh of them to choose by) and 30 % for testing, and as many
reals: those for training from the run's train split, those for testing from its val and test splits. Where a run has
fewer reals, there are as many fewer of both, and that is said. Every seed deals the fakes, and the training reals, anew.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch

from fakecore.device import derive_seed, device_name
from fakecore.errors import UserError
from fakecore.files import read_json
from fakecore.progress import progress_bar, say
from fakecore.runs.runfolder import locked
from fakecore.runs.tensorcache import keep, load_kept
from fakedetect.data.degrade import NONE, parse_degradation
from fakedetect.evaluation.matrix import unique_names
from fakegen.quality.measure import parse_epochs
from fakegen.runs.reals import Reals
from fakegen.runs.run import Run, open_run
from fakegen.sampling.sampling import BLOCK, Generator, load_generator
from fakelab.race.cells import digest_of, key_of
from fakelab.reals import reals_of

LAST = "last"
DEFAULT_EPOCHS = 6
LEAST_PER_EPOCH = 40
LEAST_TESTED, LEAST_LEARNED = 10, 20  # images of a class, below which there is nothing to measure or to learn
_TEST_SHARE, _VAL_SHARE = 0.3, 1 / 7


@dataclass(frozen=True)
class Pool:
    """Images of one origin, uint8 (N, C, R, R), kept in the cache: processes pass its `key` to each other, not pixels."""

    key: str
    count: int

    def images(self) -> np.ndarray:
        """Raises UserError where the cache was emptied meanwhile."""
        if (kept := load_kept(self.key)) is None:
            raise UserError(
                "images of the race are no longer in the cache", remedy="Repeat the command: they are made again."
            )
        return kept[0]["images"].numpy()

    def degraded(self, name: str, rows: np.ndarray | None = None) -> np.ndarray:
        """The images, or some `rows` of them, after the degradation called `name`."""
        images = self.images()
        rows = np.arange(len(images)) if rows is None else rows
        if name == NONE:
            return images[rows]
        degradation = parse_degradation(name)
        return np.stack([degradation.apply(images[row], f"{self.key}:{row}") for row in rows])


@dataclass
class Entrant:
    """One run in the race. `epochs` maps what was asked ("0", "last") to the epoch; `fakes` has a pool for each."""

    name: str
    run: Run
    epochs: dict[str, int]
    reals: Pool  # first those to learn from, then those to test on
    learned: int  # how many are to learn from, of reals and of fakes
    tested: int
    fakes: dict[int, Pool] = field(default_factory=dict)
    weights: dict[int, str] = field(default_factory=dict)  # SHA-256 of each checkpoint
    source: Reals | None = None  # for distances, until they are measured

    @property
    def shape(self) -> tuple[int, int]:
        """Resolution and channels."""
        return self.run.preset.resolution, self.run.channels

    def deal_reals(self, seed: int) -> tuple[np.ndarray, np.ndarray]:
        """Rows of `reals` to train on and to choose by, of this seed."""
        order = np.random.default_rng(derive_seed(seed, "deal", "real")).permutation(self.learned)
        train, val = np.split(order, [self.learned - self._val()])
        return train, val

    def deal_fakes(self, seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Rows of every epoch's fakes to train on, to choose by and to test on, of this seed."""
        order = np.random.default_rng(derive_seed(seed, "deal", "fake")).permutation(self.learned + self.tested)
        train, val, test = np.split(order, [self.learned - self._val(), self.learned])
        return train, val, test

    def _val(self) -> int:
        return max(2, round(self.learned * _VAL_SHARE))

    @property
    def test_reals(self) -> np.ndarray:
        """Rows of `reals` to test on."""
        return np.arange(self.learned, self.learned + self.tested)


def open_entrants(
    paths: list[Path],
    epochs: str | None,
    per_epoch: int,
    device: torch.device,
    data_root: Path | None = None,
    real: Sequence[str] = (),
) -> tuple[list[Entrant], list[dict]]:
    """Open the runs, draw the fakes of every chosen epoch, and put reals aside; problems are checkpoints left out. `real`
    says where the runs' real images stand now, if they moved.

    Raises UserError for runs that are still trained or differ in shape, epochs that do not exist, or too few reals.
    """
    if per_epoch < LEAST_PER_EPOCH:
        raise UserError("--per-epoch is out of range", got=per_epoch, expected=f"{LEAST_PER_EPOCH} or more")
    told = [str(path) for path in paths]
    places = [path.resolve() for path in paths]
    if twice := [one for one, place in zip(told, places, strict=True) if places.count(place) > 1]:
        raise UserError("a run is named twice", got=", ".join(twice))
    runs = [_open(path) for path in paths]
    names = unique_names(told, [Path(path).absolute().name for path in paths])
    shapes = {name: (run.preset.resolution, run.channels) for name, run in zip(names, runs, strict=True)}
    if len(set(shapes.values())) > 1:
        got = ", ".join(
            f"{name} {size}x{size} in {told_channels(channels)}" for name, (size, channels) in shapes.items()
        )
        raise UserError("the runs' images are not of one shape", got=got, remedy="Race them one at a time.")
    chosen = choose_epochs(epochs, [run.epochs_on_disk() for run in runs], names)
    reals = [reals_of(run, real, data_root) for run in runs]
    trained_on = {digest for one in reals for digest in np.array(one.sha256)[one.train_rows()]}
    entrants, problems = [], []
    for name, run, own, labels in zip(names, runs, reals, chosen, strict=True):
        entrants.append(_entrant(name, run, own, labels, per_epoch, trained_on))
        problems += _draw(entrants[-1], device)
    return entrants, problems


def told_channels(channels: int) -> str:
    """Channels in a word."""
    return {1: "grey", 3: "colour"}[channels]


def choose_epochs(text: str | None, on_disk: list[list[int]], names: Sequence[str] = ()) -> list[dict[str, int]]:
    """ "0,5,last" for each run, as {what was asked: epoch}; None is some epochs that all have, spread wide, and the last.

    Raises UserError for an epoch that a run has not; of several runs, by the run's name.
    """
    if text is None:
        shared = sorted(set(on_disk[0]).intersection(*on_disk))
        if not shared:
            raise UserError(
                "the runs have no epoch in common", remedy="Name some with --epochs, such as --epochs last."
            )
        # Evenly on a scale that is finer at the start, where most happens.
        places = np.linspace(0, np.sqrt(shared[-1]), DEFAULT_EPOCHS) ** 2
        near = sorted({min((abs(epoch - at), epoch) for epoch in shared)[1] for at in places})
        text = ",".join(map(str, near[:-1] if len(near) > 1 else near))
        text += f",{LAST}" if len(near) > 1 else ""
    words = [word.strip() for word in text.split(",") if word.strip()]
    found = []
    for place, own in enumerate(on_disk):
        labels: dict[str, int] = {}
        for word in words or [""]:
            try:
                epochs = parse_epochs(word, own)
            except UserError as error:
                if len(names) < 2:
                    raise
                raise UserError(f"{names[place]}: {error.what}", got=error.got, expected=error.expected) from None
            for epoch in epochs:
                label = word if word == LAST else str(epoch)
                if epoch not in labels.values():
                    labels[label] = epoch
        found.append(dict(sorted(labels.items(), key=lambda pair: pair[1])))
    return found


def _open(path: Path) -> Run:
    run = open_run(path, writes=False)
    if run.facts.get("status") == "running" and (path / ".lock").exists():
        try:
            with locked(path):
                pass
        except UserError:
            raise UserError(f"{path} is still being trained", remedy="Wait for it, or stop it.") from None
    if not run.epochs_on_disk():
        raise UserError(f"{path} has no checkpoint yet", remedy="Train it first, or copy it whole.")
    return run


def _entrant(
    name: str, run: Run, reals: Reals, labels: dict[str, int], per_epoch: int, trained_on: set[str]
) -> Entrant:
    random = np.random.default_rng(derive_seed(run.facts["seed"], "race", "reals"))
    learning = random.permutation(reals.train_rows())
    held_out = np.flatnonzero(reals.splits != "train")
    # Another run of the race may have trained on what this one held out.
    testing = random.permutation([row for row in held_out if reals.sha256[row] not in trained_on])
    asked = {"test on": round(per_epoch * _TEST_SHARE)}
    asked["learn from"] = per_epoch - asked["test on"]
    there = {"test on": len(testing), "learn from": len(learning)}
    least = {"test on": LEAST_TESTED, "learn from": LEAST_LEARNED}
    for what, count in asked.items():
        if there[what] < least[what]:
            where = {"test on": "held out by every run of the race", "learn from": "in the train split"}[what]
            got = f"{there[what]} {where}"
            raise UserError(f"{name} has too few reals to {what}", got=got, expected=f"{least[what]} or more")
        if there[what] < count:
            say(f"note: {name} has {there[what]:,} reals to {what}, not {count:,}: that many of either kind are used")
    tested, learned = (min(asked[what], there[what]) for what in asked)
    rows = np.concatenate([learning[:learned], testing[:tested]])
    images = np.ascontiguousarray(reals.images[rows])
    pool = Pool(f"race-reals-{digest_of(images)}", len(images))
    _keep(pool, images)
    return Entrant(name, run, labels, pool, learned, tested, source=reals)


def _draw(entrant: Entrant, device: torch.device) -> list[dict]:
    """Draw the fakes of each epoch, once; epochs whose checkpoint cannot be used are taken out, and named."""
    count = entrant.learned + entrant.tested
    seed = derive_seed(entrant.run.facts["seed"], "race", "fakes")
    problems = []
    with progress_bar(f"sampling {entrant.name}", len(entrant.epochs), "epochs") as bar:
        for label, epoch in list(entrant.epochs.items()):
            try:
                generator = load_generator(entrant.run.checkpoint(epoch), str(device))
            except UserError as error:
                path = f"{entrant.run.checkpoint(epoch)}.safetensors"
                problems.append({"path": path, "status": "unreadable", "error": str(error)})
                del entrant.epochs[label]
                continue
            weights = generator.facts["sha256"]
            key = key_of("race-fakes", checkpoint=weights, seed=seed, count=count, device=device_name(generator.device))
            entrant.fakes[epoch], entrant.weights[epoch] = Pool(key, count), weights
            if load_kept(key) is None:
                _keep(entrant.fakes[epoch], _sample(generator, seed, count))
            bar.advance()
    if not entrant.epochs:
        raise UserError(f"no checkpoint of {entrant.run.path} can be used: {problems[0]['error'].rstrip('.')}")
    return problems


def _sample(generator: Generator, seed: int, count: int) -> np.ndarray:
    ranges = [range(start, min(start + BLOCK, count)) for start in range(0, count, BLOCK)]
    workers = 1 if generator.device.type == "cuda" else os.cpu_count() or 1
    with ThreadPoolExecutor(workers) as pool:
        return np.concatenate(list(pool.map(lambda own: generator.batch(seed, own), ranges)))


def _keep(pool: Pool, images: np.ndarray) -> None:
    if load_kept(pool.key) is None:
        keep(pool.key, {"images": torch.from_numpy(images)}, {})


def described(entrant: Entrant) -> dict:
    """What a report says of a run."""
    facts = read_json(entrant.run.path / "run.json")
    return {
        "name": entrant.name,
        "path": str(entrant.run.path),
        "preset": entrant.run.preset.name,
        "source": facts["source"]["spec"],
        "trained_epochs": facts["epoch"],
        "epochs": entrant.epochs,
        "learned": entrant.learned,
        "tested": entrant.tested,
        "checkpoints": {str(epoch): digest[:12] for epoch, digest in entrant.weights.items()},
    }
