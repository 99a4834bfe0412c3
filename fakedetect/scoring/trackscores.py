"""A face followed through a film, and what was judged of it."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from fakedetect.models.detector import Detector, Judgement

# Of many short tracks the worst is high by chance, and what the face finder takes for a face by mistake seldom lasts.
MIN_TRACK_S = 0.5
KEPT = 12  # pictures of a track, at most twice as many while the film runs


@dataclass
class TrackSeen:
    """A face followed, or the whole frame. Of the faces that were seen, one entry each in the order of time, some were
    judged; of those, some have a picture.
    """

    number: int
    times: list[float] = field(default_factory=list)  # of each frame that showed it
    boxes: list[np.ndarray] = field(default_factory=list)  # (4,) xyxy, pixels of the film; kept where they are shown
    judged_times: list[float] = field(default_factory=list)
    logits: list[float] = field(default_factory=list)
    outside: list[bool | None] = field(default_factory=list)
    pictures: list[tuple[int, bytes]] = field(default_factory=list)  # (place among the judged, JPEG)
    chosen: int = 0  # faces chosen to be judged
    _every: int = 1

    def see(self, time_s: float, box: np.ndarray | None = None) -> None:
        """A frame shows it; `box` where boxes are wanted."""
        self.times.append(time_s)
        if box is not None:
            self.boxes.append(np.array(box, np.float32))  # not a part of an array that would be kept with it

    def judge(self, time_s: float, logit: float, outside: bool | None = None, picture: bytes | None = None) -> None:
        """One of its faces was judged."""
        if picture and len(self.logits) % self._every == 0:
            self.pictures.append((len(self.logits), picture))
            if len(self.pictures) == 2 * KEPT:  # spread over the track, however long it is
                self.pictures, self._every = self.pictures[::2], 2 * self._every
        self.judged_times.append(time_s)
        self.logits.append(logit)
        self.outside.append(outside)

    @property
    def lasts(self) -> bool:
        """Whether it is there for long enough to decide about a film."""
        return self.times[-1] - self.times[0] >= MIN_TRACK_S - 1e-6

    def judged(self, detector: Detector) -> Judgement:
        """By the median of its logits; unlike anything in training when most of its faces are."""
        known = [far for far in self.outside if far is not None]
        far = np.array([2 * sum(known) > len(known)]) if known else None
        return detector.judge(np.array([np.median(self.logits)]), far)[0]

    def p_fakes(self, detector: Detector) -> list[float]:
        """Of each judged face."""
        return [one.p_fake for one in detector.judge(np.array(self.logits))]


@dataclass(frozen=True)
class FilmShown:
    """What a page shows of a film: tracks with their judgements and each face's p_fake, the one that decides first."""

    tracks: list[tuple[TrackSeen, Judgement, list[float]]]
    deciding: int  # how many of them, from the first, last long enough to decide
    whole_frame: bool
