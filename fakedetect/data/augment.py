"""Augmentation of training images, independent of the label: reals and fakes are treated alike."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np

from fakedetect.data.degrade import (
    KINDS,
    Degradation,
    blurred,
    parse_degradation,
    resized_and_back,
    saved_as_jpeg,
)

# What happens to pictures on their way through programs and chat apps: one to three of these, of random strength.
_CHAIN = {
    "jpeg": (40, 95),
    "webp": (40, 95),
    "resize": (0.4, 1.0),
    "blur": (0.3, 1.2),
    "noise": (1.0, 6.0),
    "crop": (0.8, 1.0),
    "gamma": (0.7, 1.4),
}
_LONGEST_CHAIN = 3
# Then, if asked for, compression as a frame of a video. H.265 takes six times as long, so it is drawn less often.
_CODECS, _CODEC_SHARES, _CRF = ("avc", "hevc"), (0.8, 0.2), (18, 39)
# Degradations of validation images, one at a time: what thresholds must withstand.
WITHSTOOD = tuple(map(parse_degradation, ("jpeg75", "webp60", "resize0.5", "blur1", "noise3")))


class Augmentation(Protocol):
    """Settings of the augmentation: probabilities, [0, 1]; `shift` is a fraction of the side; `degrade_in_use` returns the
    probability of a chain of degradations.
    """

    @property
    def flip(self) -> float: ...
    @property
    def jpeg(self) -> float: ...
    @property
    def blur(self) -> float: ...
    @property
    def resize(self) -> float: ...
    @property
    def shift(self) -> float: ...
    @property
    def video(self) -> float: ...

    def degrade_in_use(self) -> float: ...


@dataclass(frozen=True)
class Plan:
    """The augmentation of `count` images in one epoch: flip, blur (sigma, pixels), resize (factor), JPEG (quality), and shift
    down and to the right (fractions of the side); then a chain of degradations, which may be empty and may end in a video.

    0 in `sigma`, `factor` or `quality` means no change.
    """

    flip: np.ndarray
    sigma: np.ndarray
    factor: np.ndarray
    quality: np.ndarray
    move: np.ndarray  # (count, 2)
    chains: tuple[tuple[Degradation, ...], ...]


def plan_augmentation(count: int, settings: Augmentation, seed: int) -> Plan:
    """Draw an epoch's plan, arrays of (count,)."""
    random = np.random.default_rng(seed)

    def happens(probability: float) -> np.ndarray:
        return random.random(count) < probability

    plan = Plan(
        flip=happens(settings.flip),
        sigma=happens(settings.blur) * random.uniform(0.1, 2.0, count),
        factor=happens(settings.resize) * random.uniform(0.5, 1.0, count),
        quality=happens(settings.jpeg) * random.integers(30, 101, count),
        move=random.uniform(-settings.shift, settings.shift, (count, 2)),
        chains=tuple(draw_chain(random) if degraded else () for degraded in happens(settings.degrade_in_use())),
    )
    if not settings.video:
        return plan
    filmed = [(_draw_video(random),) if compressed else () for compressed in happens(settings.video)]
    return replace(plan, chains=tuple(chain + video for chain, video in zip(plan.chains, filmed, strict=True)))


def plan_degradation(count: int, degradation: Degradation) -> Plan:
    """Return the plan that applies one degradation to each image and changes nothing else."""
    none = np.zeros(count)
    return Plan(none > 0, none, none, none, np.zeros((count, 2)), ((degradation,),) * count)


def draw_chain(random: np.random.Generator) -> tuple[Degradation, ...]:
    """Draw one to three different degradations of random strength, in random order."""
    kinds = random.permutation(list(_CHAIN))[: random.integers(1, _LONGEST_CHAIN + 1)]
    chain = []
    for kind in map(str, kinds):
        amount = random.uniform(*_CHAIN[kind])
        chain.append(Degradation(kind, round(amount) if KINDS[kind].whole else amount))
    return tuple(chain)


def _draw_video(random: np.random.Generator) -> Degradation:
    return Degradation(str(random.choice(_CODECS, p=_CODEC_SHARES)), int(random.integers(*_CRF)))


def augment(image: np.ndarray, plan: Plan, place: int) -> np.ndarray:
    """Apply the plan's entry `place` to one image, uint8 (C, R, R) -> the same."""
    layout = np.ascontiguousarray(image.transpose(1, 2, 0))  # (R, R, C), as OpenCV wants it
    if plan.flip[place]:
        layout = np.ascontiguousarray(layout[:, ::-1])
    if plan.move[place].any():
        layout = _moved(layout, plan.move[place])
    if plan.sigma[place] > 0:
        layout = blurred(layout, plan.sigma[place])
    if plan.factor[place] > 0:
        layout = resized_and_back(layout, plan.factor[place])
    if plan.quality[place] > 0:
        layout = saved_as_jpeg(layout, plan.quality[place])
    changed = layout.transpose(2, 0, 1)
    for number, degradation in enumerate(plan.chains[place]):
        changed = degradation.apply(changed, f"{place} {number}")
    return changed


def _moved(layout: np.ndarray, shares: np.ndarray) -> np.ndarray:
    """Return the image (R, R, C) shifted by whole pixels, which keeps their values; the border is mirrored."""
    down, right = (round(float(share) * len(layout)) for share in shares)
    padding = ((max(down, 0), max(-down, 0)), (max(right, 0), max(-right, 0)), (0, 0))
    larger = np.pad(layout, padding, mode="symmetric")
    top, left = max(-down, 0), max(-right, 0)
    return np.ascontiguousarray(larger[top : top + len(layout), left : left + len(layout)])
