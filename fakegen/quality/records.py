"""Quality of checkpoints: distances of fakes to held-out reals, the best epoch, and detection of a collapse.

Every measurement states its conditions: the numbers of fakes and reals, the feature space and the reals. A distance
between finite sets is never 0, so `floor` gives the distance of the same number of training reals for comparison.
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
from fakecore.progress import progress_bar
from fakecore.runs.tensorcache import load_tensors, save_tensors
from fakegen.quality.distances import (
    DENSITY_NEIGHBOURS,
    density_coverage,
    diversity,
    frechet_distance,
    kernel_distance,
    precision_recall,
)
from fakegen.quality.features import FeatureSpace, open_features
from fakegen.quality.nearcopies import Neighbours, TrainingImages, copy_threshold, near_copies
from fakegen.runs.reals import Reals
from fakegen.runs.run import Run
from fakegen.sampling.sampling import Generator, load_generator

DEFAULT_COUNT = 1000  # fakes: enough for precise distances in some 200 dimensions; a CPU draws them in seconds
MIN_COUNT = DENSITY_NEIGHBOURS + 1
_MAX_REALS = 10_000  # held-out reals: a usual number for FID, and few enough to compute all pairs
_VERSION = 1  # raise it when the cached contents of a reference change
_BLOCK = 64  # images between two steps of the progress bar
_COPY_SAMPLE = 1000  # images whose nearest training real is searched


@dataclass(frozen=True)
class Reference:
    """The real images that fakes are compared with: features of held-out reals (val and test), and the training images."""

    space: FeatureSpace
    held_out: np.ndarray  # (n, dims) float32
    training: np.ndarray  # (m, dims) float32, of as many training reals as fakes: for the floor
    images: TrainingImages
    copies_below: float  # the threshold of fakegen.quality.nearcopies
    key: str  # changes with any of the above


@dataclass(frozen=True)
class Quality:
    """One epoch's measurements, a line of quality.jsonl.

    `frechet` and `kernel`: lower is better; `precision`, `recall`, `density` and `coverage`: higher is better.
    """

    epoch: int
    n_fake: int
    n_real: int  # held-out reals
    features: str
    dims: int
    comparable: str
    frechet: float
    frechet_se: float
    floor: float  # `frechet` of the same number of training reals
    kernel: float
    kernel_se: float
    precision: float
    recall: float
    density: float
    density_se: float
    coverage: float
    diversity: float  # mean distance between two fakes, relative to that between two reals
    near_copies: float  # fraction of fakes nearer to a training real than 99 % of held-out reals
    seconds: float
    checkpoint: str  # first 12 hex digits of the SHA-256 of the weights
    settings: str  # lines with equal settings are comparable

    def intervals(self) -> dict[str, tuple[float, float]]:
        """Return 95 % intervals: of the distances and the density from their standard errors, of the fractions by Wilson's
        formula, with the other set taken as given.
        """
        from scipy.stats import binomtest

        errors = {"frechet": self.frechet_se, "kernel": self.kernel_se, "density": self.density_se}
        found = {
            name: (getattr(self, name) - 1.96 * se, getattr(self, name) + 1.96 * se) for name, se in errors.items()
        }
        for name, n in (("precision", self.n_fake), ("recall", self.n_real), ("coverage", self.n_real)):
            interval = binomtest(round(getattr(self, name) * n), n).proportion_ci(method="wilson")
            found[name] = float(interval.low), float(interval.high)
        return found


@dataclass(frozen=True)
class Collapse:
    """Criteria of a collapse: consecutive measurements after epoch 0 with fakes that are far worse, or all alike."""

    factor: float = 2.5  # frechet divided by the best; StudioGAN's DCGAN on CIFAR-10 rose from 49.0 to 137.4, 2.8 times
    min_diversity: float = 0.05  # relative to the reals
    sustained: int = 2  # consecutive measurements: one may be an outlier
    slow_start: int = 5  # the same for fakes that were never diverse: many runs start with one blob

    def notice(self, rows: list[Quality]) -> str | None:
        """Describe the collapse at the last of `rows`, or return None. Rows have equal settings and ascend by epoch."""
        trained = [row for row in rows if row.epoch > 0]
        alike = [row.diversity < self.min_diversity for row in trained]
        in_a_row = alike[::-1].index(False) if not all(alike) else len(alike)
        if in_a_row >= (self.slow_start if all(alike) else self.sustained):
            return (
                f"collapse: at epoch {trained[-1].epoch} the fakes are nearly all the same (diversity "
                f"{trained[-1].diversity:.1%} of the reals', below {self.min_diversity:.0%} {in_a_row} times in a row)"
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
    """Return the reference for `count` fakes: features of the held-out reals in the space `features`, from the cache if
    they are there.

    Raises UserError for an unavailable space (see fakegen.quality.features) or too few held-out reals.
    """
    space = open_features(features, reals, device=device, weights=weights, classes_from=classes_from)
    held_out = _shuffled(np.flatnonzero(reals.splits != "train"), "held-out")[:_MAX_REALS]
    training = _shuffled(reals.train_rows(), "training")[:count]
    if len(held_out) < MIN_COUNT:
        raise UserError(
            "there are too few held-out real images to measure against",
            got=f"{len(held_out)} in val and test",
            expected=f"{MIN_COUNT} or more; some hundreds for reliable numbers",
            remedy="Use more images.",
        )
    images = TrainingImages(reals.images, reals.train_rows())
    content = hashlib.sha256(np.ascontiguousarray(reals.images[np.sort(held_out)]).data)
    content.update(repr((_VERSION, space.key, reals.fingerprint, reals.splits.tolist())).encode())
    key = f"reference-{content.hexdigest()[:24]}"
    if (cached := load_tensors(key)) is not None:
        threshold = cached[1]["copies_below"]
        held_features = cached[0]["features"].numpy()
    else:
        threshold = copy_threshold(images.neighbours(reals.images[held_out[:_COPY_SAMPLE]]))
        held_features = _features(space, reals.images, held_out, "held-out reals")
        save_tensors(key, {"features": torch.from_numpy(held_features)}, {"copies_below": threshold})
    if (cached := load_tensors(f"{key}-floor-{len(training)}")) is not None:
        training_features = cached[0]["features"].numpy()
    else:
        training_features = _features(space, reals.images, training, "training reals")
        save_tensors(f"{key}-floor-{len(training)}", {"features": torch.from_numpy(training_features)}, {})
    return Reference(space, held_features, training_features, images, threshold, key)


def measure(images: np.ndarray, reference: Reference, *, epoch: int = 0, checkpoint: str = "") -> Quality:
    """Measure fakes, uint8 (N, C, R, R), against a reference. Raises UserError below 6 fakes."""
    return measure_with_neighbours(images, reference, epoch=epoch, checkpoint=checkpoint)[0]


def measure_with_neighbours(
    images: np.ndarray, reference: Reference, *, epoch: int = 0, checkpoint: str = ""
) -> tuple[Quality, Neighbours]:
    """Like `measure`, and return also the nearest training reals of the first 1,000 fakes."""
    began = time.perf_counter()
    fakes = _features(reference.space, images, np.arange(len(images)), "fakes")
    reals = reference.held_out
    kernel, kernel_se = kernel_distance(reals, fakes, reference.space.kernel)
    frechet, frechet_se = frechet_distance(reals, fakes)
    precision, recall = precision_recall(reals, fakes)
    density, density_se, coverage = density_coverage(reals, fakes)
    nearest = reference.images.neighbours(images[:_COPY_SAMPLE])
    quality = Quality(
        epoch=epoch,
        n_fake=len(fakes),
        n_real=len(reals),
        features=reference.space.name,
        dims=reference.space.dims,
        comparable=reference.space.comparable,
        frechet=frechet,
        frechet_se=frechet_se,
        floor=frechet_distance(reals, reference.training[: len(fakes)])[0],
        kernel=kernel,
        kernel_se=kernel_se,
        precision=precision,
        recall=recall,
        density=density,
        density_se=density_se,
        coverage=coverage,
        diversity=diversity(reals, fakes),
        near_copies=len(near_copies(nearest, reference.copies_below)) / len(nearest.ratios),
        seconds=round(time.perf_counter() - began, 2),
        checkpoint=checkpoint,
        settings=settings_of(reference, len(fakes)),
    )
    return quality, nearest


def measure_checkpoint(
    run: Run, epoch: int, reference: Reference, *, count: int = DEFAULT_COUNT, device: str = "auto"
) -> tuple[Quality, np.ndarray, Neighbours]:
    """Measure one checkpoint of a run on its fixed latents; return (quality, fakes uint8 (count, C, R, R), neighbours)."""
    generator = load_generator(run.checkpoint(epoch), device)
    fakes = draw_fakes(generator, run.facts["seed"], count)
    checkpoint = generator.facts["sha256"][:12]
    quality, nearest = measure_with_neighbours(fakes, reference, epoch=epoch, checkpoint=checkpoint)
    return quality, fakes, nearest


def draw_fakes(generator: Generator, seed: int, count: int) -> np.ndarray:
    """Return `count` fakes, uint8 (count, C, R, R), from the latents with which every epoch of a run is measured."""
    return np.stack(list(generator.images(derive_seed(seed, "quality"), 0, count)))


def settings_of(reference: Reference, count: int) -> str:
    """Return the settings of a measurement, which are equal for lines of quality.jsonl that are comparable."""
    return f"{reference.key.rpartition('-')[2][:12]}-{count}"


def record(run: Run, quality: Quality) -> None:
    """Append a line to RUN/quality.jsonl, and write the best epoch so far with the same settings to run.json."""
    append_jsonl(run.path / "quality.jsonl", [asdict(quality)])
    best = best_of(read_quality(run, quality.settings))
    named = ("epoch", "frechet", "kernel", "kernel_se", "features", "n_fake", "n_real", "floor", "comparable")
    run.save(best={name: getattr(best, name) for name in named})


def read_quality(run: Run, settings: str | None = None) -> list[Quality]:
    """Read the lines of quality.jsonl with these `settings` (default: those of the last line), ascending by epoch.

    If an epoch was measured twice, as after a resume, return only the later line.
    """
    known = [field.name for field in fields(Quality)]
    rows = [line for line in read_jsonl(run.path / "quality.jsonl") if line.keys() >= set(known)]
    if not rows:
        return []
    settings = settings if settings is not None else rows[-1]["settings"]
    latest = {line["epoch"]: line for line in rows if line["settings"] == settings}
    return [Quality(**{name: latest[epoch][name] for name in known}) for epoch in sorted(latest)]


def best_of(rows: list[Quality]) -> Quality:
    """Return the row with the lowest Frechet distance; the earliest of equal ones."""
    return min(rows, key=lambda row: (row.frechet, row.epoch))


def remarks(row: Quality) -> list[str]:
    """Return sentences to report with `row`: what its distances are comparable with, and whether n is too small."""
    lines = [row.comparable]
    few = min(row.n_fake, row.n_real)
    if few < 2 * row.dims:
        lines.append(
            f"Only {few:,} images for {row.dims:,} dimensions: the Frechet distance is overestimated. "
            f"The same number of training reals has {row.floor:.4g}; the kernel distance is not affected."
        )
    return lines


def _shuffled(rows: np.ndarray, what: str) -> np.ndarray:
    """Return the rows in a random order that is always the same."""
    return np.random.default_rng(derive_seed(0, "reference", what)).permutation(rows)


def _features(space: FeatureSpace, images: np.ndarray, rows: np.ndarray, what: str) -> np.ndarray:
    features = np.empty((len(rows), space.dims), dtype=np.float32)
    with progress_bar(f"features of {what} ({space.name})", len(rows), "images") as bar:
        for start in range(0, len(rows), _BLOCK):
            block = rows[start : start + _BLOCK]
            features[start : start + _BLOCK] = space(images[block])
            bar.advance(len(block))
    return features
