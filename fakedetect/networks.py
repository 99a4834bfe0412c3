"""Detector networks. uint8 images in; one logit out, high for fake (fake = 1); the sigmoid happens at scoring."""

from __future__ import annotations

import inspect
from collections.abc import Callable

import torch
from torch import nn

from fakecore.errors import UserError, unknown_name


class ScratchCNN(nn.Module):
    """DeepRecognition's CNN (system E): 1 to 4 blocks of 3x3 convolution, ReLU and 2x2 max-pool, then 256 units.

    images uint8 (B, channels, R, R) -> logits (B,). Pixels are divided by 255, as published.
    """

    def __init__(self, resolution: int, channels: int, blocks: int = 3, filters: int = 32, hidden: int = 256):
        super().__init__()
        side = resolution // 2**blocks
        if side < 1:
            raise UserError(
                "the images are too small for so many blocks",
                got=f"{blocks} blocks at {resolution}x{resolution}",
                expected=f"at most {max(resolution.bit_length() - 1, 1)} blocks",
                remedy="Use --set blocks=1, or a larger --set resolution.",
            )
        layers: list[nn.Module] = []
        for block in range(blocks):
            after = filters * 2**block
            layers += [nn.Conv2d(channels, after, 3, padding=1), nn.ReLU(inplace=True), nn.MaxPool2d(2)]
            channels = after
        self.blocks = nn.Sequential(*layers)
        self.fully_connected = nn.Sequential(nn.Flatten(), nn.Linear(channels * side**2, hidden), nn.ReLU(inplace=True))
        self.head = nn.Linear(hidden, 1)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        x = self.blocks(images.float() / 255)  # (B, filters * 2**(blocks - 1), side, side)
        return self.head(self.fully_connected(x)).flatten()  # (B,)


NETWORKS: dict[str, Callable[..., nn.Module]] = {"cnn": ScratchCNN}


def build_network(model: str, arguments: dict) -> nn.Module:
    """Build a detector's network by name. Raises UserError for a name that is not registered, or arguments it has not."""
    if model not in NETWORKS:
        raise unknown_name("detector model", model, NETWORKS)
    takes = list(inspect.signature(NETWORKS[model]).parameters)
    if foreign := [name for name in arguments if name not in takes]:
        raise UserError(f"the model {model} takes no argument {foreign[0]!r}", expected=f"only {', '.join(takes)}")
    return NETWORKS[model](**arguments)
