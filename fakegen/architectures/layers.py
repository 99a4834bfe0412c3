"""Layers that several architectures share: activations, Keras's "same" padding and initialisation, class labels."""

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
