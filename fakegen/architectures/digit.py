"""The digit networks of system B, layer by layer, with Keras's padding and initialisation."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from fakegen.architectures.layers import FIRST_SIDE, DropLast, SamePadding, keras_init

KERAS_NORM: dict[str, Any] = {"momentum": 0.01, "eps": 1e-3}  # Keras's momentum is 1 minus torch's: 0.99


class DigitGenerator(nn.Module):
    """z (B, z_dim) -> images (B, channels, resolution, resolution), float32 in [0, 1]; 28 as published.

    Dense, reshape to 1x1x512, then transposed convolutions to sides 4, R / 4, R / 2 and R.
    Grey, at 28: 7,017,729 parameters, 7,015,809 of them trainable.
    """

    def __init__(self, resolution: int, channels: int, z_dim: int):
        super().__init__()
        quarter = resolution // 4
        self.dense = nn.Linear(z_dim, 512)
        self.layers = nn.Sequential(
            nn.ConvTranspose2d(512, 512, FIRST_SIDE, bias=False),  # (B, 512, 4, 4)
            nn.BatchNorm2d(512, **KERAS_NORM),
            nn.LeakyReLU(0.3, inplace=True),
            nn.ConvTranspose2d(
                512, 256, quarter - FIRST_SIDE + 1, bias=False
            ),  # (B, 256, R / 4, R / 4): kernel 4 at 28
            nn.BatchNorm2d(256, **KERAS_NORM),
            nn.LeakyReLU(0.3, inplace=True),
            nn.ConvTranspose2d(256, 128, 4, 2, 1, bias=False),  # (B, 128, R / 2, R / 2)
            nn.BatchNorm2d(128, **KERAS_NORM),
            nn.LeakyReLU(0.3, inplace=True),
            nn.ConvTranspose2d(128, 64, 4, 1, 1, bias=False),
            DropLast(),  # (B, 64, R / 2, R / 2)
            nn.LeakyReLU(0.3, inplace=True),
            nn.BatchNorm2d(64, **KERAS_NORM),
            nn.ConvTranspose2d(64, channels, 4, 2, 1),  # (B, channels, R, R)
        )
        self.apply(keras_init)

    def forward(self, z: torch.Tensor) -> torch.Tensor:
        return torch.sigmoid(self.layers(self.dense(z)[:, :, None, None]).float())


class DigitDiscriminator(nn.Module):
    """images (B, channels, resolution, resolution) in [0, 1] -> logits (B,), high for real.

    Grey, at 28: 6,952,257 parameters, 6,950,337 of them trainable.
    """

    def __init__(self, resolution: int, channels: int):
        super().__init__()
        layers: list[nn.Module] = []
        before, side = channels, resolution
        for after in (64, 128, 256, 512):
            layers += [SamePadding(4, 2), nn.Conv2d(before, after, 4, 2, bias=before == channels)]
            layers += [nn.BatchNorm2d(after, **KERAS_NORM), nn.LeakyReLU(0.2, inplace=True)]
            before, side = after, -(-side // 2)
        layers += [SamePadding(4, 2), nn.Conv2d(512, 512, 4, 2, bias=False)]
        side = -(-side // 2)
        self.layers = nn.Sequential(*layers)
        self.dense = nn.Linear(512 * side * side, 1)
        self.apply(keras_init)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.dense(self.layers(images).flatten(1)).flatten()  # (B, 512, 1, 1) -> (B,)
