"""The training reals, batch by batch, in an order that follows from the seed alone."""

from __future__ import annotations

import numpy as np
import torch

from fakecore.device import derive_seed
from fakecore.distributed import ALONE, World
from fakegen.runs.reals import Reals


class Batches:
    """Shuffled batches of the training reals, uint8. On a GPU all of them live there, where they fit, so that a step
    copies nothing; on a CPU they stay in the memory-mapped cache, which may be larger than memory. Of each batch, a process
    of several gets only its `part`.
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
        """The reals of `step`, counted from 0 over all passes: uint8 (part, C, R, R) and class numbers int64 (part,), on
        the device. Each pass has its own order, and leaves out what does not fill a batch.
        """
        number, place = divmod(step, self.images // self._batch)
        if number != self._pass:
            self._pass = number
            order = np.random.default_rng(derive_seed(self._seed, "order", number)).permutation(len(self._rows))
            self._order = torch.from_numpy(order)
            self._order_there = self._order.to(self._device)
        span = slice(place * self._batch + self.part.start, place * self._batch + self.part.stop)
        labels = self._labels[self._order[span]].to(self._device)
        if self._resident is not None:
            return self._resident[self._order_there[span]], labels
        return torch.from_numpy(self._images[self._rows[self._order[span]]]).to(self._device), labels

    def _fits(self) -> bool:
        if self._device.type != "cuda":
            return False
        free, _ = torch.cuda.mem_get_info(self._device)
        return self._images[0].nbytes * len(self._rows) < free // 2  # the other half is for the networks
