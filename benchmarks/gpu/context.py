"""What all parts of the benchmark share: the device, the sizes and the material."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from benchmarks.material import CELEBA, write_faces


@dataclass(frozen=True)
class Sizes:
    """How much is measured."""

    faces: int  # photos of the large source
    some: int  # of the small one
    epochs: int  # of dcgan-64 on the large source
    again_steps: int  # of dcgan-64 in its second start
    modern_steps: int
    batch: int  # of dcgan-64
    shards: tuple[int, int]  # fakes as WebDataset: few and many, from whose difference the time of a million follows
    png: int  # fakes as files
    plain: int  # fakes of the plain script
    labelled: int  # fakes of the set that detectors learn
    frames: int  # of a video


FULL = Sizes(CELEBA, 20_000, 5, 50, 3000, 128, (50_000, 250_000), 30_000, 1500, 8000, 300)
TINY = Sizes(160, 140, 1, 2, 2, 16, (64, 192), 64, 32, 60, 6)


@dataclass(frozen=True)
class Context:
    """`device` is "cuda" or "cpu"."""

    work: Path
    device: str
    sizes: Sizes

    @cached_property
    def faces(self) -> Path:
        """The large source of photos, 64x64."""
        return write_faces(self.work / "large", self.sizes.faces, 64)

    @cached_property
    def some(self) -> Path:
        """The small source of photos, 64x64, others than the large one."""
        return write_faces(self.work / "small", self.sizes.some, 64, seed=1)
