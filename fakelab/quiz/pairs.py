"""The pairs of a quiz: a held-out real image and a fake, of one class where classes are known."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from fakecore.device import check_seed, derive_seed
from fakecore.errors import UserError
from fakecore.labels import Label, Split
from fakecore.media.pixels import ImageError, decode_image, fit_square
from fakecore.messages import command
from fakecore.sets.imageset import ImageRecord, ImageSet, is_imageset, read_imageset
from fakedetect.data.loading import place_name
from fakegen.quality.records import best_of, read_quality
from fakegen.runs.run import Run, open_run
from fakegen.sampling.requests import choose_epoch, load_epoch, note_unfinished
from fakegen.sampling.sampling import Generator

HELD_OUT: tuple[Split, ...] = ("test", "val")  # the test split first: detectors of this set were tuned on val


@dataclass(frozen=True)
class Pairs:
    """Pair i is `reals[i]` and `fakes[i]`, uint8 (N, C, R, R); the real is on the left where `real_is_left`, bool (N,).

    `known_as` has the SHA-256s under which a detector may list each image: N of reals, then N of fakes.
    """

    reals: np.ndarray
    fakes: np.ndarray
    real_is_left: np.ndarray
    known_as: list[list[str]]
    real_splits: dict[str, int]  # how many reals are of which split
    fakes_from: str  # in words
    epoch: int | None  # of a run
    same_class: bool

    def __len__(self) -> int:
        return len(self.reals)

    @property
    def images(self) -> np.ndarray:
        """The reals, then the fakes."""
        return np.concatenate([self.reals, self.fakes])


def draw_pairs(place: Path, count: int, seed: int = 0, *, epoch: int | None = None, device: str = "auto") -> Pairs:
    """Draw pairs of a run (fakes of `epoch`, by default the best measured, else the last) or of a set with reals and fakes.

    Reals are of the splits test and val, of test as far as they suffice. Raises UserError if there are too few.
    """
    check_seed(seed)
    if (place / "run.json").is_file():
        return _of_run(place, count, seed, epoch, device)
    if epoch is not None:
        what = f"{place} is not a run, so it has no epochs"
        raise UserError(what, got=f"--epoch {epoch}", remedy="Leave --epoch out, or give a run.")
    return _of_set(read_imageset(place), count, seed)


def held_out(images: ImageSet, label: Label, random: np.random.Generator) -> list[ImageRecord]:
    """Return the held-out images of a label in a random order, those of the test split first."""
    found = []
    for split in HELD_OUT:
        own = [record for record in images.records if (record.label, record.split) == (label, split)]
        found += [own[place] for place in random.permutation(len(own))]
    return found


def _of_run(path: Path, count: int, seed: int, epoch: int | None, device: str) -> Pairs:
    run = open_run(path, writes=False)
    epoch = choose_epoch(run, _best_epoch(run) if epoch is None else epoch)
    if not is_imageset(path / "set"):
        remedy = f"Finish it: {command('generate', '--resume', '--out', path)}"
        raise UserError(f"the run {path} has no finished set yet", remedy=remedy)
    images = read_imageset(path / "set")
    random = np.random.default_rng(derive_seed(seed, "quiz"))
    reals = held_out(images, "real", random)
    if run.classes:
        reals = [record for record in reals if record.class_ in run.classes]
    _require(reals, count, images.root)
    chosen = [reals[place] for place in random.permutation(count)]
    generator = load_epoch(run, epoch, device)
    note_unfinished(run, [epoch])
    fakes = _draw_fakes(generator, seed, [record.class_ for record in chosen] if run.classes else [None] * count)
    pixels, known_as = _read(images, chosen, generator.resolution, generator.channels)
    known_as += [[] for _ in range(count)]  # new fakes: no detector can have seen them
    source = f"epoch {epoch} of {path.absolute().name}"
    return _paired(random, pixels, fakes, known_as, chosen, source, epoch, same_class=bool(run.classes))


def _of_set(images: ImageSet, count: int, seed: int) -> Pairs:
    random = np.random.default_rng(derive_seed(seed, "quiz"))
    reals, fakes = held_out(images, "real", random), held_out(images, "fake", random)
    same_class = all(record.class_ is not None for record in (*reals, *fakes))
    matched = _match(reals, fakes, same_class)
    _require(matched, count, images.root, "pairs of held-out images, of one class" if same_class else None)
    chosen = [matched[place] for place in random.permutation(count)]
    resolution, channels = images.info["resolution"], images.info["channels"]
    both = [_read(images, records, resolution, channels) for records in zip(*chosen, strict=True)]
    (real_pixels, known_reals), (fake_pixels, known_fakes) = both
    known_as, of = [*known_reals, *known_fakes], [real for real, _ in chosen]
    source = f"the set {place_name(images.root)}"
    return _paired(random, real_pixels, fake_pixels, known_as, of, source, None, same_class=same_class)


def _match(
    reals: list[ImageRecord], fakes: list[ImageRecord], same_class: bool
) -> list[tuple[ImageRecord, ImageRecord]]:
    """Pair each real with the next fake that is left, of its class if wanted; reals without a fake are left out."""
    left: dict[str | None, list[ImageRecord]] = {}
    for fake in reversed(fakes):
        left.setdefault(fake.class_ if same_class else None, []).append(fake)
    keys = [record.class_ if same_class else None for record in reals]
    return [(real, left[key].pop()) for real, key in zip(reals, keys, strict=True) if left.get(key)]


def _require(found: list, count: int, root: Path, what: str | None = None) -> None:
    if len(found) < count:
        raise UserError(
            f"{root} has too few {what or 'held-out real images'} for this quiz",
            got=f"{len(found)} in val and test",
            expected=f"{count}, one a pair",
            remedy="Use fewer --pairs, or a set with more images.",
        )


def _best_epoch(run: Run) -> int | None:
    rows = [row for row in read_quality(run) if row.epoch in run.epochs_on_disk()]
    return best_of(rows).epoch if rows else None


def _draw_fakes(generator: Generator, seed: int, classes: list[str | None]) -> np.ndarray:
    """Return a fake of each of `classes`, uint8 (N, C, R, R), from latents that no set of the run has."""
    fakes = np.empty((len(classes), generator.channels, generator.resolution, generator.resolution), np.uint8)
    for name in dict.fromkeys(classes):
        rows = [row for row, own in enumerate(classes) if own == name]
        # A class has latents of its own: fakes of two classes from one latent are alike.
        fakes[rows] = generator.batch(derive_seed(seed, "quiz", name or ""), range(len(rows)), name)
    return fakes


def _read(
    images: ImageSet, records: Iterable[ImageRecord], resolution: int, channels: int
) -> tuple[np.ndarray, list[list[str]]]:
    """Return the pixels, uint8 (N, C, R, R), and of each image the SHA-256 of its file and of its source, if known."""
    pixels, known_as = [], []
    for record in records:
        try:
            data = images.read(record)
            pixels.append(fit_square(decode_image(data), resolution, channels))
        except ImageError as error:
            raise UserError(f"{images.root / record.file_name} cannot be read", got=str(error)) from None
        known_as.append([hashlib.sha256(data).hexdigest(), *filter(None, [record.source_sha256])])
    return np.stack(pixels), known_as


def _paired(
    random: np.random.Generator,
    reals: np.ndarray,
    fakes: np.ndarray,
    known_as: list[list[str]],
    of: list[ImageRecord],
    fakes_from: str,
    epoch: int | None,
    *,
    same_class: bool,
) -> Pairs:
    left = random.random(len(reals)) < 0.5
    splits = [record.split for record in of]
    counts: dict[str, int] = {split: splits.count(split) for split in HELD_OUT if split in splits}
    return Pairs(reals, fakes, left, known_as, counts, fakes_from, epoch, same_class)
