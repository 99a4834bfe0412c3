"""`audit`: find differences between real and fake that are not the content, and images that leak into the test.

Only containers and encoding count as leaks. Differences that also depend on the content are warnings.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, fields
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from fakecore.cpus import usable_cpus
from fakecore.errors import UserError
from fakecore.labels import LABEL_NAMES, LABEL_NUMBERS
from fakecore.media.duplicates import thumbnails
from fakecore.media.pixels import ImageError, decode_image, fit_square
from fakecore.progress import progress_bar, warn
from fakecore.sets.imageset import ImageSet
from fakecore.sets.shardindex import ShardFiles
from fakecore.sets.streaming import REQUESTS, StreamedPixels
from fakecore.urls import join
from fakedetect.audits.containers import Container, read_container
from fakedetect.audits.duplicates import DuplicateFinder, SmallThumbnails
from fakedetect.audits.findings import Audit, leak_error
from fakedetect.audits.leaks import Cue, Folds, Strength, weigh_all, weigh_cue
from fakedetect.audits.page import write_audit_page
from fakedetect.audits.pixelcues import traces
from fakedetect.data.equalise import JPEG_QUALITY
from fakedetect.data.loading import LabelledImages, open_labelled, remedy_for_lack_of

QUICK_FILES = 2000  # per class, before training: enough for an AUROC within 0.01 to 0.02
# All facts of a container except those that also depend on the content, which never count as a leak.
CONTAINER_FACTS = tuple(field.name for field in fields(Container) if field.name != "bytes_per_pixel")
_COMPARED_AT = (64, 3)  # resolution and channels, unless a set defines its own
_WINDOW = 256  # files processed at once, to limit memory


@dataclass(frozen=True)
class Files:
    """Labelled files, not read yet; all lists have one entry per file. `splits` is None if there are no splits."""

    names: list[str]
    labels: np.ndarray  # (N,) real 0 / fake 1
    splits: np.ndarray | None
    groups: list[str | None]
    read: Callable[[int], bytes | np.ndarray]
    problems: list[dict]  # {"path", "status", "error", "label"} of files that could not be listed
    origin: dict[str, str]
    shape: tuple[int, int]  # resolution and channels at which images are compared
    # Of a streamed set: (row, its bytes) of every file, shard after shard. `read` is for files that were read so.
    in_order: Callable[[], Iterator[tuple[int, bytes | ImageError]]] | None = None


@dataclass(frozen=True)
class FileFacts:
    """The facts of one file. `container` is None for pixels in memory; the others are None if they were not computed."""

    container: Container | None
    digest: str | None = None  # of the decoded pixels
    traces: dict[str, float] | None = None


def audit(
    place: Path | str | None = None,
    *,
    real: str | None = None,
    fake: str | None = None,
    out: Path | str | None = None,
    data_root: Path | str | None = None,
    stream: bool | None = None,
) -> Audit:
    """Audit every file of a set or run (`place`, a path or URL), or of two sources; `out` is an HTML report to write. `stream`
    is that of `open_set`.

    Raises UserError when a class is missing or nothing can be read.
    """
    if out is not None and Path(out).suffix.lower() not in (".html", ".htm"):
        raise UserError("--out is not an HTML file", got=repr(str(out)), expected="a name that ends with .html")
    files = list_files(place, real=real, fake=fake, data_root=data_root, stream=stream)
    examined: dict[int, FileFacts] = {}
    small = SmallThumbnails(len(files.names), files.shape[1])
    unused = list(files.problems)
    work = files.in_order() if files.in_order else ((row, row) for row in range(len(files.names)))
    for row, facts in _examine(
        work, lambda row, item: _examine_file(files, row, item, small), len(files.names), usable_cpus()
    ):
        if isinstance(facts, ImageError):
            path = join(files.origin["set"], files.names[row]) if "set" in files.origin else files.names[row]
            line = {"path": path, "status": facts.status, "error": str(facts)}
            unused.append(line | ({} if "set" in files.origin else {"label": LABEL_NAMES[int(files.labels[row])]}))
        else:
            examined[row] = facts
    examined = dict(sorted(examined.items()))  # streamed files come in another order
    rows = np.array(list(examined), dtype=np.int64)
    labels = files.labels[rows]
    _require_both(labels, unused)
    names, groups = [files.names[row] for row in rows], [files.groups[row] for row in rows]
    digests = [str(facts.digest) for facts in examined.values()]
    finder = DuplicateFinder(names, labels, None if files.splits is None else files.splits[rows])
    duplicates = finder.identical(digests) + finder.straddling(groups)
    duplicates += finder.near(small.of(rows), digests)
    together = [digest if group is None else group for digest, group in zip(digests, groups, strict=True)]
    found = Audit(
        origin=files.origin,
        counts=_counted(labels),
        total=_counted(files.labels),
        duplicates=duplicates,
        near_searched=True,
        unused=unused,
        **_weigh(examined, labels, names, together),
    )
    if out is not None:
        row_of = {name: row for row, name in enumerate(files.names)}
        write_audit_page(Path(out), found, lambda name: decoded(files.read(row_of[name])))
    return found


def quick_audit(images: dict[str, str | None], data: LabelledImages, splits: tuple[str, ...]) -> Audit:
    """Audit the images of a training or test quickly: `data`, loaded from `images` (place, real, fake, data_root), `splits`.

    Reads the headers of up to QUICK_FILES files per class; uses the pixels that the detector gets. Duplicates are images
    with identical pixels; near-identical ones are not searched, because splits are made so that they stay together.
    """
    files = list_files(**images, stream=data.streamed)
    chosen = np.flatnonzero(np.isin(data.splits, splits))
    row_of = {name: row for row, name in enumerate(files.names)}

    own = [chosen[data.labels[chosen] == label] for label in LABEL_NAMES]
    picked = {row_of[data.paths[row]]: int(row) for rows in own for row in _spread(rows, QUICK_FILES)}

    def facts_of(row: int, _: int) -> FileFacts:
        item = data.images.file(picked[row]) if isinstance(data.images, StreamedPixels) else files.read(row)
        container = read_container(item, files.names[row]) if isinstance(item, bytes) else None
        return FileFacts(container, traces=traces(as_rgb(data.images[picked[row]])))

    results = _examine(
        ((row, row) for row in picked), facts_of, len(picked), REQUESTS if data.streamed else usable_cpus()
    )
    examined = {
        row: found for row, found in results if isinstance(found, FileFacts)
    }  # unreadable files are listed by `data`
    rows = np.array(list(examined), dtype=np.int64)
    finder = DuplicateFinder(
        [data.paths[row] for row in chosen], data.labels[chosen], None if files.splits is None else data.splits[chosen]
    )
    duplicates = finder.identical(data.pixel_digests(chosen))
    duplicates += finder.straddling([data.groups[row] for row in chosen])
    weighed = _weigh(
        examined, files.labels[rows], [files.names[row] for row in rows], [files.groups[row] for row in rows]
    )
    return Audit(
        origin=files.origin,
        counts=_counted(files.labels[rows]),
        total=_counted(data.labels[chosen]),
        duplicates=duplicates,
        near_searched=False,
        unused=[],
        **weighed,
    )


def audit_first(
    images: dict[str, str | None], data: LabelledImages, splits: tuple[str, ...], *, strict: bool, equalised: bool
) -> dict:
    """Run `quick_audit`, print its leaks to stderr, and return its summary with the warnings.

    If the images are `equalised`, differences in metadata are not leaks: they do not reach the detector, and their traces in
    the pixels are compressed again. Raises UserError on a leak if `strict`.
    """
    found = quick_audit(images, data, splits)
    leaks, warnings = (
        [one for one in findings if not (equalised and one.kind == "metadata")]
        for findings in (found.leaks, found.warnings)
    )
    if strict and leaks:
        remedy = "Omit --strict to continue anyway."
        if any(leak.kind == "metadata" for leak in leaks):
            remedy = f"Save both classes in the same encoding, or train with --equalise. {remedy}"
        raise leak_error(leaks, remedy)
    for leak in leaks:
        warn(f"LEAK: {leak.text}")
    texts = {"leaks": [leak.text for leak in leaks], "warnings": [warning.text for warning in warnings]}
    return {**found.summary(), **texts, "equalised": equalised}


def join_audits(audits: Sequence[dict], names: Sequence[str]) -> dict:
    """Return the summaries of `audit_first` for several sources as one: the numbers of the source whose metadata separate its
    classes best, and the leaks and warnings of all, each with the name of its source.
    """
    if len(audits) == 1:
        return audits[0]
    texts = {
        kind: [f"{name}: {text}" for name, one in zip(names, audits, strict=True) for text in one[kind]]
        for kind in ("leaks", "warnings")
    }
    return {**max(audits, key=lambda one: one["metadata_auroc"] or 0), **texts}


def common_quality(images: dict[str, str | None], stream: bool | None = False) -> int:
    """Return the JPEG quality at which to equalise `images` (place, real, fake, data_root): see fakedetect/data/equalise.py.
    Raises UserError if they are streamed.
    """
    files = list_files(**images, stream=stream)
    if files.in_order:
        what = "a streamed set cannot be equalised: the quality is that of its files, which are not read before"
        raise UserError(what, remedy="Leave out --equalise, or copy the set to the disk.")
    sample = [int(row) for own in LABEL_NAMES for row in _spread(np.flatnonzero(files.labels == own), QUICK_FILES)]

    def facts_of(row: int, _: int) -> FileFacts:
        item = files.read(row)
        return FileFacts(read_container(item, files.names[row]) if isinstance(item, bytes) else None)

    found = [
        facts.container
        for _, facts in _examine(((row, row) for row in sample), facts_of, len(sample), usable_cpus())
        if isinstance(facts, FileFacts)
    ]
    qualities = Counter(one.jpeg_quality for one in found if one is not None and one.jpeg_quality)
    return min(qualities, key=lambda quality: (-qualities[quality], quality), default=JPEG_QUALITY)


def list_files(
    place: Path | str | None = None,
    *,
    real: str | None = None,
    fake: str | None = None,
    data_root: Path | str | None = None,
    stream: bool | None = False,
) -> Files:
    """Return the files of a set or run (`place`), or of two sources; `stream` is that of `open_set`. Raises UserError."""
    found = open_labelled(place, real=real, fake=fake, data_root=data_root, stream=stream)
    if isinstance(found, ImageSet):
        shards = ShardFiles(found)
        return Files(
            names=[record.file_name for record in found.records],
            labels=found.labels(),
            splits=found.splits(),
            groups=[record.group for record in found.records],
            read=shards.read if found.streamed else lambda row: found.read(found.records[row]),
            problems=[],
            origin=found.named,
            in_order=shards.in_order if found.streamed else None,
            shape=(found.info["resolution"], found.info["channels"]),
        )
    sources = dict(zip(LABEL_NUMBERS, found, strict=True))
    reals, fakes = found

    def read(row: int) -> bytes | np.ndarray:
        return reals.read(row) if row < len(reals) else fakes.read(row - len(reals))

    return Files(
        names=[*reals.paths, *fakes.paths],
        labels=np.repeat(list(LABEL_NUMBERS.values()), [len(reals), len(fakes)]),
        splits=None,
        groups=[*reals.groups, *fakes.groups],
        read=read,
        problems=[
            {"path": path, "status": "unreadable", "error": why, "label": label}
            for label, source in sources.items()
            for path, why in source.problems
        ],
        origin={label: source.spec for label, source in sources.items()},
        shape=_COMPARED_AT,
    )


def as_rgb(image: np.ndarray) -> np.ndarray:
    """uint8 (C, H, W), C 1 or 3, or (H, W) grey -> (H, W, 3)."""
    layout = image[..., None] if image.ndim == 2 else image.transpose(1, 2, 0)
    return np.ascontiguousarray(np.broadcast_to(layout, (*layout.shape[:2], 3)))


def _examine_file(files: Files, row: int, given: int | bytes | ImageError, small: SmallThumbnails) -> FileFacts:
    """Return all facts of one file, `given` or still to be read, and put its thumbnail into `small`. Raises ImageError."""
    if isinstance(given, ImageError):
        raise given
    item = given if isinstance(given, bytes) else files.read(row)
    container = read_container(item, files.names[row]) if isinstance(item, bytes) else None
    pixels = decoded(item)
    digest = hashlib.sha256(f"{pixels.shape}".encode() + pixels.tobytes()).hexdigest()
    small.put(row, thumbnails(fit_square(pixels, *files.shape)[None])[0])
    return FileFacts(container, digest, traces(pixels))


def decoded(item: bytes | np.ndarray) -> np.ndarray:
    """Return a file's bytes, or pixels (H, W) or (H, W, 3), as uint8 RGB (H, W, 3). Raises ImageError."""
    if isinstance(item, bytes):
        return decode_image(item)
    return as_rgb(item) if item.ndim == 2 else item


def _examine(
    work: Iterable[tuple[int, Any]], facts_of: Callable[[int, Any], FileFacts], count: int, threads: int
) -> Iterator[tuple[int, FileFacts | ImageError]]:
    """Yield (row, the facts or the error) of `count` files, (row, what `facts_of` takes), in order; threads examine a limited
    number of files at once.
    """
    left = iter(work)

    def attempt(one: tuple[int, Any]) -> tuple[int, FileFacts | ImageError]:
        try:
            return one[0], facts_of(*one)
        except ImageError as error:
            return one[0], error

    with ThreadPoolExecutor(threads) as pool, progress_bar("auditing", count, "files") as bar:
        while window := list(islice(left, _WINDOW)):
            for found in pool.map(attempt, window):
                yield found
                bar.advance()


def _weigh(examined: dict[int, FileFacts], labels: np.ndarray, names: list[str], groups: list) -> dict:
    """Return the parts of an Audit that compare single files; all arguments have one entry per file."""
    found = list(examined.values())
    stored = [place for place, facts in enumerate(found) if facts.container is not None]
    shown = [place for place, facts in enumerate(found) if facts.traces is not None]
    notes = []
    for number, label in LABEL_NAMES.items():
        loose = int((labels == number).sum() - (labels[stored] == number).sum())
        if loose:
            notes.append(
                f"{loose:,} {label} images are pixels in memory, not files: they have no container, "
                "so the results on containers do not include them."
            )

    def folds(places: list[int]) -> Folds:
        return Folds(labels[places], [groups[place] for place in places])

    def cue(name: str, values: list, places: list[int], how: Folds) -> Cue:
        return weigh_cue(name, values, [names[place] for place in places], how)

    of_containers, of_pixels = folds(stored), folds(shown)
    facts = {name: [getattr(found[place].container, name) for place in stored] for name in CONTAINER_FACTS}
    containers: list[Any] = [found[place].container for place in stored]
    sizes = [one.bytes_per_pixel for one in containers]
    pixel_cues = [cue("bytes_per_pixel", sizes, stored, of_containers)] if stored else []
    traces: list[Any] = [found[place].traces for place in shown]
    for name in traces[0] if traces else ():
        pixel_cues.append(cue(name, [one[name] for one in traces], shown, of_pixels))
    return {
        "metadata": weigh_all(facts, of_containers) if stored else Strength(None, None),
        "cues": [cue(name, values, stored, of_containers) for name, values in facts.items()] if stored else [],
        "pixel_cues": pixel_cues,
        "notes": notes,
    }


def _spread(rows: np.ndarray, count: int) -> np.ndarray:
    """Return up to `count` of `rows`, spread evenly."""
    return rows[np.linspace(0, len(rows) - 1, min(count, len(rows))).astype(int)]


def _counted(labels: np.ndarray) -> dict[str, int]:
    return {name: int((labels == number).sum()) for name, number in LABEL_NUMBERS.items()}


def _require_both(labels: np.ndarray, unused: list[dict]) -> None:
    for name, count in _counted(labels).items():
        if not count:
            raise UserError(
                f"there are no {name} images to audit",
                got=", ".join(f"{n:,} {label}" for label, n in _counted(labels).items()),
                expected="both",
                remedy=remedy_for_lack_of(name, unused),
            )
