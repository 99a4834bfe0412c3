"""The real images of a run: decoded once, split once, with everything the manifest will say of them."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from fakecore.device import derive_seed
from fakecore.errors import UserError
from fakecore.media.duplicates import same_picture_groups
from fakecore.sets.folders import Source
from fakecore.sets.pixelcache import cached_pixels, source_channels
from fakecore.sets.sources import open_source
from fakecore.sets.splits import split_groups


@dataclass(frozen=True)
class Reals:
    """`images` uint8 (N, C, R, R) memory-mapped; the lists run parallel. `unused` names what could not be decoded."""

    spec: str
    images: np.ndarray
    splits: np.ndarray  # (N,) "train" | "val" | "test"
    names: list[str]
    classes: list[str | None]
    groups: list[str | None]
    sha256: list[str]
    unused: list[dict]
    fingerprint: str  # changes when any image does
    smallest: int  # the shortest side of the source's images, pixels
    faces: dict | None = None  # how they were cut out of films and photos, where `faces` did: margin, align

    @property
    def channels(self) -> int:
        return self.images.shape[1]

    @property
    def class_names(self) -> list[str]:
        """The source's classes, sorted; a class's number is its place here. Empty unless every image has one."""
        names = {name for name in self.classes if name is not None}
        return sorted(names) if None not in self.classes else []

    def labels(self) -> np.ndarray:
        """Class numbers, int64 (N,); all 0 where the source has no classes."""
        numbers = {name: number for number, name in enumerate(self.class_names)}
        return np.array([numbers.get(name or "", 0) for name in self.classes], dtype=np.int64)

    def class_shares(self) -> dict[str, float]:
        """Each class's share of the training reals, in the order of their numbers."""
        counts = np.bincount(self.labels()[self.train_rows()], minlength=len(self.class_names))
        return {
            name: round(n / max(counts.sum(), 1), 6) for name, n in zip(self.class_names, counts.tolist(), strict=True)
        }

    def train_rows(self) -> np.ndarray:
        """Row numbers of the train split, (n,): all that a GAN sees."""
        return np.flatnonzero(self.splits == "train")


def load_reals(
    spec: str, *, resolution: int, shares: tuple[int, int, int], seed: int, data_root: Path | None = None
) -> Reals:
    """Open, decode and split a source. Grey sources give one channel, others three.

    Raises UserError when the source does not exist, or too few of its images can be used.
    """
    source: Source = open_source(spec, data_root)
    channels = source_channels(source.names, source.read)
    pixels = cached_pixels(source.names, source.read, source.stamp, resolution=resolution, channels=channels)
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
    together = same_picture_groups(pixels.images, pixels.sha256, groups)
    splits = split_groups(together, shares, derive_seed(seed, "split"))
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
