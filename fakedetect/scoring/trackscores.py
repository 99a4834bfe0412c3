"""The track of one face through a video, and its scores."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from fakedetect.models.detector import Detector, Judgement

# Among many short tracks, the highest score is high by chance; false detections of the face finder rarely last.
MIN_TRACK_S = 0.5
HIGH = 0.8  # the quantile of a track's p_fakes that results also state
THUMBNAILS = 12  # per track; up to twice as many during the analysis


@dataclass
class TrackSeen:
    """One face over time, or the whole frame. `times` has an entry for each frame that shows the face. Some of its faces
    are scored; some of those have a thumbnail.
    """

    number: int
    times: list[float] = field(default_factory=list)  # of each frame that shows it
    boxes: list[np.ndarray] = field(default_factory=list)  # (4,) xyxy, pixels of the video; only if a report needs them
    judged_times: list[float] = field(default_factory=list)
    logits: list[float] = field(default_factory=list)
    outside: list[bool | None] = field(default_factory=list)
    thumbnails: list[tuple[int, bytes]] = field(default_factory=list)  # (index among the scored faces, JPEG)
    chosen: int = 0  # faces selected for scoring
    _every: int = 1

    def add_frame(self, time_s: float, box: np.ndarray | None = None) -> None:
        """Add a frame that shows the face; with `box`, keep its box."""
        self.times.append(time_s)
        if box is not None:
            self.boxes.append(np.array(box, np.float32))  # a copy, so that the larger array can be freed

    def add_score(
        self, time_s: float, logit: float, outside: bool | None = None, image_jpeg: bytes | None = None
    ) -> None:
        """Add the score of one of its faces."""
        if image_jpeg and len(self.logits) % self._every == 0:
            self.thumbnails.append((len(self.logits), image_jpeg))
            if len(self.thumbnails) == 2 * THUMBNAILS:  # keep them spread evenly over the track
                self.thumbnails, self._every = self.thumbnails[::2], 2 * self._every
        self.judged_times.append(time_s)
        self.logits.append(logit)
        self.outside.append(outside)

    @property
    def lasts(self) -> bool:
        """Whether the track is long enough to decide the verdict of a video."""
        return self.times[-1] - self.times[0] >= MIN_TRACK_S - 1e-6

    def judged(self, detector: Detector) -> Judgement:
        """Return the track's verdict from the median of its logits; out of domain if most of its faces are."""
        known = [far for far in self.outside if far is not None]
        return detector.judge_track(self.logits, 2 * sum(known) > len(known) if known else None)

    def p_fakes(self, detector: Detector) -> list[float]:
        """Return p_fake of each scored face."""
        return [one.p_fake for one in detector.judge(np.array(self.logits))]


@dataclass(frozen=True)
class VideoShown:
    """What a report shows of a video: tracks with their verdicts and each face's p_fake; the deciding track first."""

    tracks: list[tuple[TrackSeen, Judgement, list[float]]]
    deciding: int  # number of tracks, from the first, that are long enough to decide
    whole_frame: bool
