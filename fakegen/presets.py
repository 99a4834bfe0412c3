"""Presets: rows of plain values, each with its reason and source beside it. `--set field=value` overrides any of them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from fakecore.errors import UserError, unknown_name
from fakecore.settings import override, setting


@dataclass(frozen=True)
class Preset:
    """Everything that decides what a GAN becomes, other than its real images and its seed."""

    name: str = setting(why="how the command line calls it")
    summary: str = setting(why="one line for people")
    real: str = setting("digits", why="source of real images when --real is not given")
    architecture: str = setting("dcgan", choices=("dcgan",), why="which pair of networks; see fakegen/networks.py")
    resolution: int = setting(64, low=16, high=256, why="pixels, square side; a power of two for dcgan")
    z_dim: int = setting(
        100, low=1, high=4096, why="length of the latent vector; 100 in Radford et al. 2016, section 3"
    )
    g_width: int = setting(
        64, low=1, high=1024, why="channels of G's last hidden layer; each coarser one doubles, up to x8"
    )
    d_width: int = setting(64, low=1, high=1024, why="channels of D's first layer; each coarser one doubles, up to x8")
    batch: int = setting(
        128, low=2, high=65536, why="real images per step, and as many fakes; 128 in Radford et al. 2016"
    )
    epochs: int = setting(5, low=0, high=1_000_000, why="passes over the training reals")
    lr: float = setting(2e-4, low=0, high=1, why="Adam's rate for both networks; Radford et al. 2016, section 4")
    beta1: float = setting(
        0.5, low=0, high=0.999, why="Adam's momentum; 0.9 oscillates, Radford et al. 2016, section 4"
    )
    beta2: float = setting(0.999, low=0, high=0.99999, why="Adam's second decay; Kingma and Ba 2015's default")
    ema: float = setting(
        0.999,
        low=0,
        high=0.99999,
        why="decay per step of the averaged G that samples and snapshots use, ramped up from 0 at the start; "
        "0 turns it off; Karras et al. 2018 (arXiv 1710.10196), section 5",
    )
    log_every: int = setting(1, low=1, high=1_000_000, why="steps between lines of metrics.jsonl")
    checkpoint_every: int = setting(1, low=1, high=1_000_000, why="epochs between checkpoints; first and last always")
    snapshot_every: int = setting(1, low=1, high=1_000_000, why="epochs between snapshots; first and last always")
    precision: str = setting(
        "auto", choices=("auto", "bf16", "fp32"), why="auto: bf16 where the processor computes in it, else fp32"
    )


PRESETS: dict[str, Preset] = {
    preset.name: preset
    for preset in (
        Preset(
            name="digits",
            summary="a whole GAN in two minutes, nothing to download",
            real="digits",
            resolution=32,  # smallest that leaves the networks three doublings; the digits come as 8x8 and are enlarged
            z_dim=64,  # 1,437 training images need no more
            g_width=48,  # tried 32, 48 and 64: strokes are cleaner from 48 on
            d_width=16,  # a weaker D costs less and leaves G more to learn from on so few images
            batch=32,  # 44 steps an epoch: small sets learn from many small steps
            epochs=80,  # tried 40 to 150: few broken strokes from 70 on
            ema=0.995,  # the run has 3,520 steps; 0.999 would average over nearly a third of them
            checkpoint_every=5,
            snapshot_every=5,
        ),
        Preset(
            name="dcgan-64",
            summary="DCGAN as published for faces (system D)",
            real="celeba",
            resolution=64,
            epochs=5,  # as in the work it follows: 202,599 faces x 5 epochs
        ),
    )
}


def get_preset(name: str, changes: dict[str, Any] | None = None) -> Preset:
    """The preset called `name`, with `changes` applied. Raises UserError, listing the choices, if either is unknown."""
    if name not in PRESETS:
        raise unknown_name("preset", name, PRESETS, remedy="See: python cli.py presets")
    changes = changes or {}
    for fixed in ("name", "summary"):
        if fixed in changes:
            raise UserError(f"{fixed} is not a field to set")
    preset = override(PRESETS[name], changes)
    if preset.resolution & (preset.resolution - 1):
        raise UserError("resolution must be a power of two", got=preset.resolution, expected="16, 32, 64, 128 or 256")
    return preset
