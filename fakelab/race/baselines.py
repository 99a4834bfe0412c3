"""Baselines of a race: a random score, a score from file metadata, and a score from one pixel.

They are tested on the race's own images. On a matched set the first two have an AUROC of 0.5; if not, the set leaks.
"""

from __future__ import annotations

import io

import numpy as np
from PIL import Image

from fakecore.device import derive_seed
from fakecore.labels import FAKE, LABEL_NAMES, REAL
from fakecore.media.pixels import encode_png

COIN, METADATA, PIXEL = "coin", "metadata", "one-pixel"
BASELINES = {
    COIN: "a random number for each image",
    METADATA: "format, size, colour mode and chunk sizes of the files of a set, without the content of the chunks",
    PIXEL: "the value of the one pixel that separates reals and fakes best in training",
}
_FILES = 100  # of each class: files from one encoder have the same metadata, so more would not change the result


def baseline_scores(
    reals: tuple[np.ndarray, np.ndarray], fakes: tuple[np.ndarray, np.ndarray], seed: int | str
) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Return scores of the test images, (reals (n,), fakes (m,)), by baseline name; higher is more likely fake.

    `reals` and `fakes` are (training, test) images, uint8 (N, C, R, R).
    """
    random = np.random.default_rng(derive_seed(seed, COIN))
    coin = random.random(len(reals[1])), random.random(len(fakes[1]))
    return {COIN: coin, METADATA: _by_metadata(reals, fakes), PIXEL: _by_pixel(reals, fakes)}


def _by_pixel(reals, fakes) -> tuple[np.ndarray, np.ndarray]:
    flat = [images[0].reshape(len(images[0]), -1).astype(np.float32) for images in (reals, fakes)]
    apart = flat[1].mean(axis=0) - flat[0].mean(axis=0)
    spread = np.sqrt(flat[0].var(axis=0) + flat[1].var(axis=0)) + 1e-6
    place = int(np.abs(apart / spread).argmax())
    sign = 1.0 if apart[place] >= 0 else -1.0
    return tuple(sign * images[1].reshape(len(images[1]), -1)[:, place].astype(np.float64) for images in (reals, fakes))


def _by_metadata(reals, fakes) -> tuple[np.ndarray, np.ndarray]:
    """Return for each test image the fraction of fakes among training images with the same file metadata; 0.5 if none."""
    labels_of: dict[tuple, list[int]] = {}
    for label, images in ((REAL, reals), (FAKE, fakes)):
        for image in images[0][:_FILES]:
            labels_of.setdefault(_file_facts(image, label), []).append(label)

    def scores(label: int, images) -> np.ndarray:
        return np.array([np.mean(labels_of.get(_file_facts(image, label), [0.5])) for image in images[1][:_FILES]])

    return scores(REAL, reals), scores(FAKE, fakes)


def _file_facts(image: np.ndarray, label: int) -> tuple:
    with Image.open(io.BytesIO(encode_png(image, LABEL_NAMES[label]))) as file:
        return file.format, file.mode, file.size, tuple(sorted((name, len(value)) for name, value in file.info.items()))
