"""Detector networks. uint8 images in; one logit out, high for fake (fake = 1); scoring applies the sigmoid."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn
from torch.nn.functional import interpolate

from fakecore.errors import UserError
from fakedetect.models.backbones import TimmFeatures
from fakedetect.models.calibration import Scaling
from fakedetect.models.frequency import DCTFeatures, SpectrumFeatures
from fakedetect.models.heads import HEADS
from fakedetect.models.lite import LiteFeatures


class ScratchCNN(nn.Module):
    """DeepRecognition's CNN (system E): 1 to 4 blocks of 3x3 convolution, ReLU and 2x2 max-pool, then 256 units.

    images uint8 (B, channels, R, R) -> logits (B,), or (B, outputs) of several. Pixels are divided by 255, as published.
    """

    def __init__(
        self, resolution: int, channels: int, blocks: int = 3, filters: int = 32, hidden: int = 256, outputs: int = 1
    ):
        super().__init__()
        side = resolution // 2**blocks
        if side < 1:
            raise UserError(
                "the images are too small for this number of blocks",
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
        self.head = nn.Linear(hidden, outputs)

    def features(self, images: torch.Tensor) -> torch.Tensor:
        """Return the inputs of the last layer, (B, 256)."""
        return self.fully_connected(self.blocks(images.float() / 255))

    def outputs(self, images: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return logits (B,) or (B, outputs), and the features (B, 256) before the last layer."""
        features = self.features(images)
        return self.head(features).squeeze(1), features

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.outputs(images)[0]


class Probed(nn.Module):
    """An extractor of features, uint8 (B, channels, R, R) -> (B, dims), and a head on them -> logits (B,), or (B, outputs)."""

    features: Any  # nn.Module with dims and precision
    head: Any  # one of HEADS

    def __init__(self, extractor: Any, probe: str, resolution: int, outputs: int = 1):
        super().__init__()
        self.features = extractor
        self.head = HEADS[probe](extractor.dims, outputs)
        self.precision = extractor.precision
        self.input_size = getattr(extractor, "input_size", None) or resolution

    def outputs(self, images: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return logits (B,) or (B, outputs), and the features (B, dims)."""
        features = self.features(images).float()
        return self.head(features).squeeze(1), features

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.outputs(images)[0]


class LinearDCT(Probed):
    """A linear probe on the DCT, whose weights show which frequencies it uses."""

    def frequency_weights(self) -> torch.Tensor:
        """Return the mean absolute weight over channels, (R, R), lowest frequency first."""
        side = self.input_size
        return self.head.linear.weight.detach().abs().view(-1, side, side).mean(dim=0)


class Ensemble(nn.Module):
    """The mean of the calibrated logits of its members, (B,); each gets the images in its own size and channels.

    `shapes` are the members' (channels, resolution). Calibrated logits are natural logarithms of odds, so their mean is
    the geometric mean of the members' odds.
    """

    def __init__(self, members: list[nn.Module], shapes: list[tuple[int, int]], scalings: list[Scaling]):
        super().__init__()
        self.members = nn.ModuleList(members)
        self.shapes, self.scalings = shapes, scalings
        wishes = {getattr(member, "precision", "fp32") for member in self.members}
        self.precision = "auto" if "auto" in wishes else "fp32"

    def outputs(self, images: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return logits (B,), and the concatenated features of all members that have some: (B, sum of dims)."""
        logits, features = [], [images.new_zeros((len(images), 0), dtype=torch.float32)]
        for member, shape, scaling in zip(self.members, self.shapes, self.scalings, strict=True):
            seen = _reshaped(images, *shape)
            both: Any = getattr(member, "outputs", None)
            found, own = both(seen) if both else (member(seen), None)
            logits.append(found.float() / scaling.temperature + scaling.bias)
            features += [] if own is None else [own.float()]
        return torch.stack(logits).mean(dim=0), torch.cat(features, dim=1)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.outputs(images)[0]


_LUMA = (0.299, 0.587, 0.114)  # ITU-R BT.601, as in the conversion to grey


def _reshaped(images: torch.Tensor, channels: int, resolution: int) -> torch.Tensor:
    """uint8 (B, C, R, R) -> uint8 (B, channels, resolution, resolution)."""
    if images.shape[1:] == (channels, resolution, resolution):
        return images
    x = images.float()
    if resolution != x.shape[-1]:
        x = interpolate(x, (resolution, resolution), mode="bicubic", antialias=True, align_corners=False)
    if channels < x.shape[1]:
        x = (x * torch.tensor(_LUMA, device=x.device).view(1, 3, 1, 1)).sum(dim=1, keepdim=True)
    return x.expand(-1, channels, -1, -1).round().clamp(0, 255).to(torch.uint8)


def timm_network(
    resolution: int, channels: int, input_size: int, backbone: str, pool: str = "avg", probe: str = "mlp"
) -> Probed:
    """A head on the features of one of timm's backbones, which sees images of `input_size`."""
    return Probed(TimmFeatures(backbone, resolution, channels, input_size, pool), probe, resolution)


def dct_network(resolution: int, channels: int, probe: str = "linear") -> Probed:
    """A head on the log of the 2-D DCT."""
    kind = Probed if probe == "mlp" else LinearDCT
    return kind(DCTFeatures(resolution, channels), probe, resolution)


def spectrum_network(resolution: int, channels: int, probe: str = "linear") -> Probed:
    """A head on the azimuthally averaged power spectrum."""
    return Probed(SpectrumFeatures(resolution, channels), probe, resolution)


def lite_network(resolution: int, channels: int, input_size: int, probe: str = "linear") -> Probed:
    """A head on the features of a pretrained EfficientNet-Lite0 at several depths."""
    return Probed(LiteFeatures(input_size), probe, resolution)
