"""Heads, from features to one or more logits: a linear probe, or the three ReLU layers of system E."""

from __future__ import annotations

import torch
from torch import nn

_UNITS = (256, 128, 64)
_DROPOUT = 0.5


class LinearProbe(nn.Module):
    """features (B, dims) -> (B, outputs): linear layer on features standardised by the training set."""

    mean: torch.Tensor
    deviation: torch.Tensor

    def __init__(self, dims: int, outputs: int = 1):
        super().__init__()
        self.register_buffer("mean", torch.zeros(dims))
        self.register_buffer("deviation", torch.ones(dims))
        self.linear = nn.Linear(dims, outputs)

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        return self.linear((features.float() - self.mean) / self.deviation)


class TransferHead(nn.Sequential):
    """features (B, dims) -> (B, outputs): BN, then three times a ReLU layer (256, 128, 64 units), dropout 0.5 and BN, then the
    output: the head of the transfer classifier of system E, as in its public notebook.
    """

    def __init__(self, dims: int, outputs: int = 1):
        layers: list[nn.Module] = [nn.BatchNorm1d(dims)]
        for units in _UNITS:
            layers += [nn.Linear(dims, units), nn.ReLU(inplace=True), nn.Dropout(_DROPOUT), nn.BatchNorm1d(units)]
            dims = units
        super().__init__(*layers, nn.Linear(dims, outputs))


HEADS = {"linear": LinearProbe, "svm": LinearProbe, "mlp": TransferHead}
PROBES = tuple(HEADS)
