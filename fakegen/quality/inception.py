"""The feature space `inception`: the 2048 pooled features of Inception-v3, from local or downloaded weights.

Published FID uses TensorFlow's weights of 2015, with that network's own pooling and resizing (Heusel et al. 2017; ported
by pytorch-fid and torch-fidelity, whose files are read here). The weights of torchvision and timm differ and give other
distances, so every distance is reported with the weights used.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn
from torch.nn.functional import avg_pool2d, interpolate, max_pool2d
from torchvision.models.inception import (
    BasicConv2d,
    Inception3,
    InceptionA,
    InceptionAux,
    InceptionB,
    InceptionC,
    InceptionD,
    InceptionE,
)

from fakecore.runs.checkpoint import load_into
from fakegen.quality.inceptionweights import download_weights, find_weights, read_weights

DIMS = 2048
_SIDE = 299  # pixels: input size of the network
_TENSORFLOW_CLASSES = 1008  # identifies the weights of 2015; torchvision's have 1000


@dataclass(frozen=True)
class FoundInception:
    """The network, for uint8 images, and a description of its weights."""

    network: nn.Module
    comparable: str
    published: bool  # whether the weights are those of published FID
    key: str


def open_inception(weights: Path | str | None = None) -> FoundInception:
    """Return Inception-v3 with the weights in the file `weights` (safetensors, or a state dict as .pth), by default those
    in torch's cache, else torchvision's, downloaded. Raises UserError for missing weights or a file without them.
    """
    path = Path(weights) if weights is not None else find_weights() or download_weights()
    tensors = read_weights(path)
    classes = len(tensors["fc.weight"]) if "fc.weight" in tensors else 0
    of_2015 = classes == _TENSORFLOW_CLASSES
    network = InceptionFeatures(tensorflow=of_2015)
    own = network.inner.state_dict()
    wanted = {name: t for name, t in tensors.items() if not name.startswith(("fc.", "AuxLogits."))}
    counters = {name: t for name, t in own.items() if name.endswith("num_batches_tracked")}  # old files lack them
    load_into(network.inner, {**counters, **wanted}, str(path))
    network.eval().requires_grad_(False)
    if of_2015:
        comparable = (
            "Comparable with published FID (Inception-v3, TensorFlow's weights of 2015, as in torch-fidelity and "
            "pytorch-fid) for the same reals, counts and resizing; most papers use 10,000 images or more."
        )
    else:
        comparable = (
            f"Not comparable with published FID: Inception-v3 with the weights of {path.name}, which are not "
            "TensorFlow's of 2015."
        )
    digest = hashlib.sha256(path.read_bytes()).hexdigest()[:16]
    return FoundInception(network, comparable, of_2015, f"inception-1-{digest}")


class InceptionFeatures(nn.Module):
    """uint8 (B, 1 or 3, R, R) -> the inputs of the last layer, float32 (B, 2048)."""

    def __init__(self, tensorflow: bool):
        super().__init__()
        blocks = [InceptionA, InceptionC, InceptionE]
        if tensorflow:
            blocks = [_TensorFlowA, _TensorFlowC, _TensorFlowE]
        a, c, e = blocks
        self.inner = Inception3(
            aux_logits=False,
            init_weights=False,
            inception_blocks=[BasicConv2d, a, InceptionB, c, InceptionD, e, InceptionAux],
        )
        if tensorflow:
            self.inner.Mixed_7c.pool = _maximum
        self.inner.fc = self.inner.dropout = nn.Identity()
        self.tensorflow = tensorflow

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        x = images.float().expand(-1, 3, -1, -1)
        if self.tensorflow:
            return self.inner((resize_like_tensorflow(x, _SIDE) - 128) / 128)
        x = interpolate(x, size=(_SIDE, _SIDE), mode="bilinear", antialias=True)
        return self.inner(x / 127.5 - 1)


def resize_like_tensorflow(images: torch.Tensor, side: int) -> torch.Tensor:
    """Resize bilinearly as TensorFlow 1: corners at 0, no antialiasing. (B, C, R, R) float -> (B, C, side, side)."""
    resolution = images.shape[-1]
    place = torch.arange(side, device=images.device, dtype=torch.float32) * (resolution / side)
    low = place.floor().long()
    high = (low + 1).clamp(max=resolution - 1)
    weight = place - low
    rows = torch.lerp(images[:, :, low], images[:, :, high], weight[:, None])
    return torch.lerp(rows[..., low], rows[..., high], weight)


def _average(x: torch.Tensor) -> torch.Tensor:
    return avg_pool2d(x, 3, stride=1, padding=1, count_include_pad=False)  # TensorFlow does not count the padding


def _maximum(x: torch.Tensor) -> torch.Tensor:
    return max_pool2d(x, 3, stride=1, padding=1)  # only in the last block of the network of 2015


class _TensorFlowA(InceptionA):
    def _forward(self, x: torch.Tensor) -> list[torch.Tensor]:
        five = self.branch5x5_2(self.branch5x5_1(x))
        double = self.branch3x3dbl_3(self.branch3x3dbl_2(self.branch3x3dbl_1(x)))
        return [self.branch1x1(x), five, double, self.branch_pool(_average(x))]


class _TensorFlowC(InceptionC):
    def _forward(self, x: torch.Tensor) -> list[torch.Tensor]:
        seven = self.branch7x7_3(self.branch7x7_2(self.branch7x7_1(x)))
        double = self.branch7x7dbl_3(self.branch7x7dbl_2(self.branch7x7dbl_1(x)))
        double = self.branch7x7dbl_5(self.branch7x7dbl_4(double))
        return [self.branch1x1(x), seven, double, self.branch_pool(_average(x))]


class _TensorFlowE(InceptionE):
    pool = staticmethod(_average)

    def _forward(self, x: torch.Tensor) -> list[torch.Tensor]:
        three = self.branch3x3_1(x)
        three = torch.cat([self.branch3x3_2a(three), self.branch3x3_2b(three)], 1)
        double = self.branch3x3dbl_2(self.branch3x3dbl_1(x))
        double = torch.cat([self.branch3x3dbl_3a(double), self.branch3x3dbl_3b(double)], 1)
        return [self.branch1x1(x), three, double, self.branch_pool(self.pool(x))]
