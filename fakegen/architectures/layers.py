"""What several architectures are made of: activations, Keras's "same" padding and initial values, labels."""

from __future__ import annotations

import torch
from torch import nn

FIRST_SIDE = 4  # pixels: what a convolutional generator starts from


def make_activation(name: str, slope: float = 0.2) -> nn.Module:
    """ "relu" or "leaky_relu", in place."""
    return nn.LeakyReLU(slope, inplace=True) if name == "leaky_relu" else nn.ReLU(inplace=True)


class SamePadding(nn.Module):
    """Zeros around an image so that a convolution after it gives ceil(side / stride), as "same" does in Keras: where the
    sum is odd, the bottom and the right get one more.
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
    """(B, C, H + 1, W + 1) -> (B, C, H, W): what Keras's "same" cuts off a transposed convolution of stride 1."""

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return images[:, :, :-1, :-1]


class Labelled(nn.Module):
    """A latent with a learned vector of its class beside it: z (B, z_dim), labels (B,) int64 -> (B, z_dim + width).

    Beside the latent, and not in every normalisation, because then the rest of the generator stays a plain stack that is
    folded for sampling like any other.
    """

    def __init__(self, classes: int, width: int):
        super().__init__()
        self.embedding = nn.Embedding(classes, width)
        # Small, so that the latent brings variety before the class does: from N(0, 1) each class became one composition.
        nn.init.normal_(self.embedding.weight, 0.0, 0.1)

    def forward(self, z: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        return torch.cat([z, self.embedding(labels).to(z.dtype)], dim=1)


class Projection(nn.Module):
    """How well features agree with a class: (B, F), labels (B,) int64 -> (B,), added to D's logit.

    Miyato and Koyama 2018 (arXiv 1802.05637): a dot product, which cannot be ignored as an appended vector can.
    """

    def __init__(self, classes: int, features: int):
        super().__init__()
        self.embedding = nn.Embedding(classes, features)
        nn.init.normal_(self.embedding.weight, 0.0, features**-0.5)

    def forward(self, features: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        return (features.float() * self.embedding(labels).float()).sum(dim=1)


def keras_init(module: nn.Module) -> None:
    """Weights as Keras starts them, Glorot uniform, and biases at zero."""
    if isinstance(module, (nn.Linear, nn.Conv2d, nn.ConvTranspose2d)):
        nn.init.xavier_uniform_(module.weight)
        if module.bias is not None:
            nn.init.zeros_(module.bias)
