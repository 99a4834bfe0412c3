"""The 16- and 13-layer stacks of system E, for faces at 128x128."""

from __future__ import annotations

import torch
from torch import nn

from fakegen.architectures.layers import keras_init

SLOPE = 0.3  # Keras's default for LeakyReLU


class StackGenerator(nn.Module):
    """z (B, z_dim) -> images (B, channels, resolution, resolution), float32 in [-1, 1]; resolution a multiple of 8.

    Sixteen layers as Keras counts them: Dense, LeakyReLU, Reshape; Conv 5x5, three transposed 4x4 of stride 2 and two Conv
    5x5 of twice the width, each followed by LeakyReLU; Conv 7x7 with tanh. No normalisation.
    """

    def __init__(self, resolution: int, channels: int, z_dim: int, width: int):
        super().__init__()
        side = resolution // 8
        layers: list[nn.Module] = [
            nn.Linear(z_dim, width // 2 * side * side),
            nn.LeakyReLU(SLOPE, inplace=True),
            nn.Unflatten(1, (width // 2, side, side)),
            nn.Conv2d(width // 2, width, 5, padding=2),
            nn.LeakyReLU(SLOPE, inplace=True),
        ]
        for _ in range(3):
            layers += [nn.ConvTranspose2d(width, width, 4, 2, 1), nn.LeakyReLU(SLOPE, inplace=True)]
        for before in (width, 2 * width):
            layers += [nn.Conv2d(before, 2 * width, 5, padding=2), nn.LeakyReLU(SLOPE, inplace=True)]
        layers.append(nn.Conv2d(2 * width, channels, 7, padding=3))
        self.layers = nn.Sequential(*layers)
        self.apply(keras_init)

    def forward(self, z: torch.Tensor) -> torch.Tensor:
        return torch.tanh(self.layers(z).float())


class StackDiscriminator(nn.Module):
    """images (B, channels, resolution, resolution) in [-1, 1] -> logits (B,); resolution a multiple of 16.

    Thirteen layers as Keras counts them: Conv 3x3 and four Conv 4x4 of stride 2, each with LeakyReLU; Flatten, Dropout, Dense.
    """

    def __init__(self, resolution: int, channels: int, width: int, dropout: float = 0.4):
        super().__init__()
        side = resolution // 16
        layers: list[nn.Module] = [nn.Conv2d(channels, width, 3, padding=1), nn.LeakyReLU(SLOPE, inplace=True)]
        for _ in range(4):
            layers += [nn.Conv2d(width, width, 4, 2, 1), nn.LeakyReLU(SLOPE, inplace=True)]
        layers += [nn.Flatten(), nn.Dropout(dropout), nn.Linear(width * side * side, 1)]
        self.layers = nn.Sequential(*layers)
        self.apply(keras_init)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.layers(images).flatten()
