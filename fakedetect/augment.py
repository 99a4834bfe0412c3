"""What happens to training images on their way in, drawn without a look at the label: reals and fakes fare alike."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from fakedetect.settings import DetectorSettings


@dataclass(frozen=True)
class Plan:
    """One epoch's fate of `count` images: who is flipped, blurred (sigma, pixels), resized (factor), saved as JPEG (quality).

    0 in `sigma`, `factor` or `quality` means left alone.
    """

    flip: np.ndarray
    sigma: np.ndarray
    factor: np.ndarray
    quality: np.ndarray


def plan_augmentation(count: int, settings: DetectorSettings, seed: int) -> Plan:
    """Draw an epoch's plan, arrays of (count,)."""
    random = np.random.default_rng(seed)

    def happens(probability: float) -> np.ndarray:
        return random.random(count) < probability

    return Plan(
        flip=happens(settings.flip),
        sigma=happens(settings.blur) * random.uniform(0.1, 2.0, count),
        factor=happens(settings.resize) * random.uniform(0.5, 1.0, count),
        quality=happens(settings.jpeg) * random.integers(30, 101, count),
    )


def augment(image: np.ndarray, plan: Plan, place: int) -> np.ndarray:
    """Apply the plan's entry `place` to one image, uint8 (C, R, R) -> the same."""
    layout = np.ascontiguousarray(image.transpose(1, 2, 0))  # (R, R, C), as OpenCV wants it
    side = layout.shape[0]
    if plan.flip[place]:
        layout = np.ascontiguousarray(layout[:, ::-1])
    if plan.sigma[place] > 0:
        layout = cv2.GaussianBlur(layout, (0, 0), float(plan.sigma[place]))
    if plan.factor[place] > 0:
        smaller = max(1, round(side * float(plan.factor[place])))
        layout = cv2.resize(layout, (smaller, smaller), interpolation=cv2.INTER_AREA)
        layout = cv2.resize(layout, (side, side), interpolation=cv2.INTER_LINEAR)
    if plan.quality[place] > 0:
        # Channel order does not matter to a round trip, only that it is the same both ways.
        _, data = cv2.imencode(".jpg", layout, [cv2.IMWRITE_JPEG_QUALITY, int(plan.quality[place])])
        layout = cv2.imdecode(data, cv2.IMREAD_UNCHANGED)
    return layout.reshape(side, side, -1).transpose(2, 0, 1)
