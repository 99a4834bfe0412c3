"""Is it getting better? How far a checkpoint's fakes are from held-out reals, which epoch was best, and has it collapsed?

Every number stands beside what it depends on: how many fakes and reals, in which feature space, from which reals.
A distance between finite sets is never 0, so `floor` says what as many training reals, in the fakes' place, would get.
"""

from __future__ import annotations

import hashlib
import time
from dataclasses import asdict, dataclass, fields
from pathlib import Path

import numpy as np
import torch

from fakecore.device import derive_seed
from fakecore.errors import UserError
from fakecore.files import append_jsonl, read_jsonl
from fakecore.progress import say
from fakecore.runs.tensorcache import keep, load_kept
from fakegen.quality.distances import NEIGHBOURS, diversity, frechet_distance, kernel_distance, precision_recall
from fakegen.quality.features import FeatureSpace, open_features
from fakegen.quality.nearcopies import Neighbours, TrainingImages, copy_threshold, near_copies
from fakegen.runs.reals import Reals
from fakegen.runs.run import Run
from fakegen.sampling.sampling import Generator, load_generator

DEFAULT_COUNT = 1000  # fakes: enough for precise distances in spaces of some 200 dimensions, seconds to draw on a CPU
LEAST_COUNT = NEIGHBOURS + 1
_MOST_REALS = 10_000  # held-out reals: what many FIDs are published with, and all pairs of them still fit
_VERSION = 1  # raise it when what is kept of a reference changes
_COPY_SAMPLE = 1000  # images of which the nearest training real is looked for


@dataclass(frozen=True)
class Reference:
    """What fakes are measured against: features of held-out reals (val and test), and the training images."""

    space: FeatureSpace
    held_out: np.ndarray  # (n, dims) float32
    training: np.ndarray  # (m, dims) float32, of as many training reals as there will be fakes: the floor
    images: TrainingImages
    copies_below: float  # the threshold of fakegen.quality.nearcopies
    key: str  # changes whenever any of it does


@dataclass(frozen=True)
class Quality:
    """One epoch's numbers, a line of quality.jsonl. `frechet`, `kernel`: lower is better; `precision`, `recall`: higher."""

    epoch: int
    n_fake: int
    n_real: int  # held-out reals
    features: str
    dims: int
    comparable: str
    frechet: float
    floor: float  # `frechet` of as many training reals
    kernel: float
    kernel_se: float
    precision: float
    recall: float
    diversity: float  # of the reals' mean distance between two images
    near_copies: float  # share of fakes nearer to a training real than 99 % of held-out reals are
    seconds: float
    checkpoint: str  # start of the SHA-256 of the weights
    settings: str  # lines with the same can be compared


@dataclass(frozen=True)
class Collapse:
    """When is a run past saving? Measurements in a row, beyond epoch 0, at which its fakes are far worse or all alike."""

    factor: float = 2.5  # frechet over the best; StudioGAN's DCGAN on CIFAR-10 rose from 49.0 to 137.4, 2.8 times
    least_diversity: float = 0.05  # of the reals'
    sustained: int = 2  # measurements in a row: one may be an accident
    slow_start: int = 5  # the same for fakes that were never diverse yet: many a run begins with one blob

    def notice(self, rows: list[Quality]) -> str | None:
        """What is wrong with the latest of `rows`, ascending by epoch and of the same settings; None while nothing is."""
        trained = [row for row in rows if row.epoch > 0]
        alike = [row.diversity < self.least_diversity for row in trained]
        in_a_row = alike[::-1].index(False) if not all(alike) else len(alike)
        if in_a_row >= (self.slow_start if all(alike) else self.sustained):
            return (
                f"collapse: at epoch {trained[-1].epoch} the fakes are nearly all the same (diversity "
                f"{trained[-1].diversity:.1%} of the reals', below {self.least_diversity:.0%} {in_a_row} times in a row)"
            )
        recent = trained[-self.sustained :]
        if len(recent) < self.sustained:
            return None
        best, last = best_of(rows), recent[-1]
        if all(row.epoch > best.epoch and row.frechet > self.factor * best.frechet for row in recent):
            return (
                f"collapse: at epoch {last.epoch} the Frechet distance is {last.frechet:.4g}, "
                f"{last.frechet / max(best.frechet, 1e-12):.1f} times the {best.frechet:.4g} of epoch {best.epoch} "
                f"(above {self.factor:g} times in {self.sustained} measurements in a row)"
            )
        return None


def open_reference(
    reals: Reals,
    features: str = "auto",
    *,
    count: int = DEFAULT_COUNT,
    weights: Path | str | None = None,
    classes_from: Reals | None = None,
    device: str = "auto",
) -> Reference:
    """Features of the held-out reals in the space called `features`, computed once and kept in the cache.

    `count` is how many fakes will be measured: the floor is that of as many training reals. Raises UserError when the
    space cannot be had (see fakegen.quality.features), or too few reals are held out.
    """
    space = open_features(features, reals, device=device, weights=weights, classes_from=classes_from)
    held_out = _drawn(np.flatnonzero(reals.splits != "train"), "held-out")[:_MOST_REALS]
    training = _drawn(reals.train_rows(), "training")[:count]
    if len(held_out) < LEAST_COUNT:
        raise UserError(
            "there are too few held-out real images to measure against",
            got=f"{len(held_out)} in val and test",
            expected=f"{LEAST_COUNT} or more; some hundreds for reliable numbers",
            remedy="Use more images.",
        )
    images = TrainingImages(reals.images, reals.train_rows())
    content = hashlib.sha256(np.ascontiguousarray(reals.images[np.sort(held_out)]).data)
    content.update(repr((_VERSION, space.key, reals.fingerprint, reals.splits.tolist())).encode())
    key = f"reference-{content.hexdigest()[:24]}"
    if (kept := load_kept(key)) is not None:
        threshold = kept[1]["copies_below"]
        held_features = kept[0]["features"].numpy()
    else:
        threshold = copy_threshold(images.neighbours(reals.images[held_out[:_COPY_SAMPLE]]))
        held_features = _features(space, reals, held_out, "held-out")
        keep(key, {"features": torch.from_numpy(held_features)}, {"copies_below": threshold})
    if (kept := load_kept(f"{key}-floor-{len(training)}")) is not None:
        training_features = kept[0]["features"].numpy()
    else:
        training_features = _features(space, reals, training, "training")
        keep(f"{key}-floor-{len(training)}", {"features": torch.from_numpy(training_features)}, {})
    return Reference(space, held_features, training_features, images, threshold, key)


def measure(images: np.ndarray, reference: Reference, *, epoch: int = 0, checkpoint: str = "") -> Quality:
    """The quality of fakes, uint8 (N, C, R, R), against a reference. Raises UserError below 4 fakes."""
    return measure_with_neighbours(images, reference, epoch=epoch, checkpoint=checkpoint)[0]


def measure_with_neighbours(
    images: np.ndarray, reference: Reference, *, epoch: int = 0, checkpoint: str = ""
) -> tuple[Quality, Neighbours]:
    """As `measure`, and the nearest training real of each of the first 1,000 fakes, for a picture of both."""
    began = time.perf_counter()
    fakes = reference.space(images)
    reals = reference.held_out
    kernel, kernel_se = kernel_distance(reals, fakes)
    precision, recall = precision_recall(reals, fakes)
    nearest = reference.images.neighbours(images[:_COPY_SAMPLE])
    quality = Quality(
        epoch=epoch,
        n_fake=len(fakes),
        n_real=len(reals),
        features=reference.space.name,
        dims=reference.space.dims,
        comparable=reference.space.comparable,
        frechet=frechet_distance(reals, fakes),
        floor=frechet_distance(reals, reference.training[: len(fakes)]),
        kernel=kernel,
        kernel_se=kernel_se,
        precision=precision,
        recall=recall,
        diversity=diversity(reals, fakes),
        near_copies=len(near_copies(nearest, reference.copies_below)) / len(nearest.shares),
        seconds=round(time.perf_counter() - began, 2),
        checkpoint=checkpoint,
        settings=settings_of(reference, len(fakes)),
    )
    return quality, nearest


def measure_checkpoint(
    run: Run, epoch: int, reference: Reference, *, count: int = DEFAULT_COUNT, device: str = "auto"
) -> tuple[Quality, np.ndarray, Neighbours]:
    """(quality, fakes uint8 (count, C, R, R), their neighbours) of one checkpoint of a run, from its fixed latents."""
    generator = load_generator(run.checkpoint(epoch), device)
    fakes = draw_fakes(generator, run.facts["seed"], count)
    checkpoint = generator.facts["sha256"][:12]
    quality, nearest = measure_with_neighbours(fakes, reference, epoch=epoch, checkpoint=checkpoint)
    return quality, fakes, nearest


def draw_fakes(generator: Generator, seed: int, count: int) -> np.ndarray:
    """`count` fakes, uint8 (count, C, R, R), from the latents that every epoch of a run with this seed is measured on."""
    return np.stack(list(generator.images(derive_seed(seed, "quality"), 0, count)))


def settings_of(reference: Reference, count: int) -> str:
    """What makes two lines of quality.jsonl comparable: the same reference and as many fakes."""
    return f"{reference.key.rpartition('-')[2][:12]}-{count}"


def record(run: Run, quality: Quality) -> None:
    """Append a line to RUN/quality.jsonl, and name the best epoch so far, of the same settings, in run.json."""
    append_jsonl(run.path / "quality.jsonl", [asdict(quality)])
    best = best_of(read_quality(run, quality.settings))
    named = ("epoch", "frechet", "kernel", "kernel_se", "features", "n_fake", "n_real", "floor", "comparable")
    run.save(best={name: getattr(best, name) for name in named})


def read_quality(run: Run, settings: str | None = None) -> list[Quality]:
    """The lines of quality.jsonl of one kind of `settings` (default: the latest line's), ascending by epoch.

    Of an epoch that was measured twice, as after a resume, the later line counts.
    """
    known = [field.name for field in fields(Quality)]
    rows = [line for line in read_jsonl(run.path / "quality.jsonl") if line.keys() >= set(known)]
    if not rows:
        return []
    settings = settings if settings is not None else rows[-1]["settings"]
    latest = {line["epoch"]: line for line in rows if line["settings"] == settings}
    return [Quality(**{name: latest[epoch][name] for name in known}) for epoch in sorted(latest)]


def best_of(rows: list[Quality]) -> Quality:
    """The row with the lowest Frechet distance; of equals the earliest."""
    return min(rows, key=lambda row: (row.frechet, row.epoch))


def remarks(row: Quality) -> list[str]:
    """What must be said beside the numbers of `row`: with what they can be compared, and whether n is too small."""
    said = [row.comparable]
    few = min(row.n_fake, row.n_real)
    if few < 2 * row.dims:
        said.append(
            f"Only {few:,} images for {row.dims:,} dimensions: the Frechet distance is overestimated. "
            f"The same number of training reals has {row.floor:.4g}; the kernel distance is not affected."
        )
    return said


def _drawn(rows: np.ndarray, what: str) -> np.ndarray:
    """The rows in an order that is random and always the same."""
    return np.random.default_rng(derive_seed(0, "reference", what)).permutation(rows)


def _features(space: FeatureSpace, reals: Reals, rows: np.ndarray, what: str) -> np.ndarray:
    say(f"computing features ({space.name}) of {len(rows):,} {what} reals ...")
    return space(reals.images[rows])
