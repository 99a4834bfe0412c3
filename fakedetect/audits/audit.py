"""`audit`: what, other than what the pictures show, tells reals from fakes, and what lets a test be passed by memory.

The alarm goes by containers and encoding alone. What depends on the picture too is told apart, as warnings.
"""

from __future__ import annotations

import hashlib
import os
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np

from fakecore.errors import UserError
from fakecore.labels import LABEL_NAMES, LABEL_NUMBERS
from fakecore.media.duplicates import thumbnails
from fakecore.media.pixels import ImageError, decode_image, fit_square
from fakecore.progress import progress_bar, warn
from fakecore.sets.imageset import ImageSet
from fakedetect.audits.containers import Container, read_container
from fakedetect.audits.duplicates import Twinned
from fakedetect.audits.findings import Audit, leak_error
from fakedetect.audits.leaks import Cue, Folds, Strength, weigh_all, weigh_cue
from fakedetect.audits.page import write_audit_page
from fakedetect.audits.pixelcues import traces
from fakedetect.data.equalise import JPEG_QUALITY
from fakedetect.data.loading import LabelledImages, open_labelled, remedy_for_lack_of

QUICK_FILES = 2000  # of each class, before a training: enough for an AUROC to a per cent or two
# All that a container says, less what depends on the picture too, which is never part of the alarm.
CONTAINER_FACTS = tuple(field.name for field in fields(Container) if field.name != "bytes_per_pixel")
_COMPARED_AT = (64, 3)  # resolution and channels, where no set says otherwise
_WINDOW = 256  # files under way at once, so that memory stays flat


@dataclass(frozen=True)
class Files:
    """Labelled files, listed and not read; the lists run parallel. `splits` is None where there are none yet."""

    names: list[str]
    labels: np.ndarray  # (N,) real 0 / fake 1
    splits: np.ndarray | None
    groups: list[str | None]
    read: Callable[[int], bytes | np.ndarray]
    problems: list[dict]  # {"path", "status", "error", "label"} of what could not be listed
    origin: dict[str, str]
    shape: tuple[int, int]  # resolution and channels at which pictures are compared with each other


@dataclass(frozen=True)
class Look:
    """What was found out of one file. `container` is None for pixels in memory; the others, where it was not looked at so
    closely.
    """

    container: Container | None
    digest: str | None = None  # of the decoded pixels
    traces: dict[str, float] | None = None
    thumbnail: np.ndarray | None = None


def audit(
    place: Path | str | None = None,
    *,
    real: str | None = None,
    fake: str | None = None,
    out: Path | str | None = None,
    data_root: Path | str | None = None,
) -> Audit:
    """Audit every file of a set or run (`place`), or of two sources; `out` is an HTML page to write.

    Raises UserError when a class is missing or nothing can be read.
    """
    if out is not None and Path(out).suffix.lower() not in (".html", ".htm"):
        raise UserError("--out is no page", got=repr(str(out)), expected="a name that ends in .html")
    files = list_files(place, real=real, fake=fake, data_root=data_root)
    looks: dict[int, Look] = {}
    unused = list(files.problems)
    for row, look in _examine(range(len(files.names)), lambda row: _look_closely(files, row)):
        if isinstance(look, ImageError):
            path = files.names[row] if files.splits is None else str(Path(files.origin["set"]) / files.names[row])
            line = {"path": path, "status": look.status, "error": str(look)}
            unused.append(line | ({"label": LABEL_NAMES[int(files.labels[row])]} if files.splits is None else {}))
        else:
            looks[row] = look
    rows = np.array(list(looks), dtype=np.int64)
    labels = files.labels[rows]
    _require_both(labels, unused)
    names, groups = [files.names[row] for row in rows], [files.groups[row] for row in rows]
    digests = [look.digest for look in looks.values()]
    twinned = Twinned(names, labels, None if files.splits is None else files.splits[rows])
    twins = twinned.identical(digests) + twinned.straddling(groups)
    twins += twinned.near(np.stack([look.thumbnail for look in looks.values()]), digests)
    together = [digest if group is None else group for digest, group in zip(digests, groups, strict=True)]
    found = Audit(
        origin=files.origin,
        counts=_counted(labels),
        total=_counted(files.labels),
        twins=twins,
        near_searched=True,
        unused=unused,
        **_weigh(looks, labels, names, together),
    )
    if out is not None:
        row_of = {name: row for row, name in enumerate(files.names)}
        write_audit_page(Path(out), found, lambda name: decoded(files.read(row_of[name])))
    return found


def quick_audit(images: dict[str, str | None], data: LabelledImages, splits: tuple[str, ...]) -> Audit:
    """A cheap audit of what is about to be learned from or tested on: `data`, loaded from `images` (place, real, fake,
    data_root), of these `splits`.

    Headers of up to QUICK_FILES files of each class are read; pixels are those that the detector will see. Duplicates are
    those whose pixels are identical there; near-identical ones are not searched: splits were made with an eye on them.
    """
    files = list_files(**images)
    chosen = np.flatnonzero(np.isin(data.splits, splits))
    row_of = {name: row for row, name in enumerate(files.names)}

    own = [chosen[data.labels[chosen] == label] for label in LABEL_NAMES]
    picked = {row_of[data.paths[row]]: int(row) for rows in own for row in _spread(rows, QUICK_FILES)}

    def look(row: int) -> Look:
        item = files.read(row)
        container = read_container(item, files.names[row]) if isinstance(item, bytes) else None
        return Look(container, traces=traces(as_rgb(data.images[picked[row]])))

    looked = _examine(list(picked), look)
    looks = {row: found for row, found in looked if isinstance(found, Look)}  # what cannot be read `data` has listed
    rows = np.array(list(looks), dtype=np.int64)
    twinned = Twinned(
        [data.paths[row] for row in chosen], data.labels[chosen], None if files.splits is None else data.splits[chosen]
    )
    twins = twinned.identical([hashlib.sha256(data.images[row].tobytes()).hexdigest() for row in chosen])
    twins += twinned.straddling([data.groups[row] for row in chosen])
    weighed = _weigh(looks, files.labels[rows], [files.names[row] for row in rows], [files.groups[row] for row in rows])
    return Audit(
        origin=files.origin,
        counts=_counted(files.labels[rows]),
        total=_counted(data.labels[chosen]),
        twins=twins,
        near_searched=False,
        unused=[],
        **weighed,
    )


def audit_first(
    images: dict[str, str | None], data: LabelledImages, splits: tuple[str, ...], *, strict: bool, equalised: bool
) -> dict:
    """A `quick_audit` whose leaks are said on stderr; its summary, with its warnings too, for the record.

    Where the images are `equalised`, metadata that differ are no leak: they do not reach the detector, and what they left
    in the pixels was compressed once more. Raises UserError for a leak when `strict`.
    """
    found = quick_audit(images, data, splits)
    leaks, warnings = (
        [one for one in findings if not (equalised and one.kind == "metadata")]
        for findings in (found.leaks, found.warnings)
    )
    if strict and leaks:
        remedy = "Leave out --strict to go on all the same."
        if any(leak.kind == "metadata" for leak in leaks):
            remedy = f"Bring both sides to one encoding, or train with --equalise. {remedy}"
        raise leak_error(leaks, remedy)
    for leak in leaks:
        warn(f"LEAK: {leak.text}")
    told = {"leaks": [leak.text for leak in leaks], "warnings": [warning.text for warning in warnings]}
    return {**found.summary(), **told, "equalised": equalised}


def common_quality(images: dict[str, str | None]) -> int:
    """The quality at which to equalise `images` (place, real, fake, data_root): see fakedetect/data/equalise.py."""
    files = list_files(**images)
    sample = [int(row) for own in LABEL_NAMES for row in _spread(np.flatnonzero(files.labels == own), QUICK_FILES)]

    def look(row: int) -> Look:
        item = files.read(row)
        return Look(read_container(item, files.names[row]) if isinstance(item, bytes) else None)

    found = [look.container for _, look in _examine(sample, look) if isinstance(look, Look)]
    qualities = Counter(one.jpeg_quality for one in found if one is not None and one.jpeg_quality)
    return min(qualities, key=lambda quality: (-qualities[quality], quality), default=JPEG_QUALITY)


def list_files(
    place: Path | str | None = None,
    *,
    real: str | None = None,
    fake: str | None = None,
    data_root: Path | str | None = None,
) -> Files:
    """The files of a set or run (`place`), or of two sources. Raises UserError."""
    found = open_labelled(place, real=real, fake=fake, data_root=data_root)
    if isinstance(found, ImageSet):
        return Files(
            names=[record.file_name for record in found.records],
            labels=found.labels(),
            splits=found.splits(),
            groups=[record.group for record in found.records],
            read=lambda row: found.read(found.records[row]),
            problems=[],
            origin={"set": str(found.root)},
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


def _look_closely(files: Files, row: int) -> Look:
    """Everything about one file. Raises ImageError."""
    item = files.read(row)
    container = read_container(item, files.names[row]) if isinstance(item, bytes) else None
    pixels = decoded(item)
    digest = hashlib.sha256(f"{pixels.shape}".encode() + pixels.tobytes()).hexdigest()
    small = thumbnails(fit_square(pixels, *files.shape)[None])[0]
    return Look(container, digest, traces(pixels), small)


def decoded(item: bytes | np.ndarray) -> np.ndarray:
    """A file's bytes, or pixels (H, W) or (H, W, 3), as uint8 RGB (H, W, 3). Raises ImageError."""
    if isinstance(item, bytes):
        return decode_image(item)
    return as_rgb(item) if item.ndim == 2 else item


def _examine(rows: Sequence[int], look: Callable[[int], Look]) -> Iterator[tuple[int, Look | ImageError]]:
    """(row, what `look` finds, or why it cannot) in order, by threads, few files under way at once."""

    def attempt(row: int) -> Look | ImageError:
        try:
            return look(row)
        except ImageError as error:
            return error

    with ThreadPoolExecutor(os.cpu_count() or 1) as pool, progress_bar("auditing", len(rows), "files") as bar:
        for start in range(0, len(rows), _WINDOW):
            window = rows[start : start + _WINDOW]
            for row, found in zip(window, pool.map(attempt, window), strict=True):
                yield row, found
                bar.advance()


def _weigh(looks: dict[int, Look], labels: np.ndarray, names: list[str], groups: list) -> dict:
    """The parts of an Audit that come from what each file alone says; the arguments run parallel."""
    found = list(looks.values())
    stored = [place for place, look in enumerate(found) if look.container is not None]
    shown = [place for place, look in enumerate(found) if look.traces is not None]
    notes = []
    for number, label in LABEL_NAMES.items():
        loose = int((labels == number).sum() - (labels[stored] == number).sum())
        if loose:
            notes.append(
                f"{loose:,} {label} images are pixels in memory, not files: they have no container, "
                "and take no part in what is said of containers."
            )

    def folds(places: list[int]) -> Folds:
        return Folds(labels[places], [groups[place] for place in places])

    def cue(name: str, values: list, places: list[int], how: Folds) -> Cue:
        return weigh_cue(name, values, [names[place] for place in places], how)

    of_files, of_pictures = folds(stored), folds(shown)
    facts = {name: [getattr(found[place].container, name) for place in stored] for name in CONTAINER_FACTS}
    sizes = [found[place].container.bytes_per_pixel for place in stored]
    pixel_cues = [cue("bytes_per_pixel", sizes, stored, of_files)] if stored else []
    for name in found[shown[0]].traces if shown else ():
        pixel_cues.append(cue(name, [found[place].traces[name] for place in shown], shown, of_pictures))
    return {
        "metadata": weigh_all(facts, of_files) if stored else Strength(None, None),
        "cues": [cue(name, values, stored, of_files) for name, values in facts.items()] if stored else [],
        "pixel_cues": pixel_cues,
        "notes": notes,
    }


def _spread(rows: np.ndarray, count: int) -> np.ndarray:
    """Up to `count` of `rows`, spread evenly over all."""
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
