"""DCGAN and its variants: strided convolutions, at any power of two (systems A and D, and the modern presets)."""

from __future__ import annotations

import math
from itertools import pairwise

import torch
from torch import nn
from torch.nn.utils.parametrizations import spectral_norm

from fakegen.architectures.convolutions import Doubling, Halving
from fakegen.architectures.layers import FIRST_SIDE, Labelled, Projection, make_activation

MAX_MULTIPLE = 8  # the widest layer is 8 x width, as in the published 64x64 network, at any resolution
LABEL_WIDTH = 64  # length of the class embedding that is concatenated with the latent


class DCGANGenerator(nn.Module):
    """Radford, Metz and Chintala 2016 (arXiv 1511.06434), figure 1: strided transposed convolutions, BN, ReLU, tanh.

    z (B, z_dim), labels (B,) int64 if `classes` -> images (B, channels, resolution, resolution), float32 in [-1, 1].
    `upsampling` "nearest" replaces each transposed convolution by repeated pixels and a 3x3 convolution.
    """

    def __init__(
        self,
        resolution: int,
        channels: int,
        z_dim: int,
        width: int,
        activation: str = "relu",
        upsampling: str = "transposed",
        classes: int = 0,
    ):
        super().__init__()
        doublings = int(math.log2(resolution // FIRST_SIDE))
        widths = [width * min(2 ** (doublings - 1 - i), MAX_MULTIPLE) for i in range(doublings)]
        self.labelled = Labelled(classes, LABEL_WIDTH) if classes else None
        layers = [
            nn.ConvTranspose2d(z_dim + (LABEL_WIDTH if classes else 0), widths[0], FIRST_SIDE, 1, 0, bias=False),
            *_norm_and_activation(widths[0], activation),  # (B, widths[0], 4, 4)
        ]
        for before, after in pairwise(widths):
            layers += [*_doubling(before, after, upsampling), *_norm_and_activation(after, activation)]
        layers += _doubling(widths[-1], channels, upsampling)
        self.layers = nn.Sequential(*layers)
        self.apply(_dcgan_init)

    def forward(self, z: torch.Tensor, labels: torch.Tensor | None = None) -> torch.Tensor:
        if self.labelled is not None:
            z = self.labelled(z, labels)
        logits = self.layers(z[:, :, None, None])  # (B, z_dim, 1, 1) -> (B, channels, R, R)
        return torch.tanh(logits.float())  # float32: near 1, bf16 is as coarse as 8-bit pixels


class DCGANDiscriminator(nn.Module):
    """The counterpart of `DCGANGenerator`: strided convolutions, LeakyReLU 0.2; one logit, high for real.

    images (B, channels, resolution, resolution) in [-1, 1], labels (B,) int64 if `classes` -> logits (B,).
    `norm`: "batch" is BN in all layers except the first, as published; "batch_all" is BN in all layers; "spectral"
    divides every weight by its largest singular value (Miyato et al. 2018, arXiv 1802.05957), without BN; "none" is no norm.
    """

    def __init__(
        self, resolution: int, channels: int, width: int, norm: str = "batch", dropout: float = 0.0, classes: int = 0
    ):
        super().__init__()
        halvings = int(math.log2(resolution // FIRST_SIDE))
        widths = [width * min(2**i, MAX_MULTIPLE) for i in range(halvings)]
        layers: list[nn.Module] = []
        for before, after in pairwise([channels, *widths]):
            layers.append(Halving(before, after, bias=norm in ("spectral", "none")))
            if norm == "batch_all" or (norm == "batch" and layers[0] is not layers[-1]):
                layers.append(nn.BatchNorm2d(after))
            layers.append(nn.LeakyReLU(0.2, inplace=True))
            if dropout:
                layers.append(nn.Dropout(dropout))
        self.layers = nn.Sequential(*layers)  # (B, widths[-1], 4, 4)
        self.last = nn.Conv2d(widths[-1], 1, FIRST_SIDE, 1, 0, bias=False)  # (B, 1, 1, 1)
        self.projection = Projection(classes, widths[-1]) if classes else None
        self.apply(_dcgan_init)
        if norm == "spectral":
            for module in [*self.layers, self.last]:
                if isinstance(module, nn.Conv2d):
                    spectral_norm(module)

    def forward(self, images: torch.Tensor, labels: torch.Tensor | None = None) -> torch.Tensor:
        features = self.layers(images)
        logits = self.last(features).flatten()  # (B,)
        if self.projection is not None:
            logits = logits + self.projection(features.float().sum(dim=(2, 3)), labels)
        return logits


def _doubling(before: int, after: int, upsampling: str) -> list[nn.Module]:
    if upsampling == "nearest":
        return [nn.Upsample(scale_factor=2), nn.Conv2d(before, after, 3, 1, 1, bias=False)]
    return [Doubling(before, after)]


def _norm_and_activation(width: int, name: str) -> list[nn.Module]:
    return [nn.BatchNorm2d(width), make_activation(name)]


def _dcgan_init(module: nn.Module) -> None:
    """Weights from N(0, 0.02), BN scales from N(1, 0.02); Radford et al. 2016, section 4."""
    if isinstance(module, (nn.Conv2d, nn.ConvTranspose2d)):
        nn.init.normal_(module.weight, 0.0, 0.02)
    elif isinstance(module, nn.BatchNorm2d):
        nn.init.normal_(module.weight, 1.0, 0.02)
        nn.init.zeros_(module.bias)
