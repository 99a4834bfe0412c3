"""Generators and discriminators. Each is built from plain keyword arguments, which travel with its weights."""

from __future__ import annotations

import math
from collections.abc import Callable
from itertools import pairwise

import torch
from torch import nn

from fakecore.errors import unknown_name
from fakegen.convolutions import Doubling, Halving
from fakegen.presets import Preset

MAX_MULTIPLE = 8  # the widest layer is 8 x width, as in the published 64x64 network, at any resolution


class DCGANGenerator(nn.Module):
    """Radford, Metz and Chintala 2016 (arXiv 1511.06434), figure 1: strided transposed convolutions, BN, ReLU, tanh.

    z (B, z_dim) -> images (B, channels, resolution, resolution), float32 in [-1, 1].
    """

    def __init__(self, resolution: int, channels: int, z_dim: int, width: int):
        super().__init__()
        doublings = int(math.log2(resolution)) - 2  # from 4x4 to resolution
        widths = [width * min(2 ** (doublings - 1 - i), MAX_MULTIPLE) for i in range(doublings)]
        layers: list[nn.Module] = [
            nn.ConvTranspose2d(z_dim, widths[0], 4, 1, 0, bias=False),  # (B, widths[0], 4, 4)
            nn.BatchNorm2d(widths[0]),
            nn.ReLU(inplace=True),
        ]
        for before, after in pairwise(widths):
            layers += [
                Doubling(before, after),
                nn.BatchNorm2d(after),
                nn.ReLU(inplace=True),
            ]
        layers.append(Doubling(widths[-1], channels))
        self.layers = nn.Sequential(*layers)
        self.apply(_dcgan_init)

    def forward(self, z: torch.Tensor) -> torch.Tensor:
        logits = self.layers(z[:, :, None, None])  # (B, z_dim, 1, 1) -> (B, channels, R, R)
        return torch.tanh(logits.float())  # float32: bf16 near 1 is as coarse as the pixels themselves


class DCGANDiscriminator(nn.Module):
    """The mirror image: strided convolutions, LeakyReLU 0.2, BN on all but the first; one logit, high for real.

    images (B, channels, resolution, resolution) in [-1, 1] -> logits (B,).
    """

    def __init__(self, resolution: int, channels: int, width: int):
        super().__init__()
        halvings = int(math.log2(resolution)) - 2  # from resolution to 4x4
        widths = [width * min(2**i, MAX_MULTIPLE) for i in range(halvings)]
        layers: list[nn.Module] = [Halving(channels, widths[0]), nn.LeakyReLU(0.2, inplace=True)]
        for before, after in pairwise(widths):
            layers += [
                Halving(before, after),
                nn.BatchNorm2d(after),
                nn.LeakyReLU(0.2, inplace=True),
            ]
        layers.append(nn.Conv2d(widths[-1], 1, 4, 1, 0, bias=False))  # (B, 1, 1, 1)
        self.layers = nn.Sequential(*layers)
        self.apply(_dcgan_init)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.layers(images).flatten()  # (B,)


def _dcgan_init(module: nn.Module) -> None:
    """Weights from N(0, 0.02), BN scales from N(1, 0.02); Radford et al. 2016, section 4."""
    if isinstance(module, (nn.Conv2d, nn.ConvTranspose2d)):
        nn.init.normal_(module.weight, 0.0, 0.02)
    elif isinstance(module, nn.BatchNorm2d):
        nn.init.normal_(module.weight, 1.0, 0.02)
        nn.init.zeros_(module.bias)


GENERATORS: dict[str, Callable[..., nn.Module]] = {"dcgan": DCGANGenerator}
DISCRIMINATORS: dict[str, Callable[..., nn.Module]] = {"dcgan": DCGANDiscriminator}


def generator_arguments(preset: Preset, channels: int) -> dict:
    return {"resolution": preset.resolution, "channels": channels, "z_dim": preset.z_dim, "width": preset.g_width}


def discriminator_arguments(preset: Preset, channels: int) -> dict:
    return {"resolution": preset.resolution, "channels": channels, "width": preset.d_width}


def build(registry: dict[str, Callable[..., nn.Module]], architecture: str, arguments: dict) -> nn.Module:
    """Build a network by the name of its architecture. Raises UserError for a name that is not registered."""
    if architecture not in registry:
        raise unknown_name("architecture", architecture, registry)
    return registry[architecture](**arguments)


def count_parameters(module: nn.Module) -> tuple[int, int]:
    """(all, trainable): all counts BN's running mean and variance too, as Keras does."""
    trainable = sum(p.numel() for p in module.parameters() if p.requires_grad)
    running = sum(b.numel() for b in module.buffers() if b.is_floating_point())
    return sum(p.numel() for p in module.parameters()) + running, trainable
