"""The real images of a run: decoded and split once, with all that the manifest says about them."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from fakecore.device import derive_seed
from fakecore.errors import UserError
from fakecore.sets.copies import cached_groups
from fakecore.sets.folders import Source
from fakecore.sets.pixelcache import cached_pixels, source_channels
from fakecore.sets.sources import open_source
from fakecore.sets.splits import split_groups


@dataclass(frozen=True)
class Reals:
    """Real images: `images`, uint8 (N, C, R, R), memory-mapped; one list entry per image. `unused`: images not decoded."""

    spec: str
    images: np.ndarray
    splits: np.ndarray  # (N,) "train" | "val" | "test"
    names: list[str]
    classes: list[str | None]
    groups: list[str | None]
    sha256: list[str]
    unused: list[dict]
    fingerprint: str  # changes with any image
    smallest: int  # shortest side of any image of the source, pixels
    faces: dict | None = None  # margin and align of face crops, if `faces` made the source

    @property
    def channels(self) -> int:
        return self.images.shape[1]

    @property
    def class_names(self) -> list[str]:
        """The classes of the source, sorted; a class number is an index of this list. Empty unless every image has a class."""
        names = {name for name in self.classes if name is not None}
        return sorted(names) if None not in self.classes else []

    def labels(self) -> np.ndarray:
        """Return the class numbers, int64 (N,); all 0 for a source without classes."""
        numbers = {name: number for number, name in enumerate(self.class_names)}
        return np.array([numbers.get(name or "", 0) for name in self.classes], dtype=np.int64)

    def class_fractions(self) -> dict[str, float]:
        """Return each class's fraction of the training reals, in the order of the class numbers."""
        counts = np.bincount(self.labels()[self.train_rows()], minlength=len(self.class_names))
        return {
            name: round(n / max(counts.sum(), 1), 6) for name, n in zip(self.class_names, counts.tolist(), strict=True)
        }

    def train_rows(self) -> np.ndarray:
        """Return the row numbers of the train split, (n,): a GAN sees no other images."""
        return np.flatnonzero(self.splits == "train")


def load_reals(
    spec: str, *, resolution: int, shares: tuple[int, int, int], seed: int, data_root: Path | None = None
) -> Reals:
    """Open, decode and split a source. Grey sources give one channel, others three. `shares` are percentages of train, val
    and test.

    Raises UserError for a source that does not exist or has fewer than 3 usable images.
    """
    source: Source = open_source(spec, data_root)
    channels = source_channels(source.names, source.read)
    pixels = cached_pixels(
        source.names, source.read, source.stamp, resolution=resolution, channels=channels, files=source.files
    )
    paths = dict(zip(source.names, source.paths, strict=True))
    unused = [{**line, "path": paths[line["path"]]} for line in pixels.unused]
    unused += [{"path": path, "status": "unreadable", "error": why} for path, why in source.problems]
    if len(pixels.images) < 3:
        raise UserError(
            f"{spec} has too few usable images",
            got=f"{len(pixels.images)} of {len(source)}" + (f"; the first: {unused[0]['error']}" if unused else ""),
            expected="3 or more; some hundreds for a useful GAN",
        )
    names = [source.names[row] for row in pixels.rows]
    classes = [source.classes[row] for row in pixels.rows]
    groups = [source.groups[row] for row in pixels.rows]
    merged = cached_groups(pixels.images, pixels.sha256, groups)
    splits = split_groups(merged, shares, derive_seed(seed, "split"))
    fingerprint = hashlib.sha256("".join(pixels.sha256).encode()).hexdigest()
    return Reals(
        spec,
        pixels.images,
        splits,
        names,
        classes,
        groups,
        pixels.sha256,
        unused,
        fingerprint,
        pixels.smallest,
        source.faces,
    )
