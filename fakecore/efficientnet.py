"""EfficientNet-Lite0 (Tan and Le 2019, arXiv 1905.11946; the Lite variant has ReLU6 and no squeeze-and-excitation).

timm has the same network, `tf_efficientnet_lite0`, and the names of all tensors here are timm's. But every start of `score`
would import timm and, through it, torchvision and PyTorch's compiler: more modules than torch itself has.
"""

from __future__ import annotations

import copy
from typing import NamedTuple

import torch
from torch import nn
from torch.nn.functional import pad
from torch.nn.utils.fusion import fuse_conv_bn_eval

NAME = "tf_efficientnet_lite0"  # timm's name of this architecture


class Stage(NamedTuple):
    """`blocks` blocks with `channels` outputs; the first has `stride`. `expansion` 1: a depthwise separable convolution."""

    blocks: int
    kernel: int
    stride: int
    expansion: int
    channels: int


STEM = 32  # channels
STAGES = (
    Stage(1, 3, 1, 1, 16),
    Stage(2, 3, 2, 6, 24),
    Stage(2, 5, 2, 6, 40),
    Stage(3, 3, 2, 6, 80),
    Stage(3, 5, 1, 6, 112),
    Stage(4, 5, 2, 6, 192),
    Stage(1, 3, 1, 6, 320),
)
FEATURES = 1280


class EfficientNetLite0(nn.Module):
    """Images, float32 (B, 3, S, S) in [-1, 1] -> pooled features (B, 1280), with random weights and without a classifier."""

    def __init__(self) -> None:
        super().__init__()
        self.conv_stem = _convolution(3, STEM, 3, stride=2)
        self.bn1 = BatchNormAct2d(STEM, nn.ReLU6(inplace=True))
        stages, width = [], STEM
        for stage in STAGES:
            blocks: list[nn.Module] = []
            for number in range(stage.blocks):
                stride = 1 if number else stage.stride
                kind = InvertedResidual if stage.expansion > 1 else SeparableConvolution
                blocks.append(kind(width, stage, stride))
                width = stage.channels
            stages.append(nn.Sequential(*blocks))
        self.blocks = nn.Sequential(*stages)
        self.conv_head = _convolution(width, FEATURES, 1)
        self.bn2 = BatchNormAct2d(FEATURES, nn.ReLU6(inplace=True))
        for module in self.modules():
            if isinstance(module, nn.Conv2d):  # as in the authors' code: the variance of the outputs is kept
                fan_out = module.out_channels * module.kernel_size[0] * module.kernel_size[1] // module.groups
                nn.init.normal_(module.weight, 0.0, (2.0 / fan_out) ** 0.5)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        x = self.blocks(self.bn1(self.conv_stem(images)))
        return self.bn2(self.conv_head(x)).mean(dim=(2, 3))


def with_folded_norms(layer: nn.Module) -> nn.Module:
    """Return a copy of a layer for inference, in which each convolution does the work of the batch normalisation after it: the
    same outputs, to rounding.
    """
    layer = copy.deepcopy(layer)
    for module in layer.modules():
        before = None
        for name, child in list(module.named_children()):
            if before and isinstance(child, nn.BatchNorm2d):
                conv_name, conv = before
                folded = fuse_conv_bn_eval(conv, child)
                folded.weight.data = folded.weight.data.contiguous(memory_format=torch.channels_last)
                setattr(module, conv_name, folded)
                setattr(module, name, getattr(child, "act", nn.Identity()))  # the normalisation also activates
            before = (name, child) if isinstance(child, nn.Conv2d) else None
    return layer


class BatchNormAct2d(nn.BatchNorm2d):
    """Batch normalisation and an activation."""

    def __init__(self, channels: int, act: nn.Module):
        super().__init__(channels, eps=1e-3)
        self.act = act

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.act(super().forward(x))


class SamePaddedConv2d(nn.Conv2d):
    """A convolution that pads as TensorFlow's "same": what is left over stands on the right and below."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        (kernel, _), (stride, _) = self.kernel_size, self.stride
        height, width = (max((-(-side // stride) - 1) * stride + kernel - side, 0) for side in x.shape[-2:])
        return super().forward(pad(x, (width // 2, width - width // 2, height // 2, height - height // 2)))


def _convolution(before: int, after: int, kernel: int, stride: int = 1, groups: int = 1) -> nn.Conv2d:
    if stride > 1:
        return SamePaddedConv2d(before, after, kernel, stride, groups=groups, bias=False)
    return nn.Conv2d(before, after, kernel, padding=kernel // 2, groups=groups, bias=False)


class SeparableConvolution(nn.Module):
    """A depthwise separable convolution."""

    def __init__(self, before: int, stage: Stage, stride: int):
        super().__init__()
        self.conv_dw = _convolution(before, before, stage.kernel, stride, groups=before)
        self.bn1 = BatchNormAct2d(before, nn.ReLU6(inplace=True))
        self.conv_pw = _convolution(before, stage.channels, 1)
        self.bn2 = BatchNormAct2d(stage.channels, nn.Identity())

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.bn2(self.conv_pw(self.bn1(self.conv_dw(x))))


class InvertedResidual(nn.Module):
    """An inverted residual block: wider inside than outside."""

    def __init__(self, before: int, stage: Stage, stride: int):
        super().__init__()
        inside = before * stage.expansion
        self.conv_pw = _convolution(before, inside, 1)
        self.bn1 = BatchNormAct2d(inside, nn.ReLU6(inplace=True))
        self.conv_dw = _convolution(inside, inside, stage.kernel, stride, groups=inside)
        self.bn2 = BatchNormAct2d(inside, nn.ReLU6(inplace=True))
        self.conv_pwl = _convolution(inside, stage.channels, 1)
        self.bn3 = BatchNormAct2d(stage.channels, nn.Identity())
        self.has_skip = stride == 1 and before == stage.channels

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        inside = self.bn2(self.conv_dw(self.bn1(self.conv_pw(x))))
        changed = self.bn3(self.conv_pwl(inside))
        return changed + x if self.has_skip else changed
