"""`lite`: features of a pretrained EfficientNet-Lite0 at several depths.

Early layers see the traces of upsampling, late ones content; fixed features of a network that was trained on other images
transfer to unseen generators (Ojha et al. 2023, arXiv 2302.10174; Cozzolino et al. 2023, arXiv 2312.00195).
"""

from __future__ import annotations

from typing import Any

import torch
from torch import nn
from torch.nn.functional import interpolate

from fakecore.efficientnet import STAGES, STEM, EfficientNetLite0, with_folded_norms

_STAGES = 6  # of seven: the last one and its 1280 channels add 2.3 M weights, and see content only
_SMALLEST, _LARGEST_ENLARGED = 96, 3  # pixels; times
_TINY = 1e-12  # added to a variance: the gradient of its root stays finite


def own_input_size(resolution: int) -> int:
    """Return the side, pixels, at which images of `resolution` are shown: small ones are enlarged up to three times, towards
    96 pixels, so that the first layers see their pixels; from 96 pixels on, images are shown unchanged.
    """
    return max(resolution, min(_SMALLEST, _LARGEST_ENLARGED * resolution))


class LiteFeatures(nn.Module):
    """uint8 (B, channels, R, R) -> float32 (B, 992): mean and standard deviation over all positions, of each channel after the
    stem and after each of the first six stages.
    """

    precision = "auto"  # large matrix products: bf16 where it is faster

    def __init__(self, input_size: int):
        super().__init__()
        network = EfficientNetLite0()
        self.stem = nn.Sequential(network.conv_stem, network.bn1)
        self.stages = nn.ModuleList(network.blocks[:_STAGES])
        self.dims = 2 * (STEM + sum(stage.channels for stage in STAGES[:_STAGES]))
        self.input_size = input_size
        self._folded: tuple[Any, tuple[nn.Module, ...]] = (None, ())  # for which weights, and the layers
        self.requires_grad_(False)
        self.eval()

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        x = images.float()
        if x.shape[-1] != self.input_size:
            size = (self.input_size, self.input_size)
            x = interpolate(x, size, mode="bicubic", antialias=True, align_corners=False)
        x = (x.expand(-1, 3, -1, -1) - 127.5) / 127.5
        x = x.contiguous(memory_format=torch.channels_last)
        parts: list[torch.Tensor] = []
        for layer in self._layers():
            x = layer(x)
            parts += _moments(x)
        return torch.cat(parts, dim=1)

    def _layers(self) -> tuple[nn.Module, ...]:
        """Return the stem and the stages; in inference, with batch normalisation folded into the convolutions: the same
        features, to rounding, a sixth faster.
        """
        own = (self.stem, *self.stages)
        if not torch.is_inference_mode_enabled():
            return own
        # Training changes weights in place, and a move to another device replaces them.
        weights = [(tensor.data_ptr(), tensor._version) for tensor in (*self.parameters(), *self.buffers())]
        if self._folded[0] != weights:
            with torch.inference_mode(False), torch.no_grad():
                self._folded = weights, tuple(with_folded_norms(layer) for layer in own)
        return self._folded[1]

    def train(self, mode: bool = True) -> LiteFeatures:
        return super().train(
            False
        )  # batch normalisation keeps ImageNet's statistics, also when the weights are trained


def _moments(x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Return mean and standard deviation over the positions of (B, C, H, W), float32 (B, C) each. torch.std_mean took as long
    as the layers themselves: it is slow for channels_last.
    """
    positions = x.float().permute(0, 2, 3, 1).flatten(1, 2)  # (B, H * W, C)
    mean = positions.mean(dim=1, keepdim=True)
    variance = (positions - mean).square().mean(dim=1)
    return mean[:, 0], (variance + _TINY).sqrt()
