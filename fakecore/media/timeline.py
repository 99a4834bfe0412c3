"""Frames of videos and animations: what they are, when they are shown, and which of them are chosen."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np


@dataclass(frozen=True)
class VideoInfo:
    """Facts from the header. `width` and `height` are as displayed, after `rotation` (degrees clockwise: 0, 90, 180, 270).

    `fps`, `frames` and `duration_s` are as the header states them; None if it states none or an implausible value.
    """

    width: int
    height: int
    fps: float | None
    frames: int | None
    duration_s: float | None
    rotation: int
    codec: str


@dataclass(frozen=True)
class Frame:
    """One frame: `index` from 0 among all frames, presentation time `time_s`, `pixels` uint8 RGB (H, W, 3)."""

    index: int
    time_s: float
    pixels: np.ndarray

    def __iter__(self) -> Iterator:
        return iter((self.index, self.time_s, self.pixels))


class Timeline:
    """`keys` holds the time of each frame, sorted, in units of `unit_s` seconds; if `timed` is False, a frame's key is its
    number.
    """

    def __init__(self, keys: list[int], unit_s: float, *, timed: bool = True):
        self.keys, self.unit_s, self.timed = keys, unit_s, timed

    def time(self, index: int) -> float:
        """Return the seconds from the first frame to frame `index`."""
        return (self.keys[index] - self.keys[0]) * self.unit_s

    def ends(self, index: int) -> float:
        """Return the end of frame `index`, seconds: the start of the next one; the last frame is as long as the one before."""
        if len(self.keys) == 1:
            return self.unit_s if not self.timed else 0.0
        return self.time(index + 1) if index + 1 < len(self.keys) else 2 * self.time(index) - self.time(index - 1)

    @cached_property
    def _times(self) -> np.ndarray:
        return (np.array(self.keys, dtype=np.float64) - self.keys[0]) * self.unit_s  # (frames,), seconds

    def choose(self, every, fps, count, start_s: float, end_s: float | None) -> list[int]:
        """Return the numbers of the selected frames, ascending."""
        tiny = self.unit_s / 2  # times are whole units: 0.1 s must not miss the frame at 0.1 s
        first = int(np.searchsorted(self._times, start_s - tiny))
        last = len(self.keys) if end_s is None else int(np.searchsorted(self._times, end_s - tiny))
        if fps is not None:
            # The number of the last wanted time, start_s + number / fps, that is not after each frame. Computed for frames, not
            # for wanted times: a damaged file may claim to last for years.
            shown_s, step_s = self._times[first:last], 1 / fps
            number = np.floor((shown_s + tiny - start_s) / step_s)
            number += start_s + (number + 1) * step_s - tiny <= shown_s  # division rounds
            number -= start_s + number * step_s - tiny > shown_s
            return (first + np.flatnonzero(np.diff(number, prepend=-1) > 0)).tolist()
        if count is not None:
            shown = min(count, max(0, last - first))
            return [first + int((place + 0.5) * (last - first) / shown) for place in range(shown)]
        return list(range(first, last, every or 1))
