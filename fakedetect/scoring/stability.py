"""Judge an image again after light re-encodings: a verdict that does not survive them is not one to rely on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from fakecore.media.pixels import fit_square
from fakedetect.data.degrade import parse_degradation
from fakedetect.models.detector import Detector, Judgement

# What a picture meets on its way through programs and chat apps; none of them changes what it shows.
RE_ENCODINGS = tuple(map(parse_degradation, ("jpeg75", "resize0.5", "webp80", "crop0.95", "blur0.5")))
_LARGEST = 4  # times the detector's input: larger images are reduced first, as the detector would reduce them


def re_encoded(image: np.ndarray, detector: Detector, key: str) -> list[np.ndarray]:
    """Return an image, uint8 RGB (H, W, 3), after each of RE_ENCODINGS and prepared: uint8 (C, R, R). `key` names the image."""
    side = min(*image.shape[:2], _LARGEST * detector.resolution)
    square = fit_square(image, side, 3)
    return [detector.prepare(np.ascontiguousarray(one.apply(square, key).transpose(1, 2, 0))) for one in RE_ENCODINGS]


def settle(judgement: Judgement, others: Sequence[Judgement]) -> tuple[Judgement, dict]:
    """Return the final judgement of an image, given those of its re-encodings, and the fields of its row.

    The verdict is "unsure" if it flips: one version is called real and another fake. The fields are `stable` and
    `p_fake_range`, the lowest and highest p_fake of all versions.
    """
    p_fakes = [one.p_fake for one in (judgement, *others)]
    stable = not {"real", "fake"} <= {one.verdict for one in (judgement, *others)}
    final = judgement if stable else replace(judgement, verdict="unsure")
    return final, {"stable": stable, "p_fake_range": [min(p_fakes), max(p_fakes)]}


def note_on_flip(fields: dict) -> str | None:
    """Return the note for a verdict that changes among the re-encodings; None for a stable one."""
    if fields["stable"]:
        return None
    low, high = fields["p_fake_range"]
    return f"not stable: p_fake {low:.2f} to {high:.2f} after light re-encoding"
