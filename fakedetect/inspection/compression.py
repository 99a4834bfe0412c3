"""Traces of an earlier JPEG compression in the DCT coefficients of a JPEG file.

Coefficients that were quantised with one step and then with another one have histograms with gaps and peaks at regular
distances (Lukas and Fridrich 2003, "Estimation of primary quantization matrix in double compressed JPEG images"; Popescu and
Farid 2004, "Statistical tools for digital forensics"). What the histogram of a photo compressed once would be is known
without the original: the blocks of the same photo shifted by half a block have not been quantised. For each of the lowest
frequencies, the likelihood of the histogram is compared under one quantisation and under two, with every earlier step.

Not found by this: a photo that was shifted, cropped or resized between, the same quality twice, and a first quality far above
the last.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
from PIL.JpegImagePlugin import zigzag_index

from fakecore.media.pixels import ImageError, open_image
from fakedetect.audits.containers import libjpeg_tables
from fakedetect.inspection.findings import Finding

# Chosen on photos compressed once and twice, docs/lab/inspect.md.
MIN_GAIN = 0.06  # nats for each coefficient that is not zero
MIN_TOTAL = 60.0  # nats
MIN_BLOCKS = 150
_MOST_BLOCKS = 4000
_MIN_NOT_ZERO = 30  # coefficients of a frequency; drawings enlarged by 8 have none
_FREQUENCIES = 9  # the lowest, without the mean of the block
_MOST_STEP = 64  # of the earlier quantisation
_SHIFTS = ((4, 4), (4, 3), (3, 4))  # pixels
_BINS = 60  # quantised coefficients above count as this one
_FINE = 4  # bins per unit of the coefficients before quantisation
_MOST_COEFFICIENT = 1024
_ROUNDED = 0.0425  # how often the rounding of decoded pixels moves a coefficient of step 1 one up, and one down
_JPEG = b"\xff\xd8\xff"


@dataclass(frozen=True)
class EarlierCompression:
    """How much more likely two compressions are than one: `gain` in nats for each coefficient that is not zero, `total` in
    nats; and the `quality` of libjpeg whose table explains it best, None if none explains most of it.
    """

    gain: float
    total: float
    quality: int | None


def findings_of_compression(data: bytes) -> Iterator[Finding]:
    """Yield that a JPEG file was compressed before. Nothing for other files."""
    if not data.startswith(_JPEG):
        return
    found = None
    with suppress(ImageError):  # the header was readable, the pixels are not
        found = earlier_compression(data)
    if found and found.gain >= MIN_GAIN and found.total >= MIN_TOTAL:
        how = f" at about quality {found.quality}" if found.quality else ""
        says = f"traces of an earlier JPEG compression{how}: saved at least twice"
        yield Finding(says, "JPEG coefficients", "nothing", "weak", "every program that saves a JPEG again leaves them")


def earlier_compression(data: bytes) -> EarlierCompression | None:
    """Compare the coefficients of a JPEG file with those after one and after two compressions.

    Returns None if the photo has too few blocks or stores no luminance. Raises ImageError.
    """
    with open_image(data) as opened:
        image: Any = opened
        image.draft("L", image.size)  # the luminance as it is stored, without colours
        if image.mode != "L" or not hasattr(image, "layer"):
            return None
        steps = np.array(image.quantization[image.layer[0][3]])[_natural()]
        plane = np.asarray(image)
    stored = _coefficients(plane, 0, 0, _MOST_BLOCKS)
    if len(stored) < MIN_BLOCKS:
        return None
    smooth = np.concatenate([_coefficients(plane, *shift, _MOST_BLOCKS) for shift in _SHIFTS])
    gains = np.array([_gains(*each) for each in zip(stored.T, smooth.T, steps, strict=True)])  # (F, steps)
    total = float(gains.max(axis=1).sum())
    coefficients = max(1, int((np.rint(stored / steps) != 0).sum()))
    return EarlierCompression(total / coefficients, total, _quality(gains))


def _gains(stored: np.ndarray, smooth: np.ndarray, step: int) -> np.ndarray:
    """Return by how many nats each earlier step, 1 to _MOST_STEP, explains coefficients of one frequency better than none."""
    if np.count_nonzero(np.rint(stored / step)) < _MIN_NOT_ZERO:
        return np.zeros(_MOST_STEP)
    seen = np.bincount(np.minimum(np.abs(np.rint(stored / step)), _BINS).astype(int), minlength=_BINS + 1)
    fine = np.minimum(np.abs(smooth) * _FINE, _MOST_COEFFICIENT * _FINE - 1).astype(int)
    weights = np.bincount(fine, minlength=_MOST_COEFFICIENT * _FINE)
    used = np.flatnonzero(weights)
    values, weights = (used + 0.5) / _FINE, weights[used]
    once = _likelihood(seen, values, weights, step)
    earlier = range(1, _MOST_STEP + 1)
    twice = [_likelihood(seen, np.rint(values / first) * first, weights, step) for first in earlier]
    return np.array(twice) - once


def _likelihood(seen: np.ndarray, values: np.ndarray, weights: np.ndarray, step: int) -> float:
    """Return the log-likelihood of the histogram `seen` if `values`, which occur `weights` times, are quantised with `step`."""
    bins = np.minimum(np.rint(values / step), _BINS).astype(int)
    expected = np.bincount(bins, weights, minlength=_BINS + 1).astype(float)
    if step == 1:
        expected = _blurred(expected)
    expected += 0.5  # no value is impossible
    return float((seen * np.log(expected / expected.sum())).sum())


def _blurred(histogram: np.ndarray) -> np.ndarray:
    """Return a histogram of absolute values after the rounding of decoded pixels."""
    moved = histogram * _ROUNDED
    blurred = histogram - 2 * moved
    blurred[1:] += moved[:-1]
    blurred[:-1] += moved[1:]
    blurred[1] += moved[0]  # zero moves to 1 and to -1
    return blurred


def _quality(gains: np.ndarray) -> int | None:
    """Return the libjpeg quality whose steps have the greatest sum of `gains`, if that is most of what any steps have."""
    tables = libjpeg_tables()[:, _natural()]  # (100, F)
    known = np.minimum(tables, _MOST_STEP) - 1
    sums = gains[np.arange(len(gains)), known].sum(axis=1)
    best = int(sums.argmax())
    return best + 1 if sums[best] > 0.6 * gains.max(axis=1).sum() else None


def _coefficients(plane: np.ndarray, down: int, right: int, most: int) -> np.ndarray:
    """Return the lowest DCT coefficients, float32 (N, F), of at most `most` blocks of `plane`, uint8 (H, W), whose grid begins
    at this pixel. The blocks are spread evenly.
    """
    rows, columns = (plane.shape[0] - down) // 8, (plane.shape[1] - right) // 8
    count = max(0, rows * columns)
    chosen = np.linspace(0, count - 1, min(count, most)).astype(int)
    top, left = down + chosen // max(1, columns) * 8, right + chosen % max(1, columns) * 8
    inside = np.arange(8)
    blocks = plane[top[:, None, None] + inside[:, None], left[:, None, None] + inside]  # (N, 8, 8)
    return (blocks.reshape(len(chosen), 64).astype(np.float32) - 128) @ _basis()


@cache
def _basis() -> np.ndarray:
    """Return the cosines of the lowest frequencies, float32 (64, F)."""
    place = np.arange(8)
    cosines = np.cos((2 * place + 1) * place[:, None] * np.pi / 16) / 2
    cosines[0] /= np.sqrt(2)
    waves = [np.outer(cosines[number // 8], cosines[number % 8]).ravel() for number in _natural()]
    return np.stack(waves, axis=1).astype(np.float32)


@cache
def _natural() -> np.ndarray:
    """Return the places of the lowest frequencies in a table of 8 rows and 8 columns."""
    return np.argsort(zigzag_index)[1 : _FREQUENCIES + 1]
