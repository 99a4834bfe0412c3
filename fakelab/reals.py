"""Find the real images that a run was trained on: in its source, in another place, or in its set."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from fakecore.errors import UserError
from fakecore.progress import say
from fakecore.sets.imageset import ImageRecord, ImageSet, is_imageset, read_imageset
from fakecore.sets.pixelcache import cached_pixels
from fakegen.runs.reals import Reals, load_reals
from fakegen.runs.run import Run, check_same_settings


def reals_of(run: Run, places: Sequence[str], data_root: Path | None) -> Reals:
    """Return the reals that `run` was trained on, with its splits. `places` are sources to read instead of the run's own.

    Without `places`, if the source is missing or changed, the matched reals of RUN/set are used and a note says so.
    Raises UserError if the run's images are in none of these.
    """
    if places:
        return _from_places(run, places, data_root)
    try:
        reals = reals_from(run, run.facts["source"]["spec"], data_root)
        check_same_settings(run, run.preset, reals, {})
        return reals
    except UserError as error:
        own = _from_set(run)
        if own is None:
            remedy = "Give their folder with --real FOLDER."
            raise UserError(f"the real images of {run.path} cannot be found: {error.what}", remedy=remedy) from None
        asked, there = _count(run), len(own.images)
        part = "all of them" if there == asked else f"{there:,} of {asked:,}"
        say(f"note: {error.what}; the matched reals in {run.path}/set are used, {part}")
        return own


def _from_places(run: Run, places: Sequence[str], data_root: Path | None) -> Reals:
    """Return the images of the run from the source in `places` that has them. Raises UserError if unreadable or none has."""
    source, found = run.facts["source"], []
    for place in places:
        reals = reals_from(run, place, data_root)
        if reals.fingerprint == source["fingerprint"]:
            return reals
        found.append(f"{place}: {len(reals.images):,} images, fingerprint {reals.fingerprint[:12]}")
    raise UserError(
        f"--real has other images than those that {run.path} was trained on",
        got="; ".join(found),
        expected=f"{_count(run):,} images of {source['spec']}, fingerprint {source['fingerprint'][:12]}",
        remedy="Give the folder where they are now; for several runs, repeat --real for each.",
    )


def _count(run: Run) -> int:
    return sum(run.facts["source"].get("images", {}).values())


def reals_from(run: Run, spec: str, data_root: Path | None = None) -> Reals:
    """Return the images of a source, prepared and split as for `run`. Raises UserError if they cannot be read."""
    shape: dict[str, Any] = {"resolution": run.preset.resolution, "shares": tuple(run.facts["split"])}
    return load_reals(spec, seed=run.facts["seed"], data_root=data_root, **shape)


def _from_set(run: Run) -> Reals | None:
    """Return the matched reals in RUN/set, the same pixels that the GAN was trained on; None if there is no such set."""
    if not is_imageset(run.path / "set"):
        return None
    try:
        found = read_imageset(run.path / "set")
    except UserError:  # the error about the source is reported instead
        return None
    source = found.info["origin"].get("source")
    if not isinstance(source, dict) or source.get("fingerprint") != run.facts["source"]["fingerprint"]:
        return None
    # In the order of the source, so that seeded splits are the same as with the source.
    records = sorted((record for record in found.records if record.label == "real"), key=lambda record: record.index)
    if len(records) < 3 or any(record.source_sha256 is None for record in records):
        return None
    return _as_reals(run, found, records)


def _as_reals(run: Run, found: ImageSet, records: list[ImageRecord]) -> Reals:
    names = [record.file_name for record in records]
    shape: dict[str, Any] = {"resolution": run.preset.resolution, "channels": run.channels}
    pixels = cached_pixels(names, lambda i: found.read(records[i]), found.stamp(records), **shape)
    kept = [records[row] for row in pixels.rows]
    digests = [record.source_sha256 for record in kept]
    return Reals(
        spec=run.facts["source"]["spec"],
        images=pixels.images,
        splits=np.array([record.split for record in kept]),
        names=[record.source or record.file_name for record in kept],
        classes=[record.class_ for record in kept],
        groups=[record.group for record in kept],
        sha256=digests,
        unused=pixels.unused,
        fingerprint=hashlib.sha256("".join(digests).encode()).hexdigest(),
        smallest=run.facts["source"].get("smallest_side", run.preset.resolution),
    )
