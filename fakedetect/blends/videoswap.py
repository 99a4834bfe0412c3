"""Swap a face in a video: put the face of one video over that of another, frame by frame, by landmarks and blending.

A manipulation that needs no network: test material for detectors of faces. Untouched videos should be encoded the same way
(`swap=False`) before they are compared with swapped ones.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path

import cv2
import numpy as np

from fakecore.device import derive_seed
from fakecore.errors import Interrupted, UserError
from fakecore.interrupt import StopRequest
from fakecore.media.provenance import SWAP_SENTENCE
from fakecore.media.video import frames
from fakecore.media.videowriter import video_writer
from fakecore.progress import progress_bar
from fakedetect.blends.blending import Blend, align_face, apply_blend, blend_mask, draw_blend, match_colour
from fakedetect.faces.finder import MARGIN, Face, FaceFinder

_DONOR_FRAMES = 60
_DONOR_MARGIN = 0.5  # around the donor's face: the mask may reach beyond its box
_JUMP = 0.5  # of the face's side: a face farther from that of the frame before is someone else's
_CHUNK = 16  # frames in memory


@dataclass(frozen=True)
class _Donor:
    """Faces of the donor: crops, uint8 RGB (S, S, 3), landmarks in them, (n, 5, 2), and shapes of landmarks, (n, 10)."""

    crops: list[np.ndarray]
    landmarks: list[np.ndarray]
    shapes: np.ndarray


def swap_video(
    target: Path | str,
    donor: Path | str,
    out: Path | str,
    *,
    fps: float = 12,
    end_s: float | None = None,
    crf: int = 23,
    seed: int = 0,
    swap: bool = True,
    device: str = "auto",
) -> int:
    """Write the video `target` to the new file `out` (.mp4, `fps` frames per second, H.264 of constant rate factor `crf`), its
    largest face replaced by that of the video `donor`; return the number of frames with a swapped face. With `swap=False`,
    nothing is replaced.

    Raises UserError if one of the two shows no face, VideoError for an unusable file, and Interrupted when stopped.
    """
    target, donor, out = Path(target), Path(donor), Path(out)
    if out.exists():
        raise UserError(f"{out} already exists; existing files are never overwritten", remedy="Choose another --out.")
    finder = FaceFinder(device=device)
    faces = _donor_faces(donor, finder) if swap else None
    blend = _draw_swap(np.random.default_rng(derive_seed(seed, "swap")))
    video = frames(target, fps=fps, end_s=end_s)
    size = (video.info.width, video.info.height)
    swapped, last, shown = 0, None, iter(video)
    comment = SWAP_SENTENCE if swap else None
    with (
        StopRequest() as stop,
        progress_bar("swapping", video.expected, "frames") as bar,
        video_writer(out, size, fps, comment=comment, crf=crf) as write,
    ):
        while chunk := list(islice(shown, _CHUNK)):  # a truncated video has fewer frames than expected
            found = finder.find([one.pixels for one in chunk]) if faces else [[]] * len(chunk)
            for one, seen in zip(chunk, found, strict=True):
                last = _same_face(seen, last)
                if faces and last is not None:
                    swapped += 1
                    write(_swapped(one.pixels, last, faces, blend), one.time_s)
                else:
                    write(one.pixels, one.time_s)
                bar.advance()
            if stop.asked:
                raise Interrupted("nothing was written; the same command starts over")
        if faces and not swapped:
            raise UserError(f"{target} shows no face", expected="a face of 60 pixels or more")
    return swapped


def _draw_swap(random: np.random.Generator) -> Blend:
    """Draw a blend of whole faces that is the same in all frames."""
    blend = draw_blend(random, "swap")
    return replace(blend, part="face", opacity=1.0, warp=0.0, inner_changed=True, softening="none")


def _donor_faces(donor: Path, finder: FaceFinder) -> _Donor:
    crops, landmarks, last = [], [], None
    for frame in frames(donor, count=_DONOR_FRAMES):
        (seen,) = finder.find([frame.pixels])
        last = _same_face(seen, last)
        if last is None:
            continue
        cut, points, _ = _cut_around(frame.pixels, last, _DONOR_MARGIN)
        crops.append(cut)
        landmarks.append(points)
    if not crops:
        raise UserError(f"{donor} shows no face", expected="a face of 60 pixels or more")
    shapes = np.stack([_shape(points) for points in landmarks])
    return _Donor(crops, landmarks, shapes)


def _same_face(seen: list[Face], last: Face | None) -> Face | None:
    """Return the face that continues `last`, or the largest one if there is none yet; None if it is not visible."""
    if last is None:
        return max(seen, key=lambda face: face.side, default=None)
    middle = (last.box[:2] + last.box[2:]) / 2
    near = [face for face in seen if np.linalg.norm((face.box[:2] + face.box[2:]) / 2 - middle) < _JUMP * last.side]
    return max(near, key=lambda face: face.side, default=None)


def _shape(landmarks: np.ndarray) -> np.ndarray:
    """Return landmarks without position and size, (10,), by which faces in the same pose are found."""
    moved = landmarks - landmarks.mean(axis=0)
    return (moved / max(np.linalg.norm(moved), 1e-6)).ravel()


def _cut_around(pixels: np.ndarray, face: Face, margin: float) -> tuple[np.ndarray, np.ndarray, tuple[int, int]]:
    """Return the square around a face, the border repeated, its landmarks in it, and its left upper corner."""
    side = max(8, round(face.side * (1 + 2 * margin)))
    left, top = (int(v) for v in np.round((face.box[:2] + face.box[2:]) / 2 - side / 2))
    shift = np.array([[1, 0, -left], [0, 1, -top]], np.float64)
    cut = cv2.warpAffine(pixels, shift, (side, side), flags=cv2.INTER_NEAREST, borderMode=cv2.BORDER_REPLICATE)
    return cut, face.landmarks.astype(np.float64) - (left, top), (left, top)


def _swapped(pixels: np.ndarray, face: Face, donor: _Donor, blend: Blend) -> np.ndarray:
    """Return a frame in which `face` is replaced by the donor's face in the most similar pose."""
    outer, landmarks, (left, top) = _cut_around(pixels, face, 2 * MARGIN)
    nearest = int(np.linalg.norm(donor.shapes - _shape(landmarks), axis=1).argmin())
    inner = align_face(donor.crops[nearest], donor.landmarks[nearest], landmarks, len(outer))
    inner = match_colour(inner, outer, blend_mask(blend, landmarks, len(outer)))
    mixed = apply_blend(blend, outer, landmarks, inner)
    whole = pixels.copy()
    height, width = pixels.shape[:2]
    rows, columns = (
        slice(max(0, top), min(height, top + len(mixed))),
        slice(max(0, left), min(width, left + len(mixed))),
    )
    whole[rows, columns] = mixed[rows.start - top : rows.stop - top, columns.start - left : columns.stop - left]
    return whole
