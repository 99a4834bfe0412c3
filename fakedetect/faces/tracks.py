"""Track faces over frames: one track per face, until the face disappears or the video cuts to another scene."""

from __future__ import annotations

import math
from bisect import bisect_right
from dataclasses import dataclass

import cv2
import numpy as np

from fakedetect.faces.finder import Face

MAX_GAP = 5  # searched frames without the face, after which a track ends
MAX_GAP_S = 2.0  # seconds without the face, after which a track ends
# Fraction of pixels that change colour between searched frames, [0, 1]. Within two test videos: at most 0.04; between them:
# at least 0.58; in an image that becomes a fifth darker: 0.24.
CUT = 0.35
# Minimum generalised IoU of a face and its expected box. A person who crosses the image moves by two box sides in a fifth
# of a second: -0.5. After a gap too long to predict motion, boxes must overlap.
_MIN_GIOU, _MIN_GIOU_FAR = -0.5, 0.2
_FAR_S = 1.0
_MAX_GROWTH, _MAX_GROWTH_APART = 1.8, 1.4  # maximum ratio of sides; the second for boxes that do not touch
# If several tracks match, prefer one of similar size that was found recently. Penalties in GIoU: for a face e times as
# large, and for each searched frame without the face.
_SIZE_PENALTY, _MISSED_PENALTY = 0.5, 0.1
_SHADES = 8  # of each colour
_AROUND_S = 0.25  # a box is shown this long before its first sighting and after its last


@dataclass(frozen=True)
class Sighting:
    """A face of a track in frame `index`, shown at `time_s`."""

    index: int
    time_s: float
    face: Face


@dataclass
class Track:
    """One face over frames. `number` counts the tracks of a video from 1, in order of their start."""

    number: int
    last: Sighting
    start_s: float
    before: Sighting | None = None  # the one before the last
    seen: int = 1  # number of sightings; only two are stored, to limit memory
    missed: int = 0  # searched frames since the last sighting

    @property
    def end_s(self) -> float:
        return self.last.time_s

    def add(self, sighting: Sighting) -> None:
        """Add the next sighting."""
        self.before, self.last, self.seen = self.last, sighting, self.seen + 1

    def expected(self, time_s: float) -> np.ndarray:
        """Return the expected box (4,) at `time_s`, extrapolated from the last two sightings."""
        last, before = self.last, self.before
        if before is None:
            return last.face.box
        passed, ahead = last.time_s - before.time_s, time_s - last.time_s
        if not 0 < passed <= _FAR_S or not 0 < ahead <= _FAR_S:
            return last.face.box
        motion = (_middle(last.face.box) - _middle(before.face.box)) / passed * ahead
        return last.face.box + np.concatenate([motion, motion])


class Tracker:
    """Builds tracks; call `update` for each frame in order. `tracks` has all tracks so far, `cuts` the times of cuts."""

    def __init__(self) -> None:
        self.tracks: list[Track] = []
        self.cuts: list[float] = []
        self._open: list[Track] = []
        self._colours: np.ndarray | None = None

    def update(self, index: int, time_s: float, faces: list[Face], pixels: np.ndarray | None = None) -> list[int]:
        """Return the track number of each face. Compares `pixels`, uint8 RGB (H, W, 3), with the previous frame: all tracks
        end at a cut.
        """
        if pixels is not None:
            colours, before = _colours(pixels), self._colours
            if before is not None and difference(colours, before) > CUT:
                self._open = []
                self.cuts.append(time_s)
            self._colours = colours
        self._open = [track for track in self._open if self._is_open(track, time_s)]
        owners: list[Track | None] = [None] * len(faces)
        for place, track in self._matches(faces, time_s):
            owners[place] = track
        for track in self._open:
            track.missed = 0 if any(owner is track for owner in owners) else track.missed + 1
        numbers = []
        for place, face in enumerate(faces):
            owner, sighting = owners[place], Sighting(index, time_s, face)
            if owner is None:
                owner = Track(len(self.tracks) + 1, sighting, time_s)
                self.tracks.append(owner)
                self._open.append(owner)
            else:
                owner.add(sighting)
            numbers.append(owner.number)
        return numbers

    def _is_open(self, track: Track, time_s: float) -> bool:
        return track.missed <= MAX_GAP and (not track.missed or time_s - track.end_s <= MAX_GAP_S)

    def _matches(self, faces: list[Face], time_s: float) -> list[tuple[int, Track]]:
        """Return (index of a face, its track) with the best total match."""
        from scipy.optimize import linear_sum_assignment

        if not faces or not self._open:
            return []
        matches = np.empty((len(faces), len(self._open)))
        for column, track in enumerate(self._open):
            box, side = track.expected(time_s), track.last.face.side
            least = _MIN_GIOU if time_s - track.end_s <= _FAR_S else _MIN_GIOU_FAR
            for row, face in enumerate(faces):
                growth = max(face.side, side) / max(min(face.side, side), 1e-9)
                value = generalised_iou(face.box, box)
                most = _MAX_GROWTH if value > 0 else _MAX_GROWTH_APART
                match = value - _SIZE_PENALTY * math.log(growth) - _MISSED_PENALTY * track.missed
                matches[row, column] = match if value >= least and growth <= most else -9.0
        rows, columns = linear_sum_assignment(-matches)
        return [(r, self._open[c]) for r, c in zip(rows.tolist(), columns.tolist(), strict=True) if matches[r, c] > -9]


def box_at(
    times: list[float], boxes: list[np.ndarray], time_s: float, around_s: float = _AROUND_S
) -> np.ndarray | None:
    """Return the box (4,) xyxy of a track at a time: interpolated between sightings, constant for up to `around_s` before the
    first and after the last; None if the face is not visible.
    """
    after = bisect_right(times, time_s)
    if after == 0:
        return boxes[0] if times[0] - time_s <= around_s else None
    before_s = times[after - 1]
    if after == len(times):
        return boxes[-1] if time_s - before_s <= around_s else None
    passed = times[after] - before_s
    if passed > MAX_GAP_S:
        return boxes[after - 1] if time_s - before_s <= around_s else None
    fraction = (time_s - before_s) / passed
    return (1 - fraction) * boxes[after - 1] + fraction * boxes[after]


def generalised_iou(one: np.ndarray, other: np.ndarray) -> float:
    """Return the generalised IoU of two boxes (Rezatofighi et al., 2019): 1 if equal, about 0 if touching, towards -1 apart."""
    shared = np.prod(np.maximum(np.minimum(one[2:], other[2:]) - np.maximum(one[:2], other[:2]), 0))
    union = np.prod(one[2:] - one[:2]) + np.prod(other[2:] - other[:2]) - shared
    around = np.prod(np.maximum(one[2:], other[2:]) - np.minimum(one[:2], other[:2]))
    if union <= 0 or around <= 0:
        return -1.0
    return float(shared / union - (around - union) / around)


def difference(one: np.ndarray, other: np.ndarray) -> float:
    """Return the distance of two histograms that sum to 1, [0, 1]: the fraction that differs."""
    return float(np.abs(one - other).sum() / 2)


def _colours(pixels: np.ndarray) -> np.ndarray:
    """Return the colour histogram (512,) of a small copy of the frame; it sums to 1. It is smoothed, so that a flat wall that
    becomes slightly darker does not change bins abruptly.
    """
    from scipy.ndimage import gaussian_filter

    small = cv2.resize(pixels, (64, 36), interpolation=cv2.INTER_AREA)
    counts = cv2.calcHist([small], [0, 1, 2], None, [_SHADES] * 3, [0, 256] * 3)
    return gaussian_filter(counts / counts.sum(), 1.0, mode="nearest").reshape(-1)


def _middle(box: np.ndarray) -> np.ndarray:
    return (box[:2] + box[2:]) / 2
