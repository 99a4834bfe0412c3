"""Which fakes a set wants, with their records and the facts on their origin."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from fakecore.device import device_name
from fakecore.sets.imageset import ImageRecord
from fakecore.sets.splits import split_of_index
from fakecore.sets.units import Wanted
from fakegen.runs.run import Run
from fakegen.sampling.requests import load_epoch
from fakegen.sampling.sampling import Generator


@dataclass(frozen=True)
class Fakes:
    """Fakes 0 to `count` - 1 of the checkpoint of an epoch, with latents of `seed` scaled by `truncation`, divided among the
    splits by `shares`; all of the class `only`, if given.
    """

    epoch: int
    seed: int
    count: int
    shares: tuple[int, int, int]
    only: str | None = None
    truncation: float = 1.0

    def load(self, run: Run, device: str, remedy: str | None = None) -> Generator:
        """Return their generator. Raises UserError for a damaged checkpoint, and for a class or truncation that it does not
        have.
        """
        generator = load_epoch(run, self.epoch, device, remedy).truncated(self.truncation)
        generator.check_class(self.only)
        return generator

    def wanted(self, generator: Generator, run: Run) -> Wanted:
        """Return them for a writer of sets: fake i is image i of the generator."""
        made_by: dict[str, Any] = {
            "run": run.path.name,
            "epoch": generator.facts["epoch"],
            "checkpoint_sha256": generator.facts["sha256"],
            "latent_seed": self.seed,
            "truncation": None if self.truncation == 1 else self.truncation,
        }

        def records(indices: range, file_name) -> list[ImageRecord]:
            found = []
            for index, class_ in zip(indices, generator.batch_classes(self.seed, indices, self.only), strict=True):
                split = split_of_index(index, self.shares)
                name = file_name(split, "fake", index)
                found.append(ImageRecord(name, "fake", split, index, class_, **made_by))
            return found

        return Wanted(self.count, records, lambda indices: generator.batch(self.seed, indices, self.only))

    def origin(self, generator: Generator, run: Run) -> dict:
        """Return what imageset.json says of their origin."""
        return {
            "run": run.path.name,
            "preset": run.preset.name,
            "epoch": generator.facts["epoch"],
            "checkpoint_sha256": generator.facts["sha256"],
            "latent_seed": self.seed,
            "truncation": self.truncation,
            "device": device_name(generator.device),
        }
