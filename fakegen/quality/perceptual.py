"""A perceptual distance between images: differences of the feature maps of a network that knows photographs, and of pixels."""

from __future__ import annotations

import torch
from torch import nn

from fakecore.efficientnet import EfficientNetLite0
from fakecore.imagenet import load_imagenet
from fakegen.architectures.layers import double_smoothly

_SEEN = 128  # pixels: smaller images are enlarged, so that their pixels count in every layer
_TAPS = (2, 3, 5)  # blocks of EfficientNet-Lite0 after which maps are compared: strides 4, 8 and 16


class Perceptual(nn.Module):
    """Images, float32 (B, C, R, R) in [-1, 1] -> embeddings (B, D), whose squared distance is perceptual.

    Feature maps are divided by their length over the channels and compared at every position, as in Zhang et al. 2018 (arXiv
    1801.03924), section 3, with EfficientNet-Lite0 and equal weights; the mean squared difference of the pixels is added.
    Differentiable with respect to the images.
    """

    def __init__(self) -> None:
        super().__init__()
        network = EfficientNetLite0()
        load_imagenet(network)
        self.stem = nn.Sequential(network.conv_stem, network.bn1)
        self.blocks = network.blocks[: max(_TAPS)]
        self.eval().requires_grad_(False)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        parts = [_part(images)]
        x = images.expand(-1, 3, -1, -1)
        while x.shape[-1] < _SEEN:
            x = double_smoothly(x)
        x = self.stem(x)
        for number, block in enumerate(self.blocks, start=1):
            x = block(x)
            if number in _TAPS:
                parts.append(_part(nn.functional.normalize(x, dim=1) * x.shape[1] ** 0.5 / len(_TAPS) ** 0.5))
        return torch.cat(parts, dim=1)


def squared_distances(left: torch.Tensor, right: torch.Tensor) -> torch.Tensor:
    """Return the squared distances of embeddings (N, D) and (M, D), float32 (N, M)."""
    return torch.cdist(left, right).square()


def _part(maps: torch.Tensor) -> torch.Tensor:
    """Return maps (B, C, H, W) as vectors whose squared distance is the mean squared difference of the maps."""
    return maps.flatten(1) / maps[0].numel() ** 0.5
