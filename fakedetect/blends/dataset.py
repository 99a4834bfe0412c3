"""`blend`: a set of real face crops and of blends made from them. A pair of real and blend has the same crop and encoding."""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import numpy as np

from fakecore.device import derive_seed
from fakecore.errors import Interrupted, UserError
from fakecore.interrupt import StopRequest
from fakecore.labels import Label
from fakecore.media.duplicates import same_picture_groups
from fakecore.media.pixels import ImageError, decode_image, fit_square
from fakecore.progress import progress_bar
from fakecore.runs.runfolder import refuse_used
from fakecore.sets.folders import Source
from fakecore.sets.imageset import ImageRecord
from fakecore.sets.setwriter import ImageSetWriter, Wanted
from fakecore.sets.sources import open_source
from fakecore.sets.splits import DEFAULT_SPLIT, split_groups
from fakedetect.blends.blending import Blend, align_face, apply_blend, blend_mask, draw_blend, match_colour
from fakedetect.faces.finder import MARGIN, SMALLEST, Face, FaceFinder

KINDS = ("self", "swap")
_SWAP_SHARE = 0.3  # of the fakes: two different faces
_ALIKE = 20  # a donor is drawn among so many faces with the most similar landmarks
_LARGEST = 256  # pixels: crops are blended at their own size, up to this
_MIN_FACE = 40  # pixels
_WINDOW = 64  # photos that threads search before a request to stop is noticed


@dataclass(frozen=True)
class BlendRecord(ImageRecord):
    """The line of a blend in metadata.jsonl: the fields of every image, and all parameters of the blend."""

    facts: dict = field(default_factory=dict)

    def to_json(self) -> dict:
        return {**super().to_json(), **self.facts}


@dataclass(frozen=True)
class Blended:
    """The result of `blend`. `unused`: {"path", "status", "error"} of photos without a usable face."""

    set: Path
    counts: dict
    unused: list[dict]


@dataclass(frozen=True)
class _Found:
    """A face of a photo: its row in the source, the square around it (left, top, side; pixels) and its landmarks in units of
    that square, (5, 2).
    """

    row: int
    square: tuple[int, int, int]
    landmarks: np.ndarray


def blend(
    real: str,
    out: Path | str,
    *,
    size: int = 128,
    copies: int = 1,
    seed: int = 0,
    margin: float = MARGIN,
    device: str = "auto",
    data_root: Path | None = None,
) -> Blended:
    """Write a set of the faces of the photos `real`, and `copies` blends of each, `size` pixels large, into the new folder
    `out`. Image i depends only on the photos, `seed` and i.

    Raises UserError if fewer than three photos show a face, and Interrupted when stopped: the same call starts over.
    """
    out = Path(out)
    if not 16 <= size <= 1024:
        raise UserError("--size cannot be used", got=size, expected="16 to 1024 pixels")
    if copies < 1:
        raise UserError("--copies is out of range", got=copies, expected="1 or more")
    refuse_used(out, made_by="a set", marker="imageset.json")
    source = open_source(real, data_root)
    faces, thumbnails, unused = _find_faces(source, FaceFinder(_MIN_FACE, device), margin)
    groups = [source.groups[face.row] for face in faces]
    if len(faces) < 3:
        what = f"too few photos in {real} show a face"
        raise UserError(what, got=len(faces), expected="three or more, hundreds are better")
    digests = [str(face.row) for face in faces]
    together = same_picture_groups(np.stack(thumbnails), digests, groups)
    splits = split_groups(together, DEFAULT_SPLIT, derive_seed(seed, "split"))
    maker = _Maker(source, faces, together, size, copies, seed)

    def records(label: Label) -> Callable:
        def of(indices: range, file_name: Callable) -> list[ImageRecord]:
            made: list[ImageRecord] = []
            for i in indices:
                place = i if label == "real" else i // copies
                split, row = splits[place], faces[place].row
                facts = {"photo": source.paths[row]} | ({} if label == "real" else maker.facts(i))
                name, group = file_name(split, label, i), f"face {together[place]}"
                made.append(BlendRecord(name, label, split, i, group=group, facts=facts))
            return made

        return of

    wanted: dict[Label, Wanted] = {
        "real": Wanted(len(faces), records("real"), maker.reals),
        "fake": Wanted(copies * len(faces), records("fake"), maker.fakes),
    }
    origin = {"made_by": "blend", "source": {"spec": real}, "seed": seed, "copies": copies}
    origin |= {"faces": {"margin": margin, "align": False, "size": size}}
    writer = ImageSetWriter(out, wanted, resolution=size, channels=3)
    try:
        with StopRequest() as stop, progress_bar("blending", writer.total, "images") as bar:
            for listed in writer.write():
                bar.advance(listed)
                if stop.asked:
                    raise Interrupted(f"{out} is incomplete: remove it and repeat the command")
        counts = writer.finish(origin=origin)["counts"]
    finally:
        writer.close()
    return Blended(out, counts, unused)


def _find_faces(source: Source, finder: FaceFinder, margin: float) -> tuple[list[_Found], list[np.ndarray], list[dict]]:
    """Return the largest face of each photo, its thumbnail, and the photos that cannot be used."""
    found, thumbnails, unused = [], [], []
    threads = os.cpu_count() or 1
    search = partial(_find_face, source, finder, margin)
    with (
        StopRequest() as stop,
        ThreadPoolExecutor(threads) as pool,
        progress_bar("finding faces", len(source), "photos") as bar,
    ):
        for start in range(0, len(source), _WINDOW):
            for result in pool.map(search, range(start, min(start + _WINDOW, len(source)))):
                if isinstance(result, dict):
                    unused.append(result)
                else:
                    found.append(result[0])
                    thumbnails.append(result[1])
                bar.advance()
            if stop.asked:
                raise Interrupted("nothing was written; the same command starts over")
    return found, thumbnails, unused


def _find_face(source: Source, finder: FaceFinder, margin: float, row: int) -> tuple[_Found, np.ndarray] | dict:
    """Return the largest face of a photo and its thumbnail, uint8 (3, 64, 64), or the line of `unused`."""
    try:
        image = _decode(source, row)
        least = max(SMALLEST, min(_MIN_FACE, 0.4 * min(image.shape[:2])))
        (faces,) = finder.find([image], least)
        if not faces:
            raise ImageError("no_face", f"no face of at least {least:.0f} pixels")
    except ImageError as error:
        return {"path": source.paths[row], "status": error.status, "error": str(error)}
    face = max(faces, key=lambda one: one.side)
    square = _square(face, margin, image.shape[:2])
    landmarks = ((face.landmarks - np.array(square[:2])) / square[2]).astype(np.float64)
    return _Found(row, square, landmarks), fit_square(_cut(image, square, 64), 64, 3)


class _Maker:
    """Makes the images of the set from their number; any thread may call it."""

    def __init__(self, source: Source, faces: list[_Found], groups: np.ndarray, size: int, copies: int, seed: int):
        self._source, self._faces, self._groups = source, faces, groups
        self._size, self._copies, self._seed = size, copies, seed
        self._shapes = np.stack([face.landmarks.ravel() for face in faces])

    def reals(self, indices: range) -> np.ndarray:
        """Return real crops, uint8 (n, 3, size, size)."""
        return np.stack([self._finish(self._crop(i)) for i in indices])

    def fakes(self, indices: range) -> np.ndarray:
        """Return blends, uint8 (n, 3, size, size)."""
        return np.stack([self._finish(self._blended(i)) for i in indices])

    def facts(self, index: int) -> dict:
        """Return the parameters of fake `index` for its line in metadata.jsonl."""
        blend, donor = self._drawn(index)
        facts = {"kind": KINDS[donor is not None], **blend.to_json()}
        return facts if donor is None else {**facts, "donor": self._source.paths[self._faces[donor].row]}

    def _drawn(self, index: int) -> tuple[Blend, int | None]:
        """Return the parameters of fake `index`, and the number of the other face of a swap, else None."""
        random = np.random.default_rng(derive_seed(self._seed, "blend", index))
        blend, swaps = draw_blend(random), random.random() < _SWAP_SHARE
        place = index // self._copies
        others = np.flatnonzero(self._groups != self._groups[place])
        if not swaps or not len(others):
            return blend, None
        apart = np.abs(self._shapes[others] - self._shapes[place]).mean(axis=1)
        return blend, int(others[np.argsort(apart, kind="stable")[random.integers(min(_ALIKE, len(others)))]])

    def _blended(self, index: int) -> np.ndarray:
        blend, donor = self._drawn(index)
        face = self._faces[index // self._copies]
        outer = self._crop(index // self._copies)
        side = len(outer)
        landmarks = side * face.landmarks
        if donor is None:
            return apply_blend(blend, outer, landmarks)
        other = self._crop(donor)
        inner = align_face(other, len(other) * self._faces[donor].landmarks, landmarks, side)
        inner = match_colour(inner, outer, blend_mask(blend, landmarks, side))
        return apply_blend(blend, outer, landmarks, inner)

    def _crop(self, place: int) -> np.ndarray:
        """Return a face at its own size, up to _LARGEST: uint8 RGB (S, S, 3)."""
        face = self._faces[place]
        return _cut(_decode(self._source, face.row), face.square, min(_LARGEST, max(self._size, face.square[2])))

    def _finish(self, image: np.ndarray) -> np.ndarray:
        return fit_square(image, self._size, 3)


def _decode(source: Source, row: int) -> np.ndarray:
    """Return a photo of the source as uint8 RGB (H, W, 3). Raises ImageError."""
    item = source.read(row)
    if isinstance(item, bytes):
        return decode_image(item)
    return np.ascontiguousarray(np.broadcast_to(item[..., None], (*item.shape, 3)) if item.ndim == 2 else item)


def _square(face: Face, margin: float, shape_hw: tuple[int, int]) -> tuple[int, int, int]:
    """Return the square around a face with a margin: left, top and side, pixels. It is moved into the photo, and its margin
    shrinks in a photo that ends close to the face; only a face larger than the photo's shorter side reaches over the border.
    """
    height, width = shape_hw
    side = max(1, min(round(face.side * (1 + 2 * margin)), max(round(face.side), min(height, width))))
    corner = np.round((face.box[:2] + face.box[2:]) / 2 - side / 2)
    for axis, length in enumerate((width, height)):
        corner[axis] = np.clip(corner[axis], 0, length - side) if side <= length else round((length - side) / 2)
    return int(corner[0]), int(corner[1]), side


def _cut(image: np.ndarray, square: tuple[int, int, int], size: int) -> np.ndarray:
    """Return a square of a photo at `size` pixels, uint8 RGB (size, size, 3); the border of the photo is repeated."""
    left, top, side = square
    height, width = image.shape[:2]
    before, after = max(0, -left, -top), max(0, left + side - width, top + side - height)
    if before or after:
        padding = ((before, after), (before, after), (0, 0))
        image, left, top = np.pad(image, padding, mode="edge"), left + before, top + before
    part = np.ascontiguousarray(image[top : top + side, left : left + side])
    return np.ascontiguousarray(fit_square(part, size, 3).transpose(1, 2, 0))
