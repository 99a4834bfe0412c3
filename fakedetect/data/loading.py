"""Load labelled images for a detector: a set that fakelab wrote, or a folder of reals and a folder of fakes."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np

from fakecore.device import derive_seed
from fakecore.errors import UserError
from fakecore.labels import FAKE, LABEL_NAMES, LABEL_NUMBERS, REAL, SPLITS
from fakecore.progress import say
from fakecore.sets.copies import cached_groups
from fakecore.sets.folders import Source
from fakecore.sets.imageset import ImageSet, format_counts
from fakecore.sets.othershards import names_shards, open_shards
from fakecore.sets.pixelcache import CachedPixels, cached_pixels, default_side, source_channels
from fakecore.sets.places import open_set
from fakecore.sets.shardindex import IndexedPixels, streamed_pixels
from fakecore.sets.sources import open_source
from fakecore.sets.splits import DEFAULT_SPLIT, split_groups
from fakecore.sets.streaming import Pixels, StreamedPixels
from fakecore.urls import base_name, is_url
from fakedetect.data.equalise import equalised


@dataclass(frozen=True)
class LabelledImages:
    """`images` uint8 (N, C, R, R), `labels` (N,) real 0 / fake 1, `splits` (N,); the lists are parallel. Images of a streamed
    set are read at each access: read many at a time, in the order of their rows.
    """

    images: Pixels
    labels: np.ndarray
    splits: np.ndarray
    paths: list[str]
    groups: list[str | None]
    unused: list[dict]
    origin: dict  # description of the images for detector.json and reports
    sha256: Sequence[str]  # of the files' bytes
    generators: np.ndarray | None = None  # (N,) names of the sources of fakes, "" for reals; None: a single source

    @property
    def fingerprint(self) -> str:
        """Return a digest that changes when any image, label or split changes."""
        return hashlib.sha256("".join(self.sha256).encode()).hexdigest()

    @property
    def streamed(self) -> bool:
        return isinstance(self.images, StreamedPixels)

    def pixel_digests(self, rows: np.ndarray) -> list[str]:
        """Return SHA-256s of the pixels of some rows."""
        if isinstance(self.images, StreamedPixels):
            return [self.images.digests[row] for row in rows]
        return [hashlib.sha256(self.images[row].tobytes()).hexdigest() for row in rows]

    @property
    def channels(self) -> int:
        return self.images.shape[1]

    @property
    def resolution(self) -> int:
        return self.images.shape[2]

    def rows(self, split: str, label: int | None = None) -> np.ndarray:
        """Return the row numbers of a split, of one label or of both."""
        chosen = self.splits == split
        return np.flatnonzero(chosen if label is None else chosen & (self.labels == label))

    def hashes(self, rows: np.ndarray) -> list[str]:
        """Return the SHA-256 of the files of some rows."""
        return [self.sha256[row] for row in rows]

    def groups_of(self, rows: np.ndarray) -> list[str | None]:
        """Return the groups of some rows."""
        return [self.groups[row] for row in rows]

    def counts(self) -> dict[str, dict[str, int]]:
        return {s: {name: len(self.rows(s, number)) for name, number in LABEL_NUMBERS.items()} for s in SPLITS}


def load_labelled(
    place: Path | str | None = None,
    *,
    real: str | None = None,
    fake: str | None = None,
    resolution: int | None = None,
    channels: int | None = None,
    seed: int = 0,
    data_root: Path | str | None = None,
    all_test: bool = False,
    equalise_jpeg: int | None = None,
    stream: bool | None = False,
) -> LabelledImages:
    """Load and decode a set or a run (`place`), or a source of reals and one of fakes (`real`, `fake`).

    `resolution` and `channels` default to those of the set. A set has its own splits; two sources are split by the seed, or
    are the test split as a whole (`all_test`). `equalise_jpeg` is a JPEG quality for compressing every image once more.
    `stream` is that of `open_set`. Raises UserError if there are no usable images.
    """
    found = open_labelled(place, real=real, fake=fake, data_root=data_root, stream=stream)
    if isinstance(found, ImageSet):
        data = _from_set(found, resolution, channels, equalise_jpeg)
        is_whole = all_test and found.elsewhere
        return replace(data, splits=np.full(len(data.splits), "test")) if is_whole else data
    return _from_sources(*found, resolution, channels, None if all_test else seed, equalise_jpeg)


def open_labelled(
    place: Path | str | None = None,
    *,
    real: str | None = None,
    fake: str | None = None,
    data_root: Path | str | None = None,
    stream: bool | None = False,
) -> ImageSet | tuple[Source, Source]:
    """Return the set of `place`, a path or URL, or the sources of reals and of fakes, without decoding images. `stream` is that
    of `open_set`; two sources of WebDataset shards are streamed as one set. Raises UserError.
    """
    given = [f"--{name}" for name, value in (("real", real), ("fake", fake)) if value is not None]
    if place is not None:
        if given:
            raise UserError("a set cannot be combined with --real and --fake", got=f"{place} and {' and '.join(given)}")
        return open_set(place, stream)
    require_both_folders(real, fake)
    assert real and fake, "checked above"
    if stream or (stream is None and names_shards(real) and names_shards(fake)):
        return open_shards(real, fake)
    root = None if data_root is None else Path(data_root)
    sources = open_source(real, root), open_source(fake, root, label="fake")
    _refuse_overlap(*sources)
    return sources


def require_both_folders(real: str | None, fake: str | None) -> None:
    """Raise UserError unless both sources are given: without a set, both are needed."""
    if real is None or fake is None:
        neither = real is None and fake is None
        what = "no images are given" if neither else f"--{'real' if real is None else 'fake'} is missing"
        raise UserError(what, expected="a set or a run, or --real and --fake together")


def place_name(place: Path | str | None, real: str | None = None, fake: str | None = None) -> str:
    """Return the name of the images in reports: that of the run or set, or those of the two folders."""
    if place is None:
        return f"{Path(str(real)).name}-{Path(str(fake)).name}"
    if is_url(str(place)):
        place = base_name(str(place).rstrip("/").removesuffix("/set"))
    path = Path(place).absolute()
    return (path.parent if path.name == "set" else path).name


def require_both_classes(data: LabelledImages, splits: tuple[str, ...]) -> None:
    """Raise UserError unless each of `splits` contains reals and fakes: one class is not enough to train or test."""
    require_both_counted(data.counts(), splits, data.unused)


def require_both_counted(counts: dict[str, dict[str, int]], splits: tuple[str, ...], unused: list[dict]) -> None:
    """Like `require_both_classes`, for {split: {label: images}}."""
    for split in splits:
        for name in LABEL_NUMBERS:
            if counts[split][name]:
                continue
            remedy = remedy_for_lack_of(name, unused)
            if any(own[name] for own in counts.values()) and not unused:
                remedy = "Make the set again with more images or another --split."
            what = f"there are no {name} images in the {split} split"
            raise UserError(what, got=format_counts(counts), expected="both in each split", remedy=remedy)


def remedy_for_lack_of(name: str, unused: list[dict]) -> str:
    """Return the remedy for a class without usable images."""
    if unused:
        return f"{len(unused):,} files could not be used, the first: {unused[0]['path']}: {unused[0]['error']}."
    there = next(label for label in LABEL_NUMBERS if label != name)
    both = {there: "SET", name: "SOURCE"}
    return f"Combine a set of {there}s with {name}s: --real {both['real']} --fake {both['fake']}."


def _from_set(found: ImageSet, resolution: int | None, channels: int | None, jpeg: int | None) -> LabelledImages:
    names = [record.file_name for record in found.records]
    resolution, channels = resolution or found.info["resolution"], channels or found.info["channels"]

    def read(index: int) -> bytes:
        return found.read(found.records[index])

    pixels: IndexedPixels | CachedPixels
    if found.streamed:
        finish = None if jpeg is None else partial(equalised, quality=jpeg)
        pixels = streamed_pixels(
            found, resolution=resolution, channels=channels, finish=finish, finish_name=f"equalised {jpeg}"
        )
    else:
        pixels = _pixels(names, read, found.stamp(), resolution, channels, jpeg)
    rows = pixels.rows
    return LabelledImages(
        images=pixels.images,
        labels=found.labels()[rows],
        splits=found.splits()[rows],
        paths=[names[row] for row in rows],
        groups=[found.records[row].group for row in rows],
        unused=[{**line, "path": found.shown_at(line["path"])} for line in pixels.unused],
        origin={**found.named, **found.info["origin"], "own_resolution": found.info["resolution"]},
        sha256=pixels.sha256,
    )


def _refuse_overlap(reals: Source, fakes: Source) -> None:
    """Raise UserError if files are listed as both real and fake: the same folder, or one inside the other."""

    def files(source: Source) -> set[str]:
        return {str((source.folder or Path()).resolve() / name) if source.folder else name for name in source.names}

    both = files(reals) & files(fakes)
    if both:
        raise UserError(
            "--real and --fake overlap: the same files cannot be both",
            got=f"{reals.spec} and {fakes.spec}, with {len(both):,} files in common",
            expected="two folders, neither inside the other",
        )


def _from_sources(
    reals: Source, fakes: Source, resolution, channels, seed: int | None, jpeg: int | None
) -> LabelledImages:
    """Return two sources as one, split by the seed; without a seed, all images are the test split."""
    paths = [*reals.paths, *fakes.paths]
    labels = np.array([REAL] * len(reals) + [FAKE] * len(fakes), dtype=np.int64)

    def read(index: int):
        return reals.read(index) if index < len(reals) else fakes.read(index - len(reals))

    channels = channels or source_channels(paths, read)
    resolution = resolution or default_side(paths, read)
    pixels = _pixels(paths, read, f"{reals.stamp}|{fakes.stamp}", resolution, channels, jpeg)
    absent = np.setdiff1d(np.arange(len(paths)), pixels.rows)
    unused = [(labels[row], line) for row, line in zip(absent, pixels.unused, strict=True)]
    for label, source in ((REAL, reals), (FAKE, fakes)):
        unused += [(label, {"path": path, "status": "unreadable", "error": why}) for path, why in source.problems]
    for label, source in ((REAL, reals), (FAKE, fakes)):
        if not (labels[pixels.rows] == label).any():
            why = next(line["error"] for own, line in unused if own == label)
            what = f"none of the images in --{LABEL_NAMES[label]} {source.spec} can be used"
            raise UserError(what, got=f"{len(source):,} files, the first: {why}", expected="image files")
    data = LabelledImages(
        images=pixels.images,
        labels=labels[pixels.rows],
        splits=np.full(len(pixels.rows), "test"),
        paths=[paths[row] for row in pixels.rows],
        groups=[(*reals.groups, *fakes.groups)[row] for row in pixels.rows],
        unused=[{**line, "label": LABEL_NAMES[int(label)]} for label, line in unused],
        origin={"real": reals.spec, "fake": fakes.spec, **_face_cut(reals, fakes)},
        sha256=pixels.sha256,
    )
    _note_pictures_in_both(data)
    return data if seed is None else _split(data, seed)


def _face_cut(reals: Source, fakes: Source) -> dict:
    """Return {"faces": how the reals, or else the fakes, were cropped from videos}; empty if unknown."""
    cuts = [source.faces for source in (reals, fakes) if source.faces]
    if len(cuts) == 2 and cuts[0] != cuts[1]:
        both = " and ".join(map(_describe_cut, cuts))
        say(
            f"note: the faces of reals and fakes were cropped differently ({both}): the difference alone may separate "
            "them. `score` crops the faces of videos as the reals were"
        )
    return {"faces": cuts[0]} if cuts else {}


def _describe_cut(cut: dict) -> str:
    return ", ".join(f"{name} {value}" for name, value in cut.items())


def _pixels(names, read, stamp: str, resolution: int, channels: int, jpeg: int | None) -> CachedPixels:
    if jpeg is None:
        return cached_pixels(names, read, stamp, resolution=resolution, channels=channels)
    stamp, finish = f"{stamp}|equalised {jpeg}", partial(equalised, quality=jpeg)
    return cached_pixels(names, read, stamp, resolution=resolution, channels=channels, finish=finish)


def _split(data: LabelledImages, seed: int) -> LabelledImages:
    """Return the same images in three splits; copies, and images of one group, stay in one split."""
    together = cached_groups(np.asarray(data.images), data.sha256, data.groups)
    for number, name in LABEL_NAMES.items():
        own = together[data.labels == number]
        if len(np.unique(own)) < len(SPLITS):
            raise UserError(
                f"--{name} contains too few different images to train, tune and test",
                got=f"{len(own)} readable, {len(np.unique(own))} different",
                expected=f"at least {len(SPLITS)} different ones; hundreds are better",
                remedy="Copies, and images of one person or video, count as one: add others.",
            )
    splits = split_groups(together, DEFAULT_SPLIT, derive_seed(seed, "split"), data.labels)
    return replace(data, splits=splits, origin={**data.origin, "split": list(DEFAULT_SPLIT)})


def _note_pictures_in_both(data: LabelledImages) -> None:
    """Print a note if equal images are labelled real and fake."""
    pictures = np.array([hash(image.tobytes()) for image in np.asarray(data.images)])
    reals, fakes = pictures[data.labels == REAL], pictures[data.labels == FAKE]
    both = int(np.isin(reals, fakes).sum())
    if both:
        say(
            f"note: {both:,} of {len(reals):,} reals ({both / len(reals):.1%}) are also among the fakes, with equal "
            "pixels: no detector can classify both correctly"
        )
