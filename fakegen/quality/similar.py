"""`similar`: the latents whose fakes are nearest to given images, and whether a generator can have made them.

A generator reproduces its own fakes nearly exactly from some latent, and other images only roughly: Karras et al. 2020
(arXiv 1912.04958), section 5. How nearly depends on the generator, so its own fakes and held-out real images are projected too.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch

from fakecore.device import derive_seed
from fakecore.errors import UserError
from fakecore.interrupt import StopRequest
from fakecore.media.pixels import ImageError, encode_png, enlarge, fit_square, read_image
from fakecore.progress import progress_bar, say
from fakecore.report.pages import data_uri, write_page
from fakecore.sets.imageset import is_imageset, read_imageset
from fakegen.quality.perceptual import Perceptual, squared_distances
from fakegen.runs.run import Run, open_run
from fakegen.sampling.requests import choose_epoch, load_epoch, note_unfinished
from fakegen.sampling.sampling import BLOCK, Generator, from_pixels

_CANDIDATES = 8  # blocks of 64 latents from which a search starts at the nearest
_REFERENCES = 8  # own fakes, and as many held-out reals
_STEPS, _LR = 200, 0.05
_LENGTHS = (0.8, 1.2)  # of a normal latent, divided by its usual length, the square root of z_dim
_WIDE = 160  # pixels: smaller images are enlarged by a whole factor
_MOST_IMAGES = 32

Verdict = Literal["own", "near", "other"]
_WORDS: dict[Verdict, str] = {
    "own": "as near as this generator's own fakes: it may have made this image",
    "near": "nearer to its own fakes than to real images: perhaps one of its fakes, compressed or edited",
    "other": "nearly as far as real images, or farther: no sign that this generator made this image",
}


@dataclass(frozen=True)
class Projected:
    """An image and the nearest fake that was found: images uint8 (C, R, R), the latent (z_dim,), the squared distance."""

    image: np.ndarray
    nearest: np.ndarray
    latent: np.ndarray
    class_: str | None
    distance: float


@dataclass(frozen=True)
class Similar:
    """The result of `similar`: a row for each image, and the distances of the generator's own fakes and of held-out reals."""

    page: Path
    rows: list[dict[str, Any]]
    own: list[float]
    reals: list[float]
    caution: str | None


def similar(
    run_path: Path | str,
    images: list[Path | str],
    out: Path | str,
    *,
    epoch: int | None = None,
    steps: int = _STEPS,
    seed: int = 0,
    device: str = "auto",
) -> Similar:
    """Find the latent of a run's generator whose fake is nearest to each image, by gradient descent on a perceptual distance,
    and write the page `out` (.html).

    `epoch` defaults to the last checkpoint. An image is cut to its middle square and reduced to the generator's resolution.
    Raises UserError for an image that cannot be read, an existing or unusual `out`, more than 32 images, or an epoch without
    checkpoint.
    """
    out = Path(out)
    if out.suffix.lower() != ".html" or out.exists():
        what, got = "--out cannot be written", "an existing file" if out.exists() else out.suffix or "no suffix"
        raise UserError(what, got=got, expected="a new .html file")
    if not 1 <= len(images) <= _MOST_IMAGES:
        raise UserError("the number of images is out of range", got=len(images), expected=f"1 to {_MOST_IMAGES}")
    if not 1 <= steps <= 10_000:
        raise UserError("--steps is out of range", got=steps, expected="1 to 10000")
    run = open_run(Path(run_path))
    generator = load_epoch(run, choose_epoch(run, epoch), device)
    note_unfinished(run, [generator.facts["epoch"]])
    asked = np.stack([_read(Path(path), generator) for path in images])
    own = generator.batch(derive_seed(seed, "own"), range(_REFERENCES))
    reals = _held_out(run, generator)
    found = project(generator, np.concatenate([asked, own, reals]), steps=steps, seed=seed)
    of_asked, of_own, of_reals = np.split(np.array(found, dtype=object), np.cumsum([len(asked), len(own)]))
    own_distances, real_distances = ([one.distance for one in part] for part in (of_own, of_reals))
    caution = _caution(own_distances, real_distances)
    rows = [
        {
            "image": str(path),
            "distance": one.distance,
            "verdict": (verdict := None if caution else verdict_of(one.distance, own_distances, real_distances)),
            "in_words": _WORDS[verdict] if verdict else None,
            "class": one.class_,
            "latent": one.latent.tolist(),
        }
        for path, one in zip(images, of_asked, strict=True)
    ]
    write_page(
        out,
        "fakegen.quality",
        "similar.html.j2",
        title=f"Nearest fakes of {run.path.absolute().name}",
        epoch=generator.facts["epoch"],
        resolution=generator.resolution,
        rows=[{**row, "class_": one.class_, "pair": _pair(one)} for row, one in zip(rows, of_asked, strict=True)],
        references=[
            {"name": name, "distances": distances, "pairs": [_pair(one) for one in part]}
            for name, part, distances in (
                ("its own fakes", of_own, own_distances),
                ("held-out real images", of_reals, real_distances),
            )
            if distances
        ],
        caution=caution,
    )
    return Similar(out, rows, own_distances, real_distances, caution)


def project(generator: Generator, images: np.ndarray, *, steps: int = _STEPS, seed: int = 0) -> list[Projected]:
    """Return the nearest fake of each image, uint8 (N, C, R, R), that gradient descent finds.

    It starts from the nearest of 512 fakes, keeps that one's class, and keeps normal latents near their usual length, uniform
    ones in [-1, 1]. Raises Interrupted when stopped.
    """
    perceptual = Perceptual().to(generator.device)
    target = _embed(perceptual, torch.from_numpy(images), generator)
    z, labels = _nearest_candidates(generator, perceptual, target, seed)
    z.requires_grad_(True)
    optimiser = torch.optim.Adam([z], lr=_LR)
    falling = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, steps)
    best, best_z = torch.full((len(images),), torch.inf, device=z.device), z.detach().clone()
    with progress_bar("searching latents", steps, "steps") as bar, StopRequest() as stop:
        for _ in range(steps):
            made = generator.network(z.to(generator.dtype), *labels).float()
            distances = (perceptual(_to_unit(made, generator)) - target).square().sum(dim=1)
            with torch.no_grad():
                nearer = distances < best
                best = torch.where(nearer, distances, best)
                best_z[nearer] = z[nearer]
            optimiser.zero_grad()
            distances.sum().backward()
            optimiser.step()
            falling.step()
            _keep_usual(z, generator)
            bar.advance()
            if stop.asked:
                raise KeyboardInterrupt
    nearest = generator.render(best_z, *labels)
    names = [generator.classes[k] for k in labels[0].tolist()] if labels else [None] * len(images)
    found = zip(images, nearest, best_z.cpu().numpy(), names, best.tolist(), strict=True)
    return [Projected(*one) for one in found]


def verdict_of(distance: float, own: list[float], reals: list[float]) -> Verdict:
    """Return whether an image is as near as the generator's `own` fakes; if not, on which side of the geometric mean of the
    farthest of them and the nearest of the reals.
    """
    if distance <= max(own):
        return "own"
    return "near" if distance < (max(own) * min(reals)) ** 0.5 else "other"


def _caution(own: list[float], reals: list[float]) -> str | None:
    """Return why distances say nothing about the origin of an image, if so."""
    if not reals:
        return (
            "The run has no set with held-out real images to compare with, so a distance says nothing about the origin."
        )
    if max(own) >= min(reals):
        return (
            "Some of its own fakes are found no better than real images, so a distance says nothing about the origin."
        )
    return None


def _read(path: Path, generator: Generator) -> np.ndarray:
    try:
        image = read_image(path)
    except ImageError as error:
        raise UserError(f"{path} cannot be used", got=f"{error.status}: {error}", expected="an image") from None
    return fit_square(image, generator.resolution, generator.channels)


def _held_out(run: Run, generator: Generator) -> np.ndarray:
    """Return held-out reals of the run's set, uint8 (n, C, R, R), n at most `_REFERENCES`; none if there is no set."""
    place = run.path / "set"
    if not is_imageset(place):
        say(f"note: {run.path} has no set, so there are no real images to compare with")
        return np.empty((0, generator.channels, generator.resolution, generator.resolution), dtype=np.uint8)
    found = read_imageset(place)
    records = [record for record in found.records if record.label == "real" and record.split != "train"]
    images = [_read(found.path(record), generator) for record in records[:_REFERENCES]]
    return np.stack(images) if images else np.empty((0, *generator.batch(0, range(1)).shape[1:]), dtype=np.uint8)


def _nearest_candidates(
    generator: Generator, perceptual: Perceptual, target: torch.Tensor, seed: int
) -> tuple[torch.Tensor, tuple[torch.Tensor, ...]]:
    """Return the latent, float32 (N, z_dim), of the nearest candidate to each target embedding, and its class number if any."""
    best = torch.full((len(target),), torch.inf, device=target.device)
    rows = torch.zeros(len(target), dtype=torch.int64, device=target.device)
    for number in range(_CANDIDATES):
        images = torch.from_numpy(generator.block(seed, number))
        distances, nearest = squared_distances(target, _embed(perceptual, images, generator)).min(dim=1)
        nearer = distances < best
        best, rows = torch.where(nearer, distances, best), torch.where(nearer, nearest + number * BLOCK, rows)
    latents = np.concatenate([generator.latents(seed, number) for number in range(_CANDIDATES)])
    z = torch.from_numpy(latents).to(target.device)[rows]
    if not generator.classes:
        return z, ()
    names = [name for number in range(_CANDIDATES) for name in generator.block_classes(seed, number)]
    return z, (torch.tensor([generator.classes.index(str(names[row])) for row in rows.tolist()], device=target.device),)


@torch.no_grad()
def _embed(perceptual: Perceptual, images: torch.Tensor, generator: Generator) -> torch.Tensor:
    """Return the embeddings of images, uint8 (N, C, R, R), float32 (N, D)."""
    parts = [perceptual(from_pixels(part.to(generator.device), (-1.0, 1.0))) for part in images.split(BLOCK)]
    return torch.cat(parts)


def _to_unit(made: torch.Tensor, generator: Generator) -> torch.Tensor:
    """Return a network's images in [-1, 1]."""
    low, high = generator.facts["value_range"]
    return ((made - low) * (2 / (high - low)) - 1).clamp(-1, 1)


@torch.no_grad()
def _keep_usual(z: torch.Tensor, generator: Generator) -> None:
    if generator.facts["latent"] == "uniform":
        z.clamp_(-1, 1)
        return
    lengths = z.norm(dim=1, keepdim=True) / z.shape[1] ** 0.5
    z.mul_(lengths.clamp(*_LENGTHS) / lengths.clamp(min=1e-6))


def _pair(one: Projected) -> dict[str, Any]:
    factor = max(1, -(-_WIDE // one.image.shape[-1]))
    image, nearest = (data_uri(encode_png(enlarge(pixels, factor), "fake")) for pixels in (one.image, one.nearest))
    return {"image": image, "nearest": nearest, "distance": one.distance}
