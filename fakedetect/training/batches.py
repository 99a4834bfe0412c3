"""The batches that a detector is trained on: half reals and half fakes, augmented by threads while the network trains.

An epoch consists of windows, which are in memory one after another. A set in memory is one window. Of a streamed set, the
order of the shards is drawn for each epoch, reals and fakes apart, and consecutive ones make a window, whose images are
shuffled as a whole; the next window is read meanwhile. Nothing of a window is needed after it: a training resumes between two.
"""

from __future__ import annotations

import math
import threading
from collections import deque
from collections.abc import Callable, Generator, Iterator
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import torch

from fakecore.cpus import usable_cpus
from fakecore.device import derive_seed
from fakecore.errors import UserError
from fakecore.labels import FAKE, REAL
from fakecore.sets.streaming import Pixels, StreamedPixels
from fakedetect.data.augment import Augmentation, augment, plan_augmentation
from fakedetect.data.loading import LabelledImages
from fakedetect.models.settings import DetectorSettings

Batch = tuple[torch.Tensor, torch.Tensor]  # inputs, targets
_BATCHES_AHEAD = 4  # augmented in advance by threads


class TrainingBatches:
    """The batches of each epoch on `rows`, (reals, fakes), of `data`. Of `size` processes, process `rank` has its own
    images of a window, and its share of each batch; `steps` are the steps in each window, the same in all processes and epochs.

    Raises UserError for a batch that the processes cannot share.
    """

    def __init__(
        self,
        data: LabelledImages,
        rows: tuple[np.ndarray, np.ndarray],
        settings: DetectorSettings,
        seed: int,
        rank: int = 0,
        size: int = 1,
    ):
        self._data, self._rows, self._settings, self._seed = data, rows, settings, seed
        self._rank, self._size = rank, size
        self._per_class, rest = divmod(settings.batch // 2, size)
        if rest or not self._per_class:
            raise UserError(
                "the batch cannot be shared by the processes",
                got=f"a batch of {settings.batch} for {size} processes",
                remedy=f"Use --set batch={2 * size * max(1, self._per_class)}.",
            )
        count = 1
        if isinstance(data.images, StreamedPixels):
            fit = max(1, settings.buffer_images(data.images.shape) * size)
            count = -(-sum(map(len, rows)) // fit)
        spans = [[self._span(len(own), number, count) for own in rows] for number in range(count)]
        self._count = count
        most = [max(math.ceil(len(own) / size) for own in both) for both in spans]  # of a class, in a process
        self.steps = [math.ceil(images / self._per_class) for images in most]

    def epoch(self, epoch: int, first: int = 0) -> Generator[Iterator[Batch]]:
        """Yield the batches of each window, from window `first` on: uint8 (B, C, R, R), float labels (B,)."""
        orders = [self._in_order(own, epoch) for own in self._rows]
        stopped = threading.Event()

        def read(number: int) -> tuple[Pixels, list[np.ndarray]]:
            rows = [order[self._span(len(order), number, self._count)] for order in orders]
            return self._window(rows, stopped.is_set)

        with ThreadPoolExecutor(1) as pool:
            ahead = deque(pool.submit(read, number) for number in range(first, self._count)[:1])
            try:
                for number in range(first, self._count):
                    images, rows = ahead.popleft().result()
                    if number + 1 < self._count:
                        ahead.append(pool.submit(read, number + 1))
                    yield self._batches(images, rows, number, self.seed_of("batches", epoch, number))
                    del images  # before the window after the next is read
            finally:
                stopped.set()

    def seed_of(self, what: str, epoch: int, window: int) -> int:
        """Return the seed of what is drawn for a window. The first one of the first process has the seed of the epoch: a set
        that fits into a window trains the same detector, streamed or not.
        """
        place = (window, self._rank) if window or self._rank else ()
        return derive_seed(self._seed, what, epoch, *place)

    def _in_order(self, rows: np.ndarray, epoch: int) -> np.ndarray:
        """Return `rows` in the order in which an epoch reads them: shard after shard."""
        if not isinstance(self._data.images, StreamedPixels):
            return rows
        shards = self._data.images.shard_of(rows)
        order = np.random.default_rng(derive_seed(self._seed, "shards", epoch)).permutation(int(shards.max()) + 1)
        return rows[np.argsort(order[shards], kind="stable")]

    def _span(self, total: int, number: int, count: int) -> range:
        """Return the places of a window in an order of `total` rows: an equal part of them, or all where they are very few."""
        if total < count * self._size:
            return range(total)
        return range(number * total // count, (number + 1) * total // count)

    def _window(self, rows: list[np.ndarray], stopped: Callable[[], bool]) -> tuple[Pixels, list[np.ndarray]]:
        """Return the images of this process, and where the reals and the fakes of the window, `rows`, are among them."""
        size = self._size
        own = [np.sort(one if len(one) < size else np.array_split(one, size)[self._rank]) for one in rows]
        if not isinstance(self._data.images, StreamedPixels):
            return self._data.images, own
        reals, fakes = map(len, own)
        return self._data.images.read(np.concatenate(own), stopped), [np.arange(reals), np.arange(reals, reals + fakes)]

    def _batches(self, images: Pixels, rows: list[np.ndarray], number: int, seed: int) -> Iterator[Batch]:
        """Yield the batches of a window: real, fake, real, fake ...; the smaller class is repeated."""
        random = np.random.default_rng(seed)
        drawn = [cycled(own, self.steps[number] * self._per_class, random) for own in rows]
        order = np.stack(drawn, axis=1).reshape(-1)
        labels = torch.tensor([float(REAL), float(FAKE)]).repeat(len(order) // 2)
        return augmented_batches(images, order, labels, 2 * self._per_class, self._settings, seed)


def training_rows(data: LabelledImages, limit: int | None, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the rows of the train split, (reals, fakes); with a limit, half of it each, drawn by the seed."""
    reals, fakes = (data.rows("train", label) for label in (REAL, FAKE))
    if limit is None:
        return reals, fakes
    random = np.random.default_rng(derive_seed(seed, "limit"))
    reals, fakes = (np.sort(random.permutation(own)[: max(1, limit // 2)]) for own in (reals, fakes))
    return reals, fakes


def augmented_batches(
    images: Pixels, order: np.ndarray, targets: torch.Tensor, size: int, settings: Augmentation, seed: int
) -> Iterator[Batch]:
    """Yield (uint8 (size, C, R, R), targets): the images of the rows in `order`, augmented by threads while the network trains.
    `targets` is parallel to `order`.
    """
    plan = plan_augmentation(len(order), settings, derive_seed(seed, "augment"))

    def make(start: int) -> Batch:
        places = range(start, min(start + size, len(order)))
        batch = np.stack([augment(images[order[place]], plan, place) for place in places])
        return torch.from_numpy(batch), targets[start : start + size]

    starts = range(0, len(order), size)
    with ThreadPoolExecutor(usable_cpus()) as pool:
        waiting = deque(pool.submit(make, start) for start in starts[:_BATCHES_AHEAD])
        try:
            for number in range(len(starts)):
                batch = waiting.popleft().result()
                if number + _BATCHES_AHEAD < len(starts):
                    waiting.append(pool.submit(make, starts[number + _BATCHES_AHEAD]))
                yield batch
        finally:
            pool.shutdown(cancel_futures=True)


def cycled(rows: np.ndarray, count: int, random: np.random.Generator) -> np.ndarray:
    """Return `count` of `rows` in random order; each is used once before any is repeated."""
    rounds = -(-count // len(rows))
    return np.concatenate([random.permutation(rows) for _ in range(rounds)])[:count]
