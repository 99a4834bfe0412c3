"""Labelled images for a detector: from a set that fakelab wrote, or from a folder of reals and one of fakes."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from fakecore.device import derive_seed
from fakecore.duplicates import same_picture_groups
from fakecore.errors import UserError
from fakecore.folders import Source
from fakecore.imageset import ImageSet, is_imageset, read_imageset
from fakecore.labels import FAKE, LABEL_NAMES, LABEL_NUMBERS, REAL, SPLITS
from fakecore.pixelcache import cached_pixels, source_channels
from fakecore.pixels import ImageError, decode_image
from fakecore.sources import open_source
from fakecore.splits import DEFAULT_SPLIT, split_groups

_LARGEST_DEFAULT = 128  # pixels: what two plain folders are brought to unless --set resolution says otherwise


@dataclass(frozen=True)
class LabelledImages:
    """`images` uint8 (N, C, R, R), `labels` (N,) real 0 / fake 1, `splits` (N,); the lists run parallel."""

    images: np.ndarray
    labels: np.ndarray
    splits: np.ndarray
    paths: list[str]
    groups: list[str | None]
    unused: list[dict]
    origin: dict  # what the images are, for detector.json and reports
    sha256: list[str]  # of the files' bytes

    @property
    def fingerprint(self) -> str:
        """Changes when any image does."""
        return hashlib.sha256("".join(self.sha256).encode()).hexdigest()

    @property
    def channels(self) -> int:
        return self.images.shape[1]

    @property
    def resolution(self) -> int:
        return self.images.shape[2]

    def rows(self, split: str, label: int | None = None) -> np.ndarray:
        """Row numbers of a split, of one label or of both."""
        chosen = self.splits == split
        return np.flatnonzero(chosen if label is None else chosen & (self.labels == label))

    def counts(self) -> dict[str, dict[str, int]]:
        return {s: {name: len(self.rows(s, number)) for name, number in LABEL_NUMBERS.items()} for s in SPLITS}


def load_labelled(
    place: Path | None,
    *,
    real: str | None = None,
    fake: str | None = None,
    resolution: int | None = None,
    channels: int | None = None,
    seed: int = 0,
    data_root: Path | None = None,
) -> LabelledImages:
    """Load a set or a run (`place`), or a source of reals and one of fakes (`real`, `fake`), decoded once.

    `resolution` and `channels` default to the set's own. Raises UserError when nothing usable is there.
    """
    if (place is None) == (real is None and fake is None):
        raise UserError("give a set, or --real and --fake", got="both or neither")
    if place is not None:
        return _from_set(_find_set(place), resolution, channels)
    if real is None or fake is None:
        raise UserError("--real and --fake belong together", got="only one of them")
    reals, fakes = open_source(real, data_root), open_source(fake, data_root, label="fake")
    return _from_sources(reals, fakes, resolution, channels, seed)


def known_images(hashes: list[str]) -> np.ndarray:
    """Short names of images by content, uint64 sorted, for telling later whether a detector has met an image."""
    return np.unique(np.array([int(digest[:16], 16) for digest in hashes], dtype=np.uint64))


def require_both_classes(data: LabelledImages, splits: tuple[str, ...]) -> None:
    """Raise UserError unless each of `splits` holds reals and fakes: no detector can be fitted or judged on one class."""
    for split in splits:
        for number, name in LABEL_NAMES.items():
            if not len(data.rows(split, number)):
                raise UserError(
                    f"there are no {name} images in the {split} split",
                    got=", ".join(f"{s} {c['real']} real + {c['fake']} fake" for s, c in data.counts().items()),
                    expected="both in each split",
                    remedy="A set of fakes alone goes with reals as --real SOURCE --fake SET.",
                )


def _find_set(place: Path) -> Path:
    if (place / "run.json").is_file() and not (place / "set" / "imageset.json").is_file():
        raise UserError(
            f"the run {place} has no finished set yet", remedy=f"Finish it: fakelab generate --resume --out {place}"
        )
    return place / "set" if is_imageset(place / "set") else place


def _from_set(root: Path, resolution: int | None, channels: int | None) -> LabelledImages:
    found: ImageSet = read_imageset(root)
    names = [record.file_name for record in found.records]
    resolution, channels = resolution or found.info["resolution"], channels or found.info["channels"]

    def read(index: int) -> bytes:
        return found.read(found.records[index])

    pixels = cached_pixels(names, read, found.stamp(), resolution=resolution, channels=channels)
    rows = pixels.rows
    return LabelledImages(
        images=pixels.images,
        labels=found.labels()[rows],
        splits=found.splits()[rows],
        paths=[names[row] for row in rows],
        groups=[found.records[row].group for row in rows],
        unused=pixels.unused,
        origin={"set": str(root), **found.info["origin"], "own_resolution": found.info["resolution"]},
        sha256=pixels.sha256,
    )


def _from_sources(reals: Source, fakes: Source, resolution, channels, seed: int) -> LabelledImages:
    names = [f"{source.spec}/{name}" for source in (reals, fakes) for name in source.names]
    labels = np.array([REAL] * len(reals) + [FAKE] * len(fakes), dtype=np.int64)

    def read(index: int):
        return reals.read(index) if index < len(reals) else fakes.read(index - len(reals))

    channels = channels or source_channels(names, read)
    resolution = resolution or min(_LARGEST_DEFAULT, _median_side(names, read))
    pixels = cached_pixels(names, read, f"{reals.stamp}|{fakes.stamp}", resolution=resolution, channels=channels)
    rows = pixels.rows
    groups = [(*reals.groups, *fakes.groups)[row] for row in rows]
    together = same_picture_groups(pixels.images, pixels.sha256, groups)
    problems = [*reals.problems, *fakes.problems]
    unused = pixels.unused + [{"path": p, "status": "unreadable", "error": why} for p, why in problems]
    return LabelledImages(
        images=pixels.images,
        labels=labels[rows],
        splits=split_groups(together, DEFAULT_SPLIT, derive_seed(seed, "split")),
        paths=[names[row] for row in rows],
        groups=groups,
        unused=unused,
        origin={"real": reals.spec, "fake": fakes.spec, "split": list(DEFAULT_SPLIT)},
        sha256=pixels.sha256,
    )


def _median_side(names, read) -> int:
    """The median of the shorter sides of up to 64 images, spread over all."""
    sides = []
    for index in np.linspace(0, len(names) - 1, min(64, len(names))).astype(int):
        try:
            item = read(int(index))
            sides.append(min((decode_image(item) if isinstance(item, bytes) else item).shape[:2]))
        except ImageError:
            continue
    if not sides:
        raise UserError("none of the images looked at could be decoded", expected="image files")
    return max(8, int(np.median(sides)))
