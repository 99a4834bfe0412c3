"""The residual networks of R3GAN (Huang et al. 2024, arXiv 2501.05441, section 4, configuration E), small enough for a CPU: no
normalisation, grouped convolutions, the two networks mirror each other.
"""

from __future__ import annotations

import math

import torch
from torch import nn

from fakegen.architectures.layers import FIRST_SIDE, double_smoothly

MAX_MULTIPLE = 8  # the widest stage is 8 x width
EXPANSION = 2  # a block's grouped convolution has twice the block's channels
GROUP = 16  # channels of a group
SLOPE = 0.2
GAIN = math.sqrt(2 / (1 + SLOPE**2))  # of LeakyReLU, He et al. 2015 (arXiv 1502.01852)


class ResidualGenerator(nn.Module):
    """z (B, z_dim) -> images (B, channels, resolution, resolution), float32, about [-1, 1]: no tanh, pixels are clamped.

    The latent weights a learned map of 4x4 for every channel; each stage is `blocks` residual blocks, then a smooth doubling.
    """

    def __init__(self, resolution: int, channels: int, z_dim: int, width: int, blocks: int = 1):
        super().__init__()
        widths = _widths(resolution, width)[::-1]
        depth = len(widths) * blocks
        layers: list[nn.Module] = [_scaled(nn.Linear(z_dim, widths[0], bias=False)), Basis(widths[0])]
        for before, after in zip(widths, [*widths[1:], None], strict=True):
            layers += [_Block(before, depth) for _ in range(blocks)]
            if after is not None:
                layers += [*_to_width(before, after), Double()]
        self.layers = nn.Sequential(*layers, _scaled(nn.Conv2d(widths[-1], channels, 1, bias=False)))

    def forward(self, z: torch.Tensor) -> torch.Tensor:
        return self.layers(z).float()


class ResidualDiscriminator(nn.Module):
    """images (B, channels, resolution, resolution) in [-1, 1] -> logits (B,), high for real: `ResidualGenerator` reversed."""

    def __init__(self, resolution: int, channels: int, width: int, blocks: int = 1):
        super().__init__()
        widths = _widths(resolution, width)
        depth = len(widths) * blocks
        layers: list[nn.Module] = [_scaled(nn.Conv2d(channels, widths[0], 1, bias=False))]
        for before, after in zip(widths, [*widths[1:], None], strict=True):
            layers += [_Block(before, depth) for _ in range(blocks)]
            if after is not None:
                layers += [nn.AvgPool2d(2), *_to_width(before, after)]
        last = widths[-1]
        self.layers = nn.Sequential(*layers, _scaled(nn.Conv2d(last, last, FIRST_SIDE, groups=last, bias=False)))
        self.dense = _scaled(nn.Linear(last, 1, bias=False))

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.dense(self.layers(images).flatten(1)).flatten()


class _Block(nn.Module):
    """x + 1x1(act(grouped 3x3(act(1x1(x))))), (B, C, S, S) -> (B, C, S, S).

    Starts as the identity, with the first two convolutions scaled down by the depth, so that a deep network without
    normalisation starts with activations of equal size: Zhang et al. 2019 (arXiv 1901.09321), section 3.
    """

    def __init__(self, width: int, depth: int):
        super().__init__()
        hidden = EXPANSION * width
        gain = GAIN * depth**-0.25  # L^(-1 / (2m - 2)) with m = 3 convolutions
        last = nn.Conv2d(hidden, width, 1, bias=False)
        nn.init.zeros_(last.weight)
        self.layers = nn.Sequential(
            _scaled(nn.Conv2d(width, hidden, 1), gain),
            nn.LeakyReLU(SLOPE, inplace=True),
            _scaled(nn.Conv2d(hidden, hidden, 3, padding=1, groups=max(1, hidden // GROUP)), gain),
            nn.LeakyReLU(SLOPE, inplace=True),
            last,
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + self.layers(x)


class Basis(nn.Module):
    """Weigh a learned map of 4x4 for every channel: (B, C) -> (B, C, 4, 4)."""

    def __init__(self, width: int):
        super().__init__()
        self.maps = nn.Parameter(torch.randn(width, FIRST_SIDE, FIRST_SIDE))

    def forward(self, weights: torch.Tensor) -> torch.Tensor:
        return self.maps * weights[:, :, None, None]


class Double(nn.Module):
    """Double the side smoothly: (B, C, S, S) -> (B, C, 2S, 2S)."""

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return double_smoothly(images)


def _widths(resolution: int, width: int) -> list[int]:
    """Return the channels of each stage, from the full side down to 4x4."""
    halvings = int(math.log2(resolution // FIRST_SIDE))
    return [width * min(2**i, MAX_MULTIPLE) for i in range(halvings + 1)]


def _to_width(before: int, after: int) -> list[nn.Module]:
    return [] if before == after else [_scaled(nn.Conv2d(before, after, 1, bias=False))]


def _scaled(layer: nn.Module, gain: float = 1.0) -> nn.Module:
    """Initialise a layer to keep the variance of its input, times the square of `gain`."""
    assert isinstance(layer, (nn.Linear, nn.Conv2d))
    nn.init.normal_(layer.weight, 0.0, gain / math.sqrt(layer.weight[0].numel()))
    if layer.bias is not None:
        nn.init.zeros_(layer.bias)
    return layer
