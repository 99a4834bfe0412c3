"""Find the faces of photos that `blend` works on, and cut them out."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial

import numpy as np

from fakecore.cpus import usable_cpus
from fakecore.errors import Interrupted
from fakecore.interrupt import StopRequest
from fakecore.media.pixels import ImageError, decode_image, fit_square
from fakecore.progress import progress_bar
from fakecore.sets.folders import Source
from fakedetect.faces.finder import SMALLEST, Face, FaceFinder
from fakedetect.faces.mesh import FaceMesh

MIN_FACE = 40  # pixels
_WINDOW = 64  # photos that threads search before a request to stop is noticed


@dataclass(frozen=True)
class PhotoFace:
    """A face of a photo: its row in the source, the square around it (left, top, side; pixels), and in units of that square
    its landmarks, (5, 2), and its mesh, (468, 3); None where no mesh fits.
    """

    row: int
    square: tuple[int, int, int]
    landmarks: np.ndarray
    mesh: np.ndarray | None = None


def join_sources(sources: Sequence[Source]) -> Source:
    """Return several sources as one. Groups of different sources are different."""
    if len(sources) == 1:
        return sources[0]
    places = [(source, row) for source in sources for row in range(len(source))]

    def read(index: int) -> bytes | np.ndarray:
        source, row = places[index]
        return source.read(row)

    groups = [None if s.groups[row] is None else f"{s.spec} {s.groups[row]}" for s, row in places]
    problems = [problem for source in sources for problem in source.problems]
    names = [path for source in sources for path in source.paths]
    classes = [source.classes[row] for source, row in places]
    spec, stamp = (", ".join(getattr(source, name) for source in sources) for name in ("spec", "stamp"))
    return Source(spec, names, classes, groups, read, stamp, problems)


def find_faces(
    source: Source, finder: FaceFinder, margin: float
) -> tuple[list[PhotoFace], list[np.ndarray], list[dict]]:
    """Return the largest face of each photo, its thumbnail, and the photos that cannot be used."""
    found, thumbnails, unused = [], [], []
    threads = usable_cpus()
    search = partial(_find_face, source, finder, FaceMesh(), margin)
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


def _find_face(
    source: Source, finder: FaceFinder, fitter: FaceMesh, margin: float, row: int
) -> tuple[PhotoFace, np.ndarray] | dict:
    """Return the largest face of a photo and its thumbnail, uint8 (3, 64, 64), or the line of `unused`."""
    try:
        image = decode_row(source, row)
        least = max(SMALLEST, min(MIN_FACE, 0.4 * min(image.shape[:2])))
        (faces,) = finder.find([image], least)
        if not faces:
            raise ImageError("no_face", f"no face of at least {least:.0f} pixels")
    except ImageError as error:
        return {"path": source.paths[row], "status": error.status, "error": str(error)}
    face = max(faces, key=lambda one: one.side)
    square = _square(face, margin, image.shape[:2])
    corner = np.array([*square[:2], 0.0])
    landmarks = ((face.landmarks - corner[:2]) / square[2]).astype(np.float64)
    mesh = fitter.fit(image, face.landmarks)
    mesh = None if mesh is None else ((mesh - corner) / square[2]).astype(np.float32)
    return PhotoFace(row, square, landmarks, mesh), fit_square(cut_square(image, square, 64), 64, 3)


def decode_row(source: Source, row: int) -> np.ndarray:
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


def cut_square(image: np.ndarray, square: tuple[int, int, int], size: int) -> np.ndarray:
    """Return a square of a photo at `size` pixels, uint8 RGB (size, size, 3); the border of the photo is repeated."""
    left, top, side = square
    height, width = image.shape[:2]
    before, after = max(0, -left, -top), max(0, left + side - width, top + side - height)
    if before or after:
        padding = ((before, after), (before, after), (0, 0))
        image, left, top = np.pad(image, padding, mode="edge"), left + before, top + before
    part = np.ascontiguousarray(image[top : top + side, left : left + side])
    return np.ascontiguousarray(fit_square(part, size, 3).transpose(1, 2, 0))
