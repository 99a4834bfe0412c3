"""Projected GAN (Sauer et al. 2021, arXiv 2111.01007): a FastGAN generator (Liu et al. 2021, arXiv 2101.04775), and
discriminators that see an image through a network pretrained on ImageNet, which training leaves as it is.
"""

from __future__ import annotations

import math

import torch
from torch import nn
from torch.nn.utils.parametrizations import spectral_norm

from fakecore.efficientnet import EfficientNetLite0
from fakecore.imagenet import load_imagenet
from fakegen.architectures.layers import FIRST_SIDE, DoublingConv, Frozen, GatedUnits, double_smoothly

MULTIPLES = {4: 16, 8: 8, 16: 4, 32: 2, 64: 2, 128: 1, 256: 0.5}  # FastGAN: channels at a side, in widths
SKIPS = {64: 4, 128: 8, 256: 16}  # the side whose features weight the channels at another side
SEEN = 128  # pixels: smaller images are enlarged, so that the deepest features are still a map of 4x4
# Blocks of EfficientNet-Lite0 after which features are taken: strides 4, 8, 16 and 32; channels.
STAGES = ((2, 24), (3, 40), (5, 112), (7, 320))


class FastGenerator(nn.Module):
    """z (B, z_dim) -> images (B, channels, resolution, resolution), float32 in [-1, 1].

    Doublings with gated linear units; the channels of large maps are weighted by those of small ones (skip-layer excitation).
    Without FastGAN's noise in every layer, so that an image is a function of its latent alone.
    """

    def __init__(self, resolution: int, channels: int, z_dim: int, width: int):
        super().__init__()
        widths = {side: max(1, int(width * multiple)) for side, multiple in MULTIPLES.items()}
        self.first = nn.Sequential(
            nn.ConvTranspose2d(z_dim, 2 * widths[4], FIRST_SIDE, bias=False),
            nn.BatchNorm2d(2 * widths[4]),
            GatedUnits(),
        )
        self.sides = [2**k for k in range(3, int(math.log2(resolution)) + 1)]
        # The sides 8, 32 and 128 have two convolutions each, as published.
        self.doublings = nn.ModuleList(
            _doubling(widths[side // 2], widths[side], convolutions=1 + (int(math.log2(side)) % 2))
            for side in self.sides
        )
        self.excitations = nn.ModuleDict(
            {str(side): _excitation(widths[SKIPS[side]], widths[side]) for side in self.sides if side in SKIPS}
        )
        self.last = nn.Conv2d(widths[resolution], channels, 3, padding=1)
        self.apply(_start)

    def forward(self, z: torch.Tensor) -> torch.Tensor:
        z = z * (z.square().mean(dim=1, keepdim=True) + 1e-8).rsqrt()  # on a sphere: only its direction counts
        features = {FIRST_SIDE: self.first(z[:, :, None, None])}
        for side, doubling in zip(self.sides, self.doublings, strict=True):
            features[side] = doubling(features[side // 2])
            if side in SKIPS:
                features[side] = features[side] * self.excitations[str(side)](features[SKIPS[side]])
        return torch.tanh(self.last(features[self.sides[-1]]).float())


class ProjectedDiscriminator(nn.Module):
    """images (B, channels, resolution, resolution) in [-1, 1] -> logits (B, 4), high for real: one for each of four depths of
    the pretrained network.

    Between it and the discriminators are random convolutions that are never trained (section 3.2): 1x1 ones mix the channels of
    a depth, 3x3 ones mix a depth with the next deeper one. They keep a discriminator from looking at a few features only.
    """

    def __init__(self, resolution: int, channels: int, width: int):
        super().__init__()
        self.enlargements = max(0, (SEEN // resolution).bit_length() - 1)
        self.backbone = Frozen(_Backbone())
        self.across_channels, self.across_scales = nn.ModuleList(), nn.ModuleList()
        self.heads = nn.ModuleList()
        for k, (_, given) in enumerate(STAGES):
            mixed, shallower = width * 2**k, width * 2 ** max(0, k - 1)
            side = max(resolution, SEEN) >> (2 + k)
            self.across_channels.append(Frozen(_random(nn.Conv2d(given, mixed, 1))))
            self.across_scales.append(Frozen(_random(nn.Conv2d(mixed, shallower, 3, padding=1))))
            self.heads.append(_head(shallower, side, widest=8 * width))

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        images = images.expand(-1, 3, -1, -1)  # grey images in colour
        for _ in range(self.enlargements):
            images = double_smoothly(images)
        maps = self.backbone(images)
        logits: list[torch.Tensor] = []
        deeper: torch.Tensor | None = None
        for k in reversed(range(len(STAGES))):
            mixed = self.across_channels[k](maps[k])
            deeper = self.across_scales[k](mixed if deeper is None else mixed + double_smoothly(deeper))
            logits.append(self.heads[k](deeper))
        return torch.cat(logits[::-1], dim=1)


class _Backbone(nn.Module):
    """EfficientNet-Lite0 up to its last block: images (B, 3, S, S) in [-1, 1] -> maps of sides S/4 to S/32."""

    def __init__(self):
        super().__init__()
        network = EfficientNetLite0()
        load_imagenet(network)
        self.stem = nn.Sequential(network.conv_stem, network.bn1)
        self.blocks = network.blocks

    def forward(self, images: torch.Tensor) -> list[torch.Tensor]:
        x, found, ends = self.stem(images), [], [end for end, _ in STAGES]
        for number, block in enumerate(self.blocks, start=1):
            x = block(x)
            if number in ends:
                found.append(x)
        return found


def _doubling(before: int, after: int, convolutions: int) -> nn.Sequential:
    # The first layer was the doubling: without it, weights of older runs would have other names.
    layers: list[nn.Module] = [nn.Identity(), DoublingConv(before, 2 * after), nn.BatchNorm2d(2 * after), GatedUnits()]
    if convolutions == 2:
        layers += [nn.Conv2d(after, 2 * after, 3, padding=1, bias=False), nn.BatchNorm2d(2 * after), GatedUnits()]
    return nn.Sequential(*layers)


def _excitation(before: int, after: int) -> nn.Sequential:
    """Weights of channels, (B, before, S, S) -> (B, after, 1, 1); Liu et al. 2021, section 3.1."""
    return nn.Sequential(
        nn.AdaptiveAvgPool2d(4),
        nn.Conv2d(before, after, 4, bias=False),
        nn.SiLU(inplace=True),
        nn.Conv2d(after, after, 1, bias=False),
        nn.Sigmoid(),
    )


def _head(width: int, side: int, widest: int) -> nn.Sequential:
    """A discriminator of feature maps, (B, width, side, side) -> logits (B, 1): halvings to 4x4, then one number."""
    layers: list[nn.Module] = []
    while side > FIRST_SIDE:
        after = min(2 * width, widest)
        halving = spectral_norm(nn.Conv2d(width, after, 4, 2, 1, bias=False))
        layers += [halving, nn.BatchNorm2d(after), nn.LeakyReLU(0.2, inplace=True)]
        width, side = after, side // 2
    return nn.Sequential(*layers, spectral_norm(nn.Conv2d(width, 1, FIRST_SIDE, bias=False)), nn.Flatten())


def _random(layer: nn.Conv2d) -> nn.Conv2d:
    """Draw the weights of a layer that stays random, so that it keeps the variance of its input."""
    nn.init.kaiming_normal_(layer.weight)
    assert layer.bias is not None
    nn.init.zeros_(layer.bias)
    return layer


def _start(module: nn.Module) -> None:
    """As FastGAN: weights from N(0, 0.02), scales of BN from N(1, 0.02)."""
    if isinstance(module, (nn.Conv2d, nn.ConvTranspose2d)):
        nn.init.normal_(module.weight, 0.0, 0.02)
    elif isinstance(module, nn.BatchNorm2d):
        nn.init.normal_(module.weight, 1.0, 0.02)
