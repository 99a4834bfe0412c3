"""Score videos: find faces in frames, track them, score selected faces, then each track and the whole video.

A track's logit is the median over its scored faces, so that one blurred or misplaced face does not decide; its p_fake is
that logit with the detector's own scaling. A video gets the verdict of its most suspicious track of MIN_TRACK_S or more.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from fakecore.media.pixels import ImageError
from fakecore.media.video import frames
from fakecore.media.videostream import VideoError
from fakecore.messages import counted
from fakedetect.faces.finder import FaceFinder
from fakedetect.faces.options import FPS, VideoOptions
from fakedetect.models.detector import Detector, Judgement
from fakedetect.scoring.photofaces import suspicion
from fakedetect.scoring.pipeline import Pipeline
from fakedetect.scoring.trackscores import HIGH, MIN_TRACK_S, TrackSeen, VideoShown

NO_VIDEO: dict[str, Any] = {"frames": 0, "duration_s": None, "tracks": [], "timeline": []}


class VideoJudge:
    """Scores videos one at a time, with a few frames in memory.

    `on_progress` is called with (path, frames analysed, frames expected), `on_bytes` with the size of each piece of a large
    video at a URL that is copied first. With `keep`, `shown` maps each path to a VideoShown.
    """

    def __init__(
        self,
        detector: Detector,
        options: VideoOptions | None = None,
        *,
        on_progress: Callable[[str, int, int], None] | None = None,
        on_bytes: Callable[[int], object] | None = None,
        keep: bool = False,
    ):
        self._detector, self.options = detector, options or VideoOptions()
        self._on_progress, self.on_bytes, self._keep = on_progress, on_bytes, keep
        self.shown: dict[str, VideoShown] = {}

    @cached_property
    def finder(self) -> FaceFinder:
        """The face finder, also for photos; loaded at first use."""
        return FaceFinder(self.options.min_face, self._detector.device.type)

    def judge(self, path: str, content: Path | None = None) -> tuple[dict, Judgement | None]:
        """Return the fields of a result row without the verdict, and the verdict, or None if there is none. `content` is read
        instead of `path`, if it is given.
        """
        try:
            return self._judge(path, content or Path(path))
        except (VideoError, ImageError) as error:
            return {**NO_VIDEO, "status": error.status, "error": str(error), "note": self.options.note}, None

    def _judge(self, path: str, content: Path) -> tuple[dict, Judgement | None]:
        options = self.options
        fps = FPS if options.fps is None and options.count is None else options.fps
        video = frames(content, fps=fps, count=options.count, start_s=options.start_s, end_s=options.end_s)
        if not video.expected:
            raise VideoError("unsupported", f"it has no frames after {options.start_s:g} s: it is shorter")
        finder = None if options.whole_frame else self.finder
        with Pipeline(
            self._detector, finder, keep=self._keep, margin=options.margin, every_face=options.every_face
        ) as found:
            for frame in video:
                found.add(frame)
                if self._on_progress:
                    self._on_progress(path, found.frames, video.expected)
            found.finish()
        outcome = video.outcome
        assert outcome, "all frames were read"
        facts = {**NO_VIDEO, "frames": found.frames, "duration_s": round(outcome.whole_s, 3), "status": "ok"}
        notes = [outcome.note, found.note, options.note]
        facts |= {"error": None, "note": "; ".join(filter(None, notes)) or None}
        if not found.frames:
            raise VideoError("unreadable", f"none of its {counted(video.expected, 'frame')} to analyse can be decoded")
        if not found.tracks:
            least, frames_seen = f"{options.min_face:g} pixels", counted(found.frames, "frame")
            why = f"no face of at least {least} in {frames_seen}; --whole-frame scores whole frames"
            return facts | {"status": "no_face", "error": why}, None
        return self._verdict(path, found, facts)

    def _verdict(self, path: str, found: Pipeline, facts: dict) -> tuple[dict, Judgement]:
        """Return tracks, timeline and the video's verdict: that of the worst long track, or of any if none is long; see
        `_deciding`.
        """
        detector = self._detector
        judged = [(track, track.judged(detector), track.p_fakes(detector)) for track in found.tracks.values()]
        lasting = [one for one in judged if one[0].lasts]
        if not lasting and not self.options.whole_frame:
            facts["note"] = "; ".join(filter(None, [f"no face is visible for {MIN_TRACK_S:g} s", facts["note"]]))
        deciding = sorted(_deciding(lasting or judged), key=lambda one: suspicion(one[1]), reverse=True)
        facts["tracks"] = [
            {
                "track": track.number,
                "p_fake": judgement.p_fake,
                "verdict": judgement.verdict,
                "start_s": round(track.times[0], 3),
                "end_s": round(track.times[-1], 3),
                "frames": len(track.times),
                "judged": len(track.logits),
                "outside_domain": judgement.outside_domain,
                "p_fake_high": round(float(np.quantile(p_fakes, HIGH)), 6),
                "spread": round(float(np.std(track.logits)), 3),
            }
            for track, judgement, p_fakes in judged
        ]
        facts["timeline"] = self._timeline([(track, p_fakes) for track, _, p_fakes in deciding])
        if self._keep:
            chosen = {track.number for track, *_ in deciding}
            rest = [one for one in judged if one[0].number not in chosen]
            self.shown[path] = VideoShown(deciding + rest, len(deciding), self.options.whole_frame)
        return facts, deciding[0][1]

    @staticmethod
    def _timeline(tracks: list[tuple[TrackSeen, list[float]]]) -> list[list[float]]:
        """Return [time, highest p_fake] for each time at which a face was scored. Every track visible then counts, by its
        scored face nearest in time.
        """
        line = []
        for time_s in sorted({time_s for track, _ in tracks for time_s in track.judged_times}):
            then = []
            for track, p_fakes in tracks:
                if track.times[0] <= time_s <= track.times[-1]:
                    then.append(p_fakes[int(np.argmin(np.abs(np.array(track.judged_times) - time_s)))])
            line.append([round(time_s, 3), max(then)])
        return line


def _deciding(judged: list[tuple[TrackSeen, Judgement, list[float]]]) -> list[tuple[TrackSeen, Judgement, list[float]]]:
    """Return the tracks that can decide a video's verdict: those in the detector's domain, and those outside that are seen as
    often as any of them. The face finder takes parts of a background for faces, at times for seconds.
    """
    often = max((len(track.times) for track, judgement, _ in judged if not judgement.outside_domain), default=0)
    return [one for one in judged if not one[1].outside_domain or len(one[0].times) >= often]
