"""Find out which pixels a network expects, and what its outputs mean, from labelled images."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

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
_ROUNDS = ((64, 20), (160, 8), (400, 3))  # (images, candidates that are tried on so many)
_BATCH = 16
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


def pixels_to_try(foreign: Foreign) -> list[Pixels]:
    """Return what the network may expect: what its file says, or else both orders of channels, five ranges, and two crops."""
    if foreign.pixels is not None:
        return [foreign.pixels]
    wholes = [side for side in (foreign.side, round(foreign.side / _CROP)) if side <= 1024] or [foreign.side]
    return [Pixels(foreign.side, whole, order, *own) for own in _RANGES for whole in wholes for order in ("RGB", "BGR")]


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


def try_candidates(
    body: nn.Module,
    foreign: Foreign,
    images_at: Callable[[int], np.ndarray],
    rows: np.ndarray,
    labels: np.ndarray,
    label_of: tuple[str, int] | None,
    device: torch.device,
    compare: Compare | None = None,
) -> list[Candidate]:
    """Try the candidates on labelled images: all on a few, the better ones on more. Return them, best first.

    `images_at(resolution)` returns uint8 (N, 3, R, R); `rows` (n,) are those to try, reals and fakes in turn, and `labels`
    (N,) those of all. The best has the highest AUROC, in either direction unless that is known, or with `compare` the smallest
    difference from the expected scores. Raises UserError if no output is that of fakes or reals.
    """
    waiting = pixels_to_try(foreign)
    rounds = (
        [(min(images, len(rows)), kept) for images, kept in _ROUNDS] if len(waiting) > 1 else [(min(400, len(rows)), 1)]
    )
    found: list[Candidate] = []
    with progress_bar("trying inputs", sum(n * min(kept, len(waiting)) for n, kept in rounds), "images") as bar:
        for images, kept in rounds:
            own = rows[:images]
            tried = [
                _try(body, foreign, pixels, images_at(pixels.resolution), own, labels, label_of, device, compare, bar)
                for pixels in waiting[:kept]
            ]
            tried.sort(key=_quality, reverse=True)
            found = tried + [one for one in found if one.pixels not in [new.pixels for new in tried]]
            waiting = [one.pixels for one in tried]
    return found


def _quality(one: Candidate) -> tuple[float, ...]:
    if one.difference is not None:
        return (-one.difference,)
    return round(one.auroc, 3), one.apart


def _try(
    body: nn.Module,
    foreign: Foreign,
    pixels: Pixels,
    images: np.ndarray,
    rows: np.ndarray,
    labels: np.ndarray,
    label_of: tuple[str, int] | None,
    device: torch.device,
    compare: Compare | None,
    bar: Bar,
) -> Candidate:
    values = np.concatenate(list(_values(body, pixels, images, rows, device, bar)))
    reading, known_from = reading_of(values, foreign, label_of)
    logits = reading.logit(torch.from_numpy(values)).numpy()
    auroc = _auroc(labels[rows], logits)
    if not known_from and auroc < 0.5:
        reading, logits, auroc = reading.reversed(), -logits, 1 - auroc
    reals, fakes = logits[labels[rows] == REAL], logits[labels[rows] == FAKE]
    apart = (fakes.mean() - reals.mean()) / max(float(np.hypot(reals.std(), fakes.std())), 1e-9)
    return Candidate(pixels, reading, len(rows), auroc, float(apart), compare(rows, logits) if compare else None)


def _auroc(labels: np.ndarray, logits: np.ndarray) -> float:
    if not np.isfinite(logits).all():
        return 0.5  # this input makes the network overflow
    return float(roc_auc_score(labels == FAKE, logits))


def _values(
    body: nn.Module, pixels: Pixels, images: np.ndarray, rows: np.ndarray, device: torch.device, bar: Bar
) -> Iterator[np.ndarray]:
    """Yield the outputs (B, K) of the network for `rows` of the images."""
    with torch.inference_mode():
        for start in range(0, len(rows), _BATCH):
            part = torch.from_numpy(images[rows[start : start + _BATCH]]).to(device)
            made = body(pixels.of(part))
            values = made[0] if isinstance(made, tuple) else made
            yield values.flatten(1).double().cpu().numpy()
            bar.advance(len(part))
