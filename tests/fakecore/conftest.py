"""Fixtures that write sets of random images."""

from __future__ import annotations

import numpy as np
import pytest

from fakecore.sets.imageset import ImageRecord
from fakecore.sets.setwriter import ImageSetWriter
from fakecore.sets.units import Wanted

SPLIT_OF = ["train", "train", "train", "val", "test"]


def _picture(label, index, channels=3):
    seed = index + (1000 if label == "fake" else 0)
    return np.random.default_rng(seed).integers(0, 256, (channels, 8, 8), dtype=np.uint8)


def _wanted(label, count, channels=3, pixels=None):
    more = {"class_": "dog", "group": "ann", "source": "a b.png", "source_sha256": "00"} if label == "real" else {}
    more = more or {"run": "r", "epoch": 3, "checkpoint_sha256": "ff", "latent_seed": 0}

    def records(indices, file_name):
        splits = [SPLIT_OF[index % len(SPLIT_OF)] for index in indices]
        return [
            ImageRecord(file_name(split, label, i), label, split, i, **more)
            for i, split in zip(indices, splits, strict=True)
        ]

    return Wanted(count, records, pixels or (lambda indices: np.stack([_picture(label, i, channels) for i in indices])))


def _write(root, count=10, labels=("real", "fake"), stop_after=None, channels=3, **options):
    """A set of `count` images of each label; with `stop_after`, one that was stopped once so many were listed."""
    chosen = {label: _wanted(label, count, channels) for label in labels}
    writer = ImageSetWriter(root, chosen, resolution=8, channels=channels, **options)
    listed = writer.done
    try:
        for more in writer.write():
            listed += more
            if stop_after is not None and listed >= stop_after:
                return writer
        return writer.finish(origin={"run": "r"})
    finally:
        writer.close()


@pytest.fixture(scope="session")
def image_at():
    """Return the image at an index of a label, uint8 (channels, 8, 8): image_at("fake", 3)."""
    return _picture


@pytest.fixture(scope="session")
def wanted():
    """Return the wanted images of a label for a writer: wanted("fake", 10)."""
    return _wanted


@pytest.fixture(scope="session")
def write():
    """Write a set: write(root, count=10)."""
    return _write
