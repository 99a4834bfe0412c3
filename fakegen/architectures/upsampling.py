"""The convolutional variant of system C: G with upsampling and 3x3 convolutions, D with strided 3x3 convolutions."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from fakegen.architectures.layers import keras_init, make_activation

NORM: dict[str, Any] = {"momentum": 0.2, "eps": 1e-3}  # Keras's momentum is 1 minus torch's: 0.8


class UpsamplingGenerator(nn.Module):
    """z (B, z_dim) -> images (B, channels, resolution, resolution), float32 in [-1, 1]; resolution a multiple of 4.

    Dense to side R / 4, then twice: repeat each pixel, 3x3 convolution, BN, activation.
    """

    def __init__(self, resolution: int, channels: int, z_dim: int, width: int, activation: str = "relu"):
        super().__init__()
        self.start = (width, resolution // 4, resolution // 4)
        self.dense = nn.Sequential(nn.Linear(z_dim, width * (resolution // 4) ** 2), make_activation(activation))
        self.layers = nn.Sequential(
            nn.Upsample(scale_factor=2),
            nn.Conv2d(width, width, 3, padding=1),
            nn.BatchNorm2d(width, **NORM),
            make_activation(activation),  # (B, width, R / 2, R / 2)
            nn.Upsample(scale_factor=2),
            nn.Conv2d(width, width // 2, 3, padding=1),
            nn.BatchNorm2d(width // 2, **NORM),
            make_activation(activation),  # (B, width / 2, R, R)
            nn.Conv2d(width // 2, channels, 3, padding=1),
        )
        self.apply(keras_init)

    def forward(self, z: torch.Tensor) -> torch.Tensor:
        return torch.tanh(self.layers(self.dense(z).view(-1, *self.start)).float())


class UpsamplingDiscriminator(nn.Module):
    """images (B, channels, resolution, resolution) in [-1, 1] -> logits (B,).

    Four 3x3 convolutions of stride 2, of 1 to 8 times `width`, each with LeakyReLU 0.2 and dropout; then Dense to one logit.
    """

    def __init__(self, resolution: int, channels: int, width: int, dropout: float = 0.25):
        super().__init__()
        layers: list[nn.Module] = []
        before, side = channels, resolution
        for after in (width, 2 * width, 4 * width, 8 * width):
            layers += [nn.Conv2d(before, after, 3, 2, 1), nn.LeakyReLU(0.2, inplace=True), nn.Dropout(dropout)]
            before, side = after, -(-side // 2)
        self.layers = nn.Sequential(*layers)
        self.dense = nn.Linear(before * side * side, 1)
        self.apply(keras_init)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.dense(self.layers(images).flatten(1)).flatten()
