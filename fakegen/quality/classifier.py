"""The feature space `classes`: features of a small classifier that is trained on the classes of the real images.

It is trained on the train split alone, in seconds on a CPU, and cached: the same reals always have the same feature space.
"""

from __future__ import annotations

import hashlib
import math
from collections import Counter
from dataclasses import dataclass

import numpy as np
import torch
from torch import nn
from torch.nn.functional import avg_pool2d, cross_entropy

from fakecore.device import derive_seed, one_thread
from fakecore.errors import UserError
from fakecore.progress import say
from fakecore.runs.checkpoint import load_into
from fakecore.runs.tensorcache import load_tensors, save_tensors
from fakegen.runs.reals import Reals

MIN_PER_CLASS = 20  # training images: fewer do not generalise
_VERSION = 1  # raise it when the network or its training changes
_DIMS = 128
_WIDTHS = (32, 64, 128)  # channels after each of the last three halvings
_STEM = 16  # channels after earlier halvings: few, so that large images cost little more
_LARGEST = 64  # pixels, side: larger images are downsampled to it
_STEPS, _BATCH, _RATE = 500, 64, 3e-3


@dataclass(frozen=True)
class FoundClasses:
    """A trained classifier, its number of classes, its accuracy on held-out reals, and the cache key of its features."""

    network: ClassNetwork
    classes: int
    accuracy: float | None  # in [0, 1]; None if no image of these classes is held out
    key: str


class ClassNetwork(nn.Module):
    """uint8 (B, C, R, R) -> features, float32 (B, 128); `head` maps features to one logit per class."""

    dims = _DIMS

    def __init__(self, resolution: int, channels: int, classes: int):
        super().__init__()
        self.shrink = max(1, resolution // _LARGEST)
        halvings = max(1, int(math.log2(resolution / self.shrink)) - 2)  # to 4x4
        layers: list[nn.Module] = []
        for width in (_STEM,) * (halvings - len(_WIDTHS)) + _WIDTHS[:halvings]:
            layers += _convolution(channels, width, stride=2)
            if width != _STEM:
                layers += _convolution(width, width, stride=1)
            channels = width
        self.layers = nn.Sequential(*layers)
        self.features = nn.Linear(channels, _DIMS)
        self.head = nn.Sequential(nn.ReLU(), nn.Dropout(0.3), nn.Linear(_DIMS, classes))

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        x = avg_pool2d(images.float().div(127.5).sub(1), self.shrink)
        return self.features(self.layers(x).mean(dim=(2, 3)))  # (B, 128)


def _convolution(c_in: int, c_out: int, stride: int) -> list[nn.Module]:
    return [nn.Conv2d(c_in, c_out, 3, stride, 1, bias=False), nn.BatchNorm2d(c_out), nn.ReLU(inplace=True)]


def usable_classes(reals: Reals) -> list[str]:
    """Return the sorted names of the classes with at least MIN_PER_CLASS training images."""
    counts = Counter(reals.classes[row] for row in reals.train_rows())
    return sorted(name for name, count in counts.items() if name is not None and count >= MIN_PER_CLASS)


def class_network(reals: Reals) -> FoundClasses:
    """Return the classifier of these reals, from the cache or newly trained. Raises UserError below two usable classes."""
    names = usable_classes(reals)
    if len(names) < 2:
        raise UserError(
            "the feature space classes needs real images of two classes or more",
            got=f"{len(names)} classes with {MIN_PER_CLASS} or more training images in {reals.spec}",
            remedy="Use --features random.",
        )
    resolution, channels = reals.images.shape[-1], reals.channels
    identity = repr((_VERSION, resolution, channels, reals.fingerprint, reals.splits.tolist(), reals.classes))
    key = f"classes-{_VERSION}-" + hashlib.sha256(identity.encode()).hexdigest()[:16]
    with torch.random.fork_rng(devices=[]):  # leave the random state of a training run unchanged
        torch.manual_seed(derive_seed(0, "class weights"))
        network = ClassNetwork(resolution, channels, len(names))
    if (cached := load_tensors(key)) is not None:
        tensors, facts = cached
        load_into(network, tensors, key)
    else:
        facts = {"accuracy": _train(network, reals, names)}
        save_tensors(key, network.state_dict(), facts)
    return FoundClasses(network.eval().requires_grad_(False), len(names), facts["accuracy"], key)


def _train(network: ClassNetwork, reals: Reals, names: list[str]) -> float | None:
    """Train on the CPU, where the seed determines the result; return the held-out accuracy, or None without such images."""
    say(f"training a classifier of the {len(names)} classes of {reals.spec}, for the quality features ...")
    numbers = np.array([names.index(name) if name in names else -1 for name in reals.classes])
    train = np.flatnonzero((reals.splits == "train") & (numbers >= 0))
    held_out = np.flatnonzero((reals.splits != "train") & (numbers >= 0))
    random = np.random.default_rng(derive_seed(0, "classes"))
    with torch.random.fork_rng(devices=[]), one_thread():  # so that the number of threads does not change the result
        torch.manual_seed(derive_seed(0, "classes"))
        network.train()
        optimiser = torch.optim.AdamW(network.parameters(), lr=_RATE, weight_decay=0.01)
        schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, _RATE, total_steps=_STEPS)
        for _ in range(_STEPS):
            rows = np.sort(random.choice(train, min(_BATCH, len(train)), replace=False))
            images = torch.from_numpy(_shifted(reals.images[rows], random))
            loss = cross_entropy(network.head(network(images)), torch.from_numpy(numbers[rows]), label_smoothing=0.1)
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            schedule.step()
    network.eval()
    return _accuracy(network, reals, held_out, numbers)


def _shifted(images: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """Return the batch shifted by up to an eighth of the side, as augmentation."""
    reach = images.shape[-1] // 8
    down, right = random.integers(0, 2 * reach + 1, 2)
    padded = np.pad(images, ((0, 0), (0, 0), (reach, reach), (reach, reach)), mode="edge")
    return padded[:, :, down : down + images.shape[-2], right : right + images.shape[-1]].copy()


@torch.inference_mode()
def _accuracy(network: ClassNetwork, reals: Reals, rows: np.ndarray, numbers: np.ndarray) -> float | None:
    if not len(rows):
        return None
    right = 0
    for start in range(0, len(rows), 256):
        part = rows[start : start + 256]
        found = network.head(network(torch.from_numpy(np.array(reals.images[part])))).argmax(dim=1).numpy()
        right += int((found == numbers[part]).sum())
    return right / len(rows)
