"""Find out which pixels a network expects, and what its outputs mean, from labelled images."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, NoReturn

import numpy as np
import torch
from sklearn.metrics import roc_auc_score
from torch import nn

from fakecore.errors import UserError
from fakecore.labels import FAKE, REAL
from fakecore.progress import Bar, progress_bar
from fakedetect.adoption.opening import Foreign
from fakedetect.models.adopted import CLIP, IMAGENET, Pixels, Reading

MIN_AUROC = 0.6  # below it, which output means fake is not proved
_RANGES = (
    IMAGENET,
    ((0.0,) * 3, (1.0,) * 3),
    ((0.5,) * 3, (0.5,) * 3),
    CLIP,
    ((0.0,) * 3, (1 / 255,) * 3),
)
_CROP = 0.875  # the central share of an image that ImageNet's networks usually see
_ROUNDS = (64, 160, 400)  # images of each round
_KEPT = 3  # candidates that come into the next round
_BATCH = 16
_LARGEST = 1024  # pixels
_FAKE_NAMES = re.compile(r"fake|generated|synthetic|artificial|spoof|manipulated|\bai\b|\bgan\b", re.IGNORECASE)
_REAL_NAMES = re.compile(r"real|human|authentic|natural|genuine|pristine|original|not.?fake", re.IGNORECASE)


@dataclass(frozen=True)
class Candidate:
    """Pixels that were tried, on how many images, how well fakes and reals are then ordered, and how far they are apart (the
    difference of the mean logits over their deviation); `difference`: from the scores that the caller expects.
    """

    pixels: Pixels
    reading: Reading
    images: int
    auroc: float
    apart: float
    difference: float | None = None

    def to_json(self) -> dict[str, Any]:
        facts = {"pixels": str(self.pixels), "images": self.images, "auroc": round(self.auroc, 4)}
        return facts | ({} if self.difference is None else {"difference": self.difference})


Compare = Callable[
    [np.ndarray, np.ndarray], float
]  # rows (n,), logits (n,) -> mean difference from the expected scores


def parse_label_of(text: str) -> tuple[str, int]:
    """ "fake=1" -> ("fake", 1). Raises UserError for anything else."""
    name, _, index = text.partition("=")
    if name not in ("real", "fake") or not index.isdecimal():
        raise UserError("--label-of cannot be used", got=text, expected="fake=INDEX or real=INDEX")
    return name, int(index)


def reading_of(values: np.ndarray, foreign: Foreign, label_of: tuple[str, int] | None) -> tuple[Reading, str]:
    """Return what the outputs (N, K) mean, and who says so: "--label-of", the file, or "" if nobody does; then only the labels
    of the images can tell.

    Raises UserError for more than two outputs of which none is known to be the one of fakes or reals.
    """
    count = values.shape[1]
    bounded = values.min() >= 0 and values.max() <= 1
    if count == 1:
        kind = "probability" if bounded else "logit"
    else:
        kind = "probabilities" if bounded and np.allclose(values.sum(axis=1), 1, atol=1e-3) else "logits"
    if label_of is not None:
        of, index = label_of
        if index >= max(count, 2):
            raise UserError("--label-of names an output that the network lacks", got=index, expected=f"below {count}")
        if count == 1:  # its only output is high for what is called 1
            return Reading(kind, 0, of if index == 1 else {"fake": "real", "real": "fake"}[of]), "--label-of"
        return Reading(kind, index, of), "--label-of"
    for of, own, other in (("fake", _FAKE_NAMES, _REAL_NAMES), ("real", _REAL_NAMES, _FAKE_NAMES)):
        named = [i for i, name in enumerate(foreign.labels[:count]) if own.search(name) and not other.search(name)]
        if len(named) == 1 and count > 1:
            return Reading(kind, named[0], of), foreign.known_from or "config.json"
    if count > 2:
        names = ", ".join(f"{i} {name}" for i, name in enumerate(foreign.labels)) or f"{count} outputs without names"
        raise UserError(
            "it is not known which output is that of fakes or reals",
            got=names,
            remedy="Name it: --label-of fake=INDEX or --label-of real=INDEX.",
        )
    return Reading(kind, count - 1, "fake"), ""


@dataclass(frozen=True)
class Trials:
    """Tries what a network may expect, on labelled images.

    `images_at(resolution)` returns uint8 (N, 3, R, R), and `labels` (N,) are theirs. The best input has the highest AUROC, in
    either direction unless `label_of` or the file says which output is that of fakes; with `compare`, the smallest difference
    from the expected scores.
    """

    body: nn.Module
    foreign: Foreign
    images_at: Callable[[int], np.ndarray]
    labels: np.ndarray
    label_of: tuple[str, int] | None
    device: torch.device
    compare: Compare | None = None

    def run(self, rows: np.ndarray) -> list[Candidate]:
        """Return the inputs that were tried on `rows` (n,), reals and fakes in turn, best first.

        If the file says what the input is, only that is tried, in each size that it may have. Otherwise first both orders of
        channels with five ranges, then the best of these with other sizes and crops, then the best on more images. Raises
        UserError if no output is that of fakes or reals, or no input fits the network.
        """
        few, more, most = (min(images, len(rows)) for images in _ROUNDS)
        stated, sides = self.foreign.pixels, self.foreign.sides
        if stated is not None:
            sizes = [stated, *(replace(stated, side=side, resolution=side) for side in sides if side != stated.side)]
            with progress_bar("trying the input", most * len(sizes), "images") as bar:
                return self._round(sizes, rows[:most], bar) or self._fail()
        first = [Pixels(sides[0], sides[0], order, *own) for own in _RANGES for order in ("RGB", "BGR")]
        total = few * len(first) + more * _KEPT * (2 * len(sides) - 1) + most * _KEPT
        with progress_bar("trying inputs", total, "images") as bar:
            found = self._round(first, rows[:few], bar)
            shapes = self._round([new for one in found[:_KEPT] for new in self._reshaped(one.pixels)], rows[:more], bar)
            best = self._round([one.pixels for one in (shapes or found)[:_KEPT]], rows[:most], bar)
        ranked = {one.pixels: one for one in [*found, *shapes, *best]}  # the last trial of each counts
        return (
            sorted(ranked.values(), key=lambda one: (one.images == most, *_quality(one)), reverse=True) or self._fail()
        )

    def _reshaped(self, pixels: Pixels) -> list[Pixels]:
        """Return the same input with each side of the network, of the whole image and of its central part."""
        sizes = [
            (side, whole) for side in self.foreign.sides for whole in (side, round(side / _CROP)) if whole <= _LARGEST
        ]
        return [replace(pixels, side=side, resolution=whole) for side, whole in sizes]

    def _round(self, tried: Sequence[Pixels], rows: np.ndarray, bar: Bar) -> list[Candidate]:
        found = [one for pixels in tried if (one := self._try(pixels, rows, bar))]
        return sorted(found, key=_quality, reverse=True)

    def _try(self, pixels: Pixels, rows: np.ndarray, bar: Bar) -> Candidate | None:
        """Return the result of an input on some rows; None if the network does not take it."""
        try:
            values = np.concatenate(list(self._values(pixels, rows, bar)))
        except (RuntimeError, AssertionError, ValueError):  # torch's, timm's, transformers'
            return None
        reading, known_from = reading_of(values, self.foreign, self.label_of)
        logits = reading.logit(torch.from_numpy(values)).numpy()
        labels = self.labels[rows]
        auroc = float(roc_auc_score(labels == FAKE, logits)) if np.isfinite(logits).all() else 0.5
        if not known_from and auroc < 0.5:
            reading, logits, auroc = reading.reversed(), -logits, 1 - auroc
        reals, fakes = logits[labels == REAL], logits[labels == FAKE]
        apart = (fakes.mean() - reals.mean()) / max(float(np.hypot(reals.std(), fakes.std())), 1e-9)
        difference = self.compare(rows, logits) if self.compare else None
        return Candidate(pixels, reading, len(rows), auroc, float(apart), difference)

    def _values(self, pixels: Pixels, rows: np.ndarray, bar: Bar) -> Iterator[np.ndarray]:
        """Yield the outputs (B, K) of the network for `rows` of the images."""
        images = self.images_at(pixels.resolution)
        with torch.inference_mode():
            for start in range(0, len(rows), _BATCH):
                part = torch.from_numpy(images[rows[start : start + _BATCH]]).to(self.device)
                made = self.body(pixels.of(part))
                values = made[0] if isinstance(made, tuple) else made
                yield values.flatten(1).double().cpu().numpy()
                bar.advance(len(part))

    def _fail(self) -> NoReturn:
        sides = " or ".join(map(str, self.foreign.sides))
        raise UserError(
            "the network does not take images of its size", got=f"{sides} pixels", remedy="Give another --size."
        )


def _quality(one: Candidate) -> tuple[float, ...]:
    if one.difference is not None:
        return (-one.difference,)
    return round(one.auroc, 3), one.apart
