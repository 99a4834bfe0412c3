"""What a streamed set holds in memory for a training: part of its validation images."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from fakecore.labels import LABEL_NAMES
from fakecore.progress import say
from fakecore.sets.streaming import StreamedPixels
from fakedetect.data.loading import LabelledImages

SPARE = "spare"  # the split of validation images that are not used


def with_validation_in_memory(data: LabelledImages, most: int) -> LabelledImages:
    """Return streamed `data` with at most about `most` validation images, which are now in memory, spread over the split; the
    others are in no split. Images in memory are returned as they are.
    """
    images = data.images
    if not isinstance(images, StreamedPixels):
        return data
    val = data.rows("val")
    share = min(1.0, most / max(1, len(val)))
    rows = [_spread(data.rows("val", label), share) for label in LABEL_NAMES]
    kept = np.sort(np.concatenate(rows))
    splits = data.splits.copy()
    splits[np.setdiff1d(val, kept)] = SPARE
    images.keep(kept)
    megabytes = len(kept) * int(np.prod(images.shape[1:])) / 1e6
    say(f"streaming; {len(kept):,} of {len(val):,} validation images are used and held in memory ({megabytes:,.0f} MB)")
    facts = {"validation": {"used": len(kept), "of": len(val)}}
    return replace(data, splits=splits, origin={**data.origin, "streamed": facts})


def _spread(rows: np.ndarray, share: float) -> np.ndarray:
    """Return a share of `rows`, spread evenly; at least one."""
    count = min(len(rows), max(1, int(len(rows) * share)))
    return rows[np.linspace(0, len(rows) - 1, count).astype(int)]
