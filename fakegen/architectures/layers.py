"""Layers that several architectures share: activations, Keras's "same" padding and initialisation, labels, frozen networks."""

from __future__ import annotations

import torch
from torch import nn

FIRST_SIDE = 4  # pixels: side of the first feature map of a convolutional generator


def make_activation(name: str, slope: float = 0.2) -> nn.Module:
    """Return an in-place activation: LeakyReLU with `slope` for "leaky_relu", else ReLU."""
    return nn.LeakyReLU(slope, inplace=True) if name == "leaky_relu" else nn.ReLU(inplace=True)


class SamePadding(nn.Module):
    """Zero padding after which a convolution gives ceil(side / stride), as padding="same" does in Keras: an odd total puts
    the extra row at the bottom and the extra column on the right.
    """

    def __init__(self, kernel: int, stride: int = 1):
        super().__init__()
        self.kernel, self.stride = kernel, stride

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        pads = []
        for side in (images.shape[3], images.shape[2]):  # pad() wants the last dimension first
            total = max((-(-side // self.stride) - 1) * self.stride + self.kernel - side, 0)
            pads += [total // 2, total - total // 2]
        return nn.functional.pad(images, pads)

    def extra_repr(self) -> str:
        return f"kernel={self.kernel}, stride={self.stride}"


class DropLast(nn.Module):
    """(B, C, H + 1, W + 1) -> (B, C, H, W): the crop that Keras's "same" makes after a transposed convolution of stride 1."""

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return images[:, :, :-1, :-1]


def double_smoothly(images: torch.Tensor) -> torch.Tensor:
    """Double the side with bilinear interpolation, (B, C, H, W) -> (B, C, 2H, 2W).

    On a CPU this is torch's own, which keeps images channels last. On a GPU its gradient depends on the order of additions, so
    there the same function is computed in another way.
    """
    if images.device.type == "cpu":
        return nn.functional.interpolate(images, scale_factor=2, mode="bilinear", align_corners=False)
    return double_reproducibly(images)


def double_reproducibly(images: torch.Tensor) -> torch.Tensor:
    """Double the side as `double_smoothly` does, with a gradient that is the same each time on a GPU."""
    for dimension in (2, 3):
        last = images.shape[dimension] - 1
        before = torch.cat([images.narrow(dimension, 0, 1), images.narrow(dimension, 0, last)], dimension)
        after = torch.cat([images.narrow(dimension, 1, last), images.narrow(dimension, last, 1)], dimension)
        both = [torch.lerp(images, before, 0.25), torch.lerp(images, after, 0.25)]
        images = torch.stack(both, dim=dimension + 1).flatten(dimension, dimension + 1)
    return images


class GatedUnits(nn.Module):
    """Gated linear units, (B, 2C, H, W) -> (B, C, H, W): the first half of the channels times the sigmoid of the second.

    The same as nn.GLU(1), whose gradient is not channels last, which costs the batch normalisation before it ten times as much.
    """

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        values, gates = features.chunk(2, dim=1)
        return values * torch.sigmoid(gates)


class DoublingConv(nn.Conv2d):
    """A 3x3 convolution after a doubling by nearest neighbours, (B, c_in, H, W) -> (B, c_out, 2H, 2W).

    Each output pixel sees only 2x2 pixels of the small map, so both together are a transposed convolution of 4x4 whose kernel
    is the sum of the 3x3 one shifted to four places: 16 products per small pixel instead of 36.
    """

    def __init__(self, c_in: int, c_out: int):
        super().__init__(c_in, c_out, 3, padding=1, bias=False)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        kernel = self.weight.flip(2, 3).transpose(0, 1)  # (c_in, c_out, 3, 3), as a transposed convolution has it
        shifted = [nn.functional.pad(kernel, (right, 1 - right, down, 1 - down)) for right in (0, 1) for down in (0, 1)]
        return nn.functional.conv_transpose2d(images, sum(shifted), self.bias, stride=2, padding=1)  # type: ignore[arg-type]


class Frozen(nn.Module):
    """A network that training leaves as it is: its weights are buffers, which no optimiser gets, and its batch normalisation
    keeps its statistics.
    """

    def __init__(self, network: nn.Module):
        super().__init__()
        for module in network.modules():
            for name, weight in list(module.named_parameters(recurse=False)):
                delattr(module, name)
                module.register_buffer(name, weight.detach())
        self.network = network

    def train(self, mode: bool = True) -> Frozen:
        """Stay in eval mode."""
        return super().train(False)

    def forward(self, *inputs):
        return self.network(*inputs)


class Labelled(nn.Module):
    """Concatenate a latent with an embedding of its class: z (B, z_dim), labels (B,) int64 -> (B, z_dim + width).

    Conditioning only the input, not every normalisation, leaves the generator a plain stack that can be folded for
    sampling.
    """

    def __init__(self, classes: int, width: int):
        super().__init__()
        self.embedding = nn.Embedding(classes, width)
        # Small, so that the latent dominates at first: with N(0, 1) each class collapsed to one composition.
        nn.init.normal_(self.embedding.weight, 0.0, 0.1)

    def forward(self, z: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        return torch.cat([z, self.embedding(labels).to(z.dtype)], dim=1)


class Projection(nn.Module):
    """Projection of features on the embedding of a class: (B, F), labels (B,) int64 -> (B,), added to D's logit.

    Miyato and Koyama 2018 (arXiv 1802.05637). D cannot ignore this dot product, as it can a concatenated vector.
    """

    def __init__(self, classes: int, features: int):
        super().__init__()
        self.embedding = nn.Embedding(classes, features)
        nn.init.normal_(self.embedding.weight, 0.0, features**-0.5)

    def forward(self, features: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        return (features.float() * self.embedding(labels).float()).sum(dim=1)


def keras_init(module: nn.Module) -> None:
    """Initialise a layer as Keras does: weights Glorot uniform, biases zero."""
    if isinstance(module, (nn.Linear, nn.Conv2d, nn.ConvTranspose2d)):
        nn.init.xavier_uniform_(module.weight)
        if module.bias is not None:
            nn.init.zeros_(module.bias)
