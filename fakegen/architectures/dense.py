"""Fully connected networks for images of any side (the models in system C's table)."""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import nn

from fakegen.architectures.layers import keras_init, make_activation


class DenseGenerator(nn.Module):
    """z (B, z_dim) -> images (B, channels, resolution, resolution), float32 in [-1, 1].

    Dense layers of 1, 2, 4 and 8 times `width` (256 to 2,048), each followed by activation and BN; then Dense to all pixels.
    """

    def __init__(self, resolution: int, channels: int, z_dim: int, width: int, activation: str = "leaky_relu"):
        super().__init__()
        self.shape = (channels, resolution, resolution)
        layers: list[nn.Module] = []
        for before, after in pairwise([z_dim, width, 2 * width, 4 * width, 8 * width]):
            layers += [
                nn.Linear(before, after),
                make_activation(activation),
                nn.BatchNorm1d(after, momentum=0.2, eps=1e-3),
            ]
        self.layers = nn.Sequential(*layers, nn.Linear(8 * width, channels * resolution * resolution))
        self.apply(keras_init)

    def forward(self, z: torch.Tensor) -> torch.Tensor:
        return torch.tanh(self.layers(z).float()).view(-1, *self.shape)


class DenseDiscriminator(nn.Module):
    """images (B, channels, resolution, resolution) in [-1, 1] -> logits (B,), high for real.

    Dense layers of `width`, width / 2 and width / 4, each followed by LeakyReLU 0.2; then Dense to one logit.
    """

    def __init__(self, resolution: int, channels: int, width: int):
        super().__init__()
        layers: list[nn.Module] = []
        for before, after in pairwise([channels * resolution * resolution, width, width // 2, width // 4]):
            layers += [nn.Linear(before, after), nn.LeakyReLU(0.2, inplace=True)]
        self.layers = nn.Sequential(*layers, nn.Linear(width // 4, 1))
        self.apply(keras_init)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.layers(images.flatten(1)).flatten()
