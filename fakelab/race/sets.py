"""The images of a race: fakes from the same latents at every epoch, and reals, with test reals that no GAN was trained on.

Of `per_epoch` fakes of an epoch, 70 % are for training (a seventh of them for validation) and 30 % for testing. There are as
many reals: training reals are from the run's train split, test reals from its val and test splits. If a run has fewer reals,
fewer fakes are used too, and a note says so. Every seed splits the fakes and the training reals differently.
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch

from fakecore.cpus import usable_cpus
from fakecore.device import derive_seed, device_name
from fakecore.errors import UserError
from fakecore.files import read_json
from fakecore.progress import progress_bar, say
from fakecore.runs.runfolder import locked
from fakecore.runs.tensorcache import load_tensors, save_tensors
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
LEAST_TESTED, LEAST_LEARNED = 10, 20  # minimum number of images of each class
_TEST_FRACTION, _VAL_FRACTION = 0.3, 1 / 7


@dataclass(frozen=True)
class Pool:
    """Images of one origin, uint8 (N, C, R, R), in the tensor cache; processes exchange its `key` instead of pixels."""

    key: str
    count: int

    def images(self) -> np.ndarray:
        """Return all images. Raises UserError if they were removed from the cache."""
        if (entry := load_tensors(self.key)) is None:
            raise UserError(
                "images of the race are no longer in the cache", remedy="Repeat the command: they are computed again."
            )
        return entry[0]["images"].numpy()

    def degraded(self, name: str, rows: np.ndarray | None = None) -> np.ndarray:
        """Return the images, or those of `rows`, after the degradation `name`."""
        images = self.images()
        rows = np.arange(len(images)) if rows is None else rows
        if name == NONE:
            return images[rows]
        degradation = parse_degradation(name)
        return np.stack([degradation.apply(images[row], f"{self.key}:{row}") for row in rows])


@dataclass
class RaceRun:
    """A run of the race. `epochs` maps the epoch as given ("0", "last") to its number; `fakes` has a pool for each."""

    name: str
    run: Run
    epochs: dict[str, int]
    reals: Pool  # first the n_train reals for training and validation, then the n_test reals for testing
    n_train: int  # for training and validation, of each class
    n_test: int
    fakes: dict[int, Pool] = field(default_factory=dict)
    weights: dict[int, str] = field(default_factory=dict)  # SHA-256 of each checkpoint
    source: Reals | None = None  # for distances, until they are measured

    @property
    def shape(self) -> tuple[int, int]:
        """Return (resolution, channels)."""
        return self.run.preset.resolution, self.run.channels

    def split_reals(self, seed: int) -> tuple[np.ndarray, np.ndarray]:
        """Return the rows of `reals` for training and for validation under this seed."""
        order = np.random.default_rng(derive_seed(seed, "deal", "real")).permutation(self.n_train)
        train, val = np.split(order, [self.n_train - self._val()])
        return train, val

    def split_fakes(self, seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return the rows of every epoch's fakes for training, validation and testing under this seed."""
        order = np.random.default_rng(derive_seed(seed, "deal", "fake")).permutation(self.n_train + self.n_test)
        train, val, test = np.split(order, [self.n_train - self._val(), self.n_train])
        return train, val, test

    def _val(self) -> int:
        return max(2, round(self.n_train * _VAL_FRACTION))

    @property
    def test_reals(self) -> np.ndarray:
        """Return the rows of `reals` for testing; the same for every seed."""
        return np.arange(self.n_train, self.n_train + self.n_test)


def open_race_runs(
    paths: list[Path],
    epochs: str | None,
    per_epoch: int,
    device: torch.device,
    data_root: Path | None = None,
    real: Sequence[str] = (),
) -> tuple[list[RaceRun], list[dict]]:
    """Open the runs, sample the fakes of every chosen epoch and choose the reals; return the runs and the checkpoints left out.

    `real` is where the runs' real images are now, if they moved. Raises UserError for runs that are being trained or differ
    in image shape, for epochs without a checkpoint, or for too few reals.
    """
    if per_epoch < LEAST_PER_EPOCH:
        raise UserError("--per-epoch is out of range", got=per_epoch, expected=f"{LEAST_PER_EPOCH} or more")
    typed = [str(path) for path in paths]
    places = [path.resolve() for path in paths]
    if twice := [one for one, place in zip(typed, places, strict=True) if places.count(place) > 1]:
        raise UserError("a run is named twice", got=", ".join(twice))
    runs = [_open(path) for path in paths]
    names = unique_names(typed, [Path(path).absolute().name for path in paths])
    shapes = {name: (run.preset.resolution, run.channels) for name, run in zip(names, runs, strict=True)}
    if len(set(shapes.values())) > 1:
        got = ", ".join(
            f"{name} {size}x{size} in {describe_channels(channels)}" for name, (size, channels) in shapes.items()
        )
        raise UserError(
            "the runs have images of different shapes",
            got=got,
            expected="one resolution and number of channels",
            remedy="Run one race for each.",
        )
    chosen = choose_epochs(epochs, [run.epochs_on_disk() for run in runs], names)
    reals = [reals_of(run, real, data_root) for run in runs]
    trained_on = {digest for one in reals for digest in np.array(one.sha256)[one.train_rows()]}
    race_runs, problems = [], []
    for name, run, own, labels in zip(names, runs, reals, chosen, strict=True):
        race_runs.append(_race_run(name, run, own, labels, per_epoch, trained_on))
        problems += _sample_fakes(race_runs[-1], device)
    return race_runs, problems


def describe_channels(channels: int) -> str:
    """Return a number of channels as a word."""
    return {1: "grey", 3: "colour"}[channels]


def choose_epochs(text: str | None, on_disk: list[list[int]], names: Sequence[str] = ()) -> list[dict[str, int]]:
    """Return for each run {epoch as given: epoch} of a list such as "0,5,last"; None: DEFAULT_EPOCHS that all runs have.

    Raises UserError for an epoch without a checkpoint, and names the run if there are several.
    """
    if text is None:
        shared = sorted(set(on_disk[0]).intersection(*on_disk))
        if not shared:
            raise UserError(
                "the runs have no epoch in common", remedy="Name some with --epochs, such as --epochs last."
            )
        # Evenly spaced on a square-root scale: fakes change most in the first epochs.
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
            raise UserError(f"{path} is still being trained", remedy="Wait until it ends, or stop it.") from None
    if not run.epochs_on_disk():
        raise UserError(f"{path} has no checkpoint", remedy="Train it first, or copy its checkpoints too.")
    return run


def _race_run(
    name: str, run: Run, reals: Reals, labels: dict[str, int], per_epoch: int, trained_on: set[str]
) -> RaceRun:
    random = np.random.default_rng(derive_seed(run.facts["seed"], "race", "reals"))
    training = random.permutation(reals.train_rows())
    held_out = np.flatnonzero(reals.splits != "train")
    # Another run of the race may have trained on reals that this one held out.
    testing = random.permutation([row for row in held_out if reals.sha256[row] not in trained_on])
    asked = {"test on": round(per_epoch * _TEST_FRACTION)}
    asked["train on"] = per_epoch - asked["test on"]
    there = {"test on": len(testing), "train on": len(training)}
    least = {"test on": LEAST_TESTED, "train on": LEAST_LEARNED}
    for what, count in asked.items():
        if there[what] < least[what]:
            where = {"test on": "held out by every run of the race", "train on": "in the train split"}[what]
            got = f"{there[what]} {where}"
            raise UserError(f"{name} has too few reals to {what}", got=got, expected=f"{least[what]} or more")
        if there[what] < count:
            say(f"note: {name} has {there[what]:,} reals to {what}, not {count:,}: fewer fakes are used too")
    n_test, n_train = (min(asked[what], there[what]) for what in asked)
    rows = np.concatenate([training[:n_train], testing[:n_test]])
    images = np.ascontiguousarray(reals.images[rows])
    pool = Pool(f"race-reals-{digest_of(images)}", len(images))
    _cache(pool, images)
    return RaceRun(name, run, labels, pool, n_train, n_test, source=reals)


def _sample_fakes(race_run: RaceRun, device: torch.device) -> list[dict]:
    """Sample the fakes of each epoch if they are not cached; remove epochs without a usable checkpoint and return them."""
    count = race_run.n_train + race_run.n_test
    seed = derive_seed(race_run.run.facts["seed"], "race", "fakes")
    problems = []
    with progress_bar(f"sampling {race_run.name}", len(race_run.epochs), "epochs") as bar:
        for label, epoch in list(race_run.epochs.items()):
            try:
                generator = load_generator(race_run.run.checkpoint(epoch), str(device))
            except UserError as error:
                path = f"{race_run.run.checkpoint(epoch)}.safetensors"
                problems.append({"path": path, "status": "unreadable", "error": str(error)})
                del race_run.epochs[label]
                continue
            weights = generator.facts["sha256"]
            key = key_of("race-fakes", checkpoint=weights, seed=seed, count=count, device=device_name(generator.device))
            race_run.fakes[epoch], race_run.weights[epoch] = Pool(key, count), weights
            if load_tensors(key) is None:
                _cache(race_run.fakes[epoch], _sample(generator, seed, count))
            bar.advance()
    if not race_run.epochs:
        raise UserError(f"no checkpoint of {race_run.run.path} can be used: {problems[0]['error'].rstrip('.')}")
    return problems


def _sample(generator: Generator, seed: int, count: int) -> np.ndarray:
    ranges = [range(start, min(start + BLOCK, count)) for start in range(0, count, BLOCK)]
    workers = 1 if generator.device.type == "cuda" else usable_cpus()
    with ThreadPoolExecutor(workers) as pool:
        return np.concatenate(list(pool.map(lambda own: generator.batch(seed, own), ranges)))


def _cache(pool: Pool, images: np.ndarray) -> None:
    if load_tensors(pool.key) is None:
        save_tensors(pool.key, {"images": torch.from_numpy(images)}, {})


def describe_run(race_run: RaceRun) -> dict:
    """Return the facts of a run for race.json and the report."""
    facts = read_json(race_run.run.path / "run.json")
    return {
        "name": race_run.name,
        "path": str(race_run.run.path),
        "preset": race_run.run.preset.name,
        "source": facts["source"]["spec"],
        "trained_epochs": facts["epoch"],
        "epochs": race_run.epochs,
        "learned": race_run.n_train,
        "tested": race_run.n_test,
        "checkpoints": {str(epoch): digest[:12] for epoch, digest in race_run.weights.items()},
    }
