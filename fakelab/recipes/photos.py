"""The recipe `photos`: fakes for training a detector from real photographs alone.

Four GANs of different architecture are trained briefly on the photographs: two that enlarge by transposed convolutions of
different size, one by nearest neighbour, and a fully connected network. A detector of all recognises most others
(docs/lab/lite.md). Resampled reals are not among the fakes: a detector that learns them accuses photos that were resized, and
detects other GANs less.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from fakecore.media.pixels import decode_image
from fakecore.sets.sources import open_source
from fakedetect.training.recipes import Recipe
from fakelab.recipes.gans import train_gan

SIDES = (32, 64)  # pixels; GANs learn these in minutes
# name -> preset and training steps at 32 pixels, fewer at more: a few minutes each on two CPU cores
GANS = {
    "transposed": ("dcgan-64", 3000),
    "nearest": ("modern-32", 2500),
    "dense": ("dense-2", 4000),
    "digit": ("svhn-digit", 600),
}
_BATCH = 32  # so that a hundred photographs are enough
_MOST_FAKES = 5000  # of each GAN


def make_sources(
    real: str,
    folder: Path,
    *,
    seed: int = 0,
    device: str = "auto",
    data_root: Path | None = None,
    names: Sequence[str] | None = None,
) -> list[Path]:
    """Train the GANs, or those of some `names`, on the source `real`, each in a run below `folder`, and return the runs.
    Finished ones are kept and unfinished ones resumed. Raises UserError, or Interrupted when stopped.
    """
    names = list(GANS) if names is None else names
    source = open_source(real, data_root)
    side = _side(source)
    runs = []
    for number, name in enumerate(names, 1):
        preset, steps = GANS[name]
        run = folder / f"{name}-{side}"
        title = f"recipe photos: GAN {number} of {len(names)}, {name} ({preset} at {side}x{side})"
        changes = {"resolution": side, "steps": steps * SIDES[0] // side, "batch": _BATCH, "measure_every": 0}
        own: dict[str, Any] = {"seed": seed, "device": device, "data_root": data_root}
        runs.append(train_gan(title, run, preset, real, changes, count=min(len(source), _MOST_FAKES), **own))
    return runs


def _side(source) -> int:
    """Return the largest of SIDES that the first images of a source have, or the smallest."""
    item = source.read(0)
    image = decode_image(item) if isinstance(item, bytes) else item
    fitting = [side for side in SIDES if side <= min(image.shape[:2])]
    return max(fitting, default=SIDES[0])


RECIPE = Recipe(make_sources)
