"""The real images of a race's runs: from the source that each was trained on, from where that stands now, or from its set."""

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
    """The reals that `run` was trained on, with its splits. `places` are sources to look for them in, instead of the run's.

    Where nothing is named and the source has gone or changed, the matched reals of RUN/set stand in, and that is said.
    Raises UserError where no place holds the run's own images.
    """
    if places:
        return _named(run, places, data_root)
    try:
        reals = reals_from(run, run.facts["source"]["spec"], data_root)
        check_same_settings(run, run.preset, reals, {})
        return reals
    except UserError as error:
        own = _from_set(run)
        if own is None:
            remedy = "Say where they stand now: --real FOLDER."
            raise UserError(f"the real images of {run.path} are not to be had: {error.what}", remedy=remedy) from None
        asked, there = _count(run), len(own.images)
        part = "all of them" if there == asked else f"{there:,} of {asked:,}"
        say(f"note: {error.what}; the matched reals in {run.path}/set are used, {part}")
        return own


def _named(run: Run, places: Sequence[str], data_root: Path | None) -> Reals:
    """The source among `places` whose images are the run's. Raises UserError for one that cannot be read, or if none is."""
    source, found = run.facts["source"], []
    for place in places:
        reals = reals_from(run, place, data_root)
        if reals.fingerprint == source["fingerprint"]:
            return reals
        found.append(f"{place}: {len(reals.images):,} images, fingerprint {reals.fingerprint[:12]}")
    raise UserError(
        f"--real holds other images than those that {run.path} was trained on",
        got="; ".join(found),
        expected=f"{_count(run):,} images of {source['spec']}, fingerprint {source['fingerprint'][:12]}",
        remedy="Name the folder where they stand now; of several runs that of each, with a --real of its own.",
    )


def _count(run: Run) -> int:
    return sum(run.facts["source"].get("images", {}).values())


def reals_from(run: Run, spec: str, data_root: Path | None = None) -> Reals:
    """The images of a source, prepared and split as `run` does. Raises UserError where they cannot be read."""
    shape: dict[str, Any] = {"resolution": run.preset.resolution, "shares": tuple(run.facts["split"])}
    return load_reals(spec, seed=run.facts["seed"], data_root=data_root, **shape)


def _from_set(run: Run) -> Reals | None:
    """The matched reals in RUN/set: the very pixels that the GAN was shown. None where there is no such set."""
    if not is_imageset(run.path / "set"):
        return None
    try:
        found = read_imageset(run.path / "set")
    except UserError:  # what is wrong with the source is the better advice
        return None
    source = found.info["origin"].get("source")
    if not isinstance(source, dict) or source.get("fingerprint") != run.facts["source"]["fingerprint"]:
        return None
    # In the order of the source, so that whoever has all of them deals them out alike.
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
