"""Which images of a set are one picture, from the cache or found."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence

import numpy as np

from fakecore.files import atomic_path, write_json
from fakecore.media.duplicates import same_picture_groups
from fakecore.runs.cache import limit_bytes, prune
from fakecore.sets.pixelcache import cache_root

_VERSION = 2  # increase it if fakecore.media.duplicates finds other pairs
_MANY = 2000  # images from which on the answer is kept
_SAMPLE = 64  # images whose pixels are part of the key


def cached_groups(images: np.ndarray, hashes: Sequence[str], groups: Sequence[str | None]) -> np.ndarray:
    """Return `same_picture_groups` of the same arguments, int (N,). For many images the answer is kept in the cache."""
    if len(images) < _MANY:
        return same_picture_groups(images, hashes, groups)
    sample = images[np.linspace(0, len(images) - 1, _SAMPLE).astype(int)]
    about = json.dumps([_VERSION, images.shape, list(hashes), list(groups)]).encode()
    path = cache_root() / f"same-{hashlib.sha256(about + sample.tobytes()).hexdigest()[:24]}.npy"
    facts = path.with_suffix(".json")
    try:
        found = np.load(path, allow_pickle=False)
        if len(found) == len(images) and facts.is_file():
            facts.touch()  # time of last use, for pruning
            return found
    except (OSError, ValueError, EOFError):
        pass
    found = same_picture_groups(images, hashes, groups)
    with atomic_path(path) as temporary:
        np.save(temporary, found)
    write_json(facts, {"images": len(found)})
    prune(path, limit_bytes())
    return found
