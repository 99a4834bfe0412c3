"""Join several sources of fakes, each with its reals, into one labelled set that remembers which source made each fake."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from fakecore.errors import UserError
from fakecore.labels import FAKE
from fakedetect.data.loading import LabelledImages, load_labelled, place_name

Place = str | list[str] | None


def split_places(images: dict[str, Place]) -> list[dict[str, str | None]]:
    """Return the arguments of `load_labelled` for each source of fakes in `images` (place, real, fake, data_root), of which
    place or fake may be a list.
    """
    several = next((name for name in ("place", "fake") if isinstance(images.get(name), list)), None)
    if several is None:
        return [images]  # type: ignore[list-item]  # no list is among the values
    return [{**images, several: one} for one in images[several] or ()]  # type: ignore[misc, dict-item]


def load_sources(parts: Sequence[dict[str, str | None]], **shape: Any) -> list[LabelledImages]:
    """Load each of `parts`; `shape` is passed to `load_labelled`. All have the resolution and channels of the first one."""
    if len(parts) > 1:
        if shape.get("stream"):
            what = "only one set can be streamed, and several sources of fakes are given"
            raise UserError(what, got=", ".join(map(source_name, parts)), remedy="Leave out --stream, or give one set.")
        shape["stream"] = False
    loaded: list[LabelledImages] = []
    for part in parts:
        if loaded:
            shape |= {"resolution": loaded[0].resolution, "channels": loaded[0].channels}
        arguments: dict[str, Any] = {**part, **shape}
        loaded.append(load_labelled(**arguments))
    return loaded


def join(loaded: Sequence[LabelledImages], parts: Sequence[dict[str, str | None]]) -> LabelledImages:
    """Return the images of all sources as one. Files with equal bytes count once, in the split of the first source that has
    them: runs on the same images share their reals. Raises UserError if two sources have the same name.
    """
    if len(loaded) == 1:
        return loaded[0]
    names = [source_name(part) for part in parts]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise UserError("two sources of fakes have the same name", got=", ".join(twice), expected="different names")
    seen: set[str] = set()
    rows = []
    for data in loaded:
        own = [row for row, digest in enumerate(data.sha256) if digest not in seen]
        seen.update(data.sha256)
        rows.append(np.array(own, dtype=np.int64))
    pairs = list(zip(loaded, rows, strict=True))
    generators = [
        name if data.labels[row] == FAKE else "" for name, (data, own) in zip(names, pairs, strict=True) for row in own
    ]
    return LabelledImages(
        images=np.concatenate([data.images[own] for data, own in pairs]),
        labels=np.concatenate([data.labels[own] for data, own in pairs]),
        splits=np.concatenate([data.splits[own] for data, own in pairs]),
        paths=[_full_path(data, row) for data, own in pairs for row in own],
        groups=[data.groups[row] for data, own in pairs for row in own],
        unused=[line for data in loaded for line in data.unused],
        origin={
            "sources": {name: data.origin for name, data in zip(names, loaded, strict=True)},
            **_common_faces([data.origin for data in loaded]),
        },
        sha256=[data.sha256[row] for data, own in pairs for row in own],
        generators=np.array(generators),
    )


def _common_faces(origins: Sequence[dict]) -> dict:
    """Return {"faces": how the images were cropped from photos and videos} if all sources agree on it, else {}."""
    cuts = [origin.get("faces") for origin in origins]
    return {"faces": cuts[0]} if cuts[0] and all(cut == cuts[0] for cut in cuts) else {}


def without_source(data: LabelledImages, name: str) -> LabelledImages:
    """Return `data` with the fakes of one source in no split."""
    assert data.generators is not None, "only joined images have several sources"
    return replace(data, splits=np.where(data.generators == name, "left out", data.splits))


def source_name(part: dict[str, str | None]) -> str:
    """Return the name of a source of fakes: that of its run or set, or of its folder."""
    return place_name(part.get("place")) if part.get("place") else Path(str(part["fake"])).name


def _full_path(data: LabelledImages, row: int) -> str:
    root = data.origin.get("set")
    return str(Path(root) / data.paths[row]) if root else data.paths[row]
