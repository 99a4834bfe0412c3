"""Batches of the training reals, in an order that depends only on the seed."""

from __future__ import annotations

import numpy as np
import torch

from fakecore.device import derive_seed
from fakecore.distributed import ALONE, World
from fakegen.runs.reals import Reals


class Batches:
    """Shuffled batches of the training reals, uint8. If they fit, a GPU holds all of them, so that a step copies no images;
    on a CPU they stay in the memory-mapped cache, which may be larger than memory. In a job of several processes, each
    process gets its `part` of every batch.
    """

    def __init__(self, reals: Reals, batch: int, seed: int, device: torch.device, world: World = ALONE):
        self._images, self._rows = reals.images, reals.train_rows()
        self._labels = torch.from_numpy(reals.labels()[self._rows])
        self._batch, self._seed, self._device = batch, seed, device
        self._resident = torch.from_numpy(self._images[self._rows]).to(device) if self._fits() else None
        self.images = len(self._rows)
        share = batch // world.size
        self.part = slice(world.rank * share, (world.rank + 1) * share)
        self._pass = -1

    def __getitem__(self, step: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the reals of `step`, counted from 0: uint8 (part, C, R, R) and class numbers, int64 (part,), on the device.

        Each pass has its own order, and drops the last incomplete batch.
        """
        number, place = divmod(step, self.images // self._batch)
        if number != self._pass:
            self._pass = number
            order = np.random.default_rng(derive_seed(self._seed, "order", number)).permutation(len(self._rows))
            self._order = torch.from_numpy(order)
            self._order_on_device = self._order.to(self._device)
        span = slice(place * self._batch + self.part.start, place * self._batch + self.part.stop)
        labels = self._labels[self._order[span]].to(self._device)
        if self._resident is not None:
            return self._resident[self._order_on_device[span]], labels
        return torch.from_numpy(self._images[self._rows[self._order[span]]]).to(self._device), labels

    def _fits(self) -> bool:
        if self._device.type != "cuda":
            return False
        free, _ = torch.cuda.mem_get_info(self._device)
        return self._images[0].nbytes * len(self._rows) < free // 2  # the other half is for the networks
