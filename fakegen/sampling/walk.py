"""`walk`: a seamless video of a generator's fakes while their latents change."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from scipy.special import ndtr

from fakecore.device import check_seed
from fakecore.errors import UserError
from fakecore.files import atomic_path
from fakecore.media.pixels import enlarge, mosaic
from fakecore.media.provenance import SENTENCES, xmp_packet
from fakecore.media.videowriter import video_writer
from fakecore.progress import progress_bar
from fakegen.runs.run import open_run
from fakegen.sampling.requests import choose_epoch, load_epoch, note_unfinished
from fakegen.sampling.sampling import BLOCK, Generator

FORMATS = (".mp4", ".gif", ".webp")
_TURN_S = 4.0  # seconds: of the fastest of the waves that move a latent
_WIDE = 480  # pixels: smaller pictures are enlarged by a whole factor, so that a pixel stays a square
_MOST_TILES = 256
_CRF = 16  # of H.264: below the default, since small tiles have sharp edges


def walk(
    run_path: Path | str,
    out: Path | str,
    *,
    epoch: int | None = None,
    seconds: float = 8.0,
    fps: int = 24,
    tiles: int = 16,
    truncation: float = 1.0,
    only: str | None = None,
    seed: int | None = None,
    device: str = "auto",
) -> dict[str, Any]:
    """Write a video of `tiles` fakes that change smoothly and end as they began, as .mp4, .gif or .webp by the name of `out`;
    return its facts: frames, size, epoch, seed.

    Each tile keeps its class: `only`, or the classes of a conditional generator in turn. `truncation` scales the latents:
    below 1, fakes are more alike and usually cleaner. Raises UserError for an unknown format, an option out of range,
    or an epoch without checkpoint.
    """
    out = Path(out)
    if out.suffix.lower() not in FORMATS:
        raise UserError(
            f"{out}: the format of the video is unknown", got=out.suffix or "no suffix", expected=", ".join(FORMATS)
        )
    _check(seconds=(seconds, 0.5, 600), fps=(fps, 1, 60), tiles=(tiles, 1, _MOST_TILES))
    run = open_run(Path(run_path))
    epoch = choose_epoch(run, epoch)
    seed = run.facts["seed"] + 1 if seed is None else seed
    check_seed(seed)
    generator = load_epoch(run, epoch, device).truncated(truncation)
    generator.check_class(only)
    note_unfinished(run, [epoch])
    frames = round(seconds * fps)
    latents = (
        np.stack([latent_loop(generator, seed, tile, frames, seconds) for tile in range(tiles)]) * generator.truncation
    )
    with progress_bar("rendering", frames, "frames") as bar:
        size = _write(out, _pictures(generator, latents, _labels(generator, tiles, only), bar), fps)
    return {
        "frames": frames,
        "fps": fps,
        "size": list(size),
        "epoch": epoch,
        "latent_seed": seed,
        "truncation": truncation,
    }


def latent_loop(generator: Generator, seed: int, tile: int, frames: int, seconds: float) -> np.ndarray:
    """Return a closed path of latents, float32 (frames, z_dim), the same for the same seed and tile.

    Each coordinate is a sum of waves with independent normal amplitudes, z(t) = sum_k (a_k cos 2 pi k t + b_k sin 2 pi k t) /
    sqrt(K): at every t it is distributed as the latents in training, N(0, 1), and so is its length, unlike that of a straight
    line between two latents. Uniform latents are the normal ones through the distribution function.
    """
    waves = max(1, round(seconds / _TURN_S))
    random = np.random.default_rng([seed, tile, 2])
    amplitudes = random.standard_normal((2, waves, generator.facts["generator"]["z_dim"])) / np.sqrt(waves)
    angles = 2 * np.pi * np.outer(np.arange(frames) / frames, np.arange(1, waves + 1))  # (frames, waves)
    path = np.cos(angles) @ amplitudes[0] + np.sin(angles) @ amplitudes[1]
    if generator.facts["latent"] == "uniform":
        path = 2 * ndtr(path) - 1
    return path.astype(np.float32)


def _labels(generator: Generator, tiles: int, only: str | None) -> list[int]:
    if not generator.classes:
        return []
    return [generator.classes.index(only) if only else tile % len(generator.classes) for tile in range(tiles)]


def _pictures(generator: Generator, latents: np.ndarray, labels: list[int], bar: Any) -> Iterator[np.ndarray]:
    """Yield each frame, uint8 RGB (H, W, 3): all tiles in a grid, `latents` (tiles, frames, z_dim)."""
    tiles, frames, _ = latents.shape
    columns = int(np.ceil(np.sqrt(tiles)))
    side = generator.resolution
    factor = max(1, -(-_WIDE // (columns * side)))
    at_once = max(1, BLOCK // tiles)
    for start in range(0, frames, at_once):
        part = latents[:, start : start + at_once].swapaxes(0, 1)  # (frames, tiles, z_dim)
        z = torch.from_numpy(part.reshape(-1, part.shape[-1])).to(generator.device)
        classes = torch.tensor(labels * len(part), device=generator.device) if labels else None
        images = generator.render(z, classes).reshape(len(part), tiles, generator.channels, side, side)
        for shown in images:
            picture = enlarge(mosaic(shown, columns, gap=0), factor)
            yield np.ascontiguousarray(picture.repeat(3 // len(picture), axis=0).transpose(1, 2, 0))
            bar.advance()


def _write(out: Path, pictures: Iterator[np.ndarray], fps: int) -> tuple[int, int]:
    first = next(pictures)
    size = first.shape[1], first.shape[0]
    if out.suffix.lower() == ".mp4":
        with video_writer(out, size, fps, comment=SENTENCES["fake"], crf=_CRF) as add:
            add(first, 0.0)
            for number, picture in enumerate(pictures, start=1):
                add(picture, number / fps)
        return size
    is_webp = out.suffix.lower() == ".webp"
    own: dict[str, Any] = {"xmp": xmp_packet("fake"), "quality": 85} if is_webp else {"comment": SENTENCES["fake"]}
    with atomic_path(out) as temporary:
        rest = (Image.fromarray(picture) for picture in pictures)
        Image.fromarray(first).save(
            temporary,
            format="WEBP" if is_webp else "GIF",
            save_all=True,
            append_images=rest,
            duration=round(1000 / fps),  # milliseconds
            loop=0,
            **own,
        )
    return size


def _check(**numbers: tuple[float, float, float]) -> None:
    for name, (value, low, high) in numbers.items():
        if not low <= value <= high:
            raise UserError(f"--{name} is out of range", got=value, expected=f"{low} to {high}")
