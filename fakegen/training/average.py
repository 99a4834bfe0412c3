"""The moving average of the generator's weights."""

from __future__ import annotations

import torch
from torch import nn


class MovingAverage:
    """Updates `averaged` (None: nothing to do) towards `current`, weights and statistics of BN, after every step.

    The tensors are listed once: networks keep theirs during a training.
    """

    def __init__(self, averaged: nn.Module | None, current: nn.Module, decay: float):
        self._decay = decay
        average, latest = ({} if averaged is None else averaged.state_dict()), current.state_dict()
        names = [name for name, tensor in average.items() if tensor.is_floating_point()]
        self._average, self._latest = [average[name] for name in names], [latest[name] for name in names]

    @torch.no_grad()
    def update(self, step: int) -> None:
        """Move the average after `step`, counted from 1; the decay rises from 0, so that early steps do not dominate."""
        if self._average:
            decay = min(self._decay, step / (step + 10.0))
            torch._foreach_lerp_(self._average, self._latest, 1 - decay)
