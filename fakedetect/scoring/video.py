"""Films judged: frames are looked at, faces found and followed, chosen ones judged; from those, each track and the film.

A track's logit is the median over its judged faces, so that one blurred or badly found face does not decide; its p_fake is
that logit through the detector's own temperature. A film is as fake as its worst track that lasts MIN_TRACK_S.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property
from pathlib import Path

import numpy as np

from fakecore.media.pixels import ImageError
from fakecore.media.video import VideoError, frames
from fakecore.messages import counted
from fakedetect.faces.finder import FaceFinder
from fakedetect.faces.options import FPS, Look
from fakedetect.models.detector import Detector, Judgement
from fakedetect.scoring.pipeline import Watched
from fakedetect.scoring.trackscores import MIN_TRACK_S, FilmShown, TrackSeen

_GRAVITY = {"real": 0, "unsure": 1, "fake": 2}
NO_FILM = {"frames": 0, "duration_s": None, "tracks": [], "timeline": []}


class FilmJudge:
    """Judges films, one at a time, with a few frames of one in memory.

    `watch` is called with (path, frames looked at, frames there will be). With `keep`, `shown` maps each path to a FilmShown.
    """

    def __init__(
        self,
        detector: Detector,
        look: Look | None = None,
        *,
        watch: Callable[[str, int, int], None] | None = None,
        keep: bool = False,
    ):
        self._detector, self.look = detector, look or Look()
        self._watch, self._keep = watch, keep
        self.shown: dict[str, FilmShown] = {}

    @cached_property
    def _finder(self) -> FaceFinder:
        return FaceFinder(self.look.min_face, self._detector.device.type)

    def judge(self, path: str) -> tuple[dict, Judgement | None]:
        """What a row of results says of the film beyond its judgement, and that; None where there is none."""
        try:
            return self._judge(path)
        except (VideoError, ImageError) as error:
            return {**NO_FILM, "status": error.status, "error": str(error), "note": self.look.note}, None

    def _judge(self, path: str) -> tuple[dict, Judgement | None]:
        look = self.look
        fps = FPS if look.fps is None and look.count is None else look.fps
        film = frames(Path(path), fps=fps, count=look.count, start_s=look.start_s, end_s=look.end_s)
        if not film.expected:
            raise VideoError("unsupported", f"nothing of it is shown from {look.start_s:g} s on: it is shorter")
        finder = None if look.whole_frame else self._finder
        with Watched(self._detector, finder, keep=self._keep, margin=look.margin, every_face=look.every_face) as found:
            for frame in film:
                found.add(frame)
                if self._watch:
                    self._watch(path, found.frames, film.expected)
            found.finish()
        facts = {**NO_FILM, "frames": found.frames, "duration_s": round(film.outcome.whole_s, 3), "status": "ok"}
        notes = [film.outcome.note, found.note, look.note]
        facts |= {"error": None, "note": "; ".join(filter(None, notes)) or None}
        if not found.frames:
            raise VideoError("unreadable", f"none of the {counted(film.expected, 'frame')} looked at can be decoded")
        if not found.tracks:
            why = f"no face of {look.min_face:g} pixels or more in {counted(found.frames, 'frame')}"
            return facts | {"status": "no_face", "error": why}, None
        return self._weigh(path, found, facts)

    def _weigh(self, path: str, found: Watched, facts: dict) -> tuple[dict, Judgement]:
        """Tracks, timeline and the film's own judgement: that of the worst track that lasts, or of any if none does."""
        detector = self._detector
        judged = [(track, track.judged(detector), track.p_fakes(detector)) for track in found.tracks.values()]
        lasting = [one for one in judged if one[0].lasts]
        if not lasting and not self.look.whole_frame:
            facts["note"] = "; ".join(filter(None, [f"no face stays for {MIN_TRACK_S:g} s", facts["note"]]))
        deciding = sorted(lasting or judged, key=lambda one: _gravity(one[1]), reverse=True)
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
            }
            for track, judgement, _ in judged
        ]
        facts["timeline"] = self._timeline([(track, p_fakes) for track, _, p_fakes in deciding])
        if self._keep:
            rest = [one for one in judged if lasting and not one[0].lasts]
            self.shown[path] = FilmShown(deciding + rest, len(deciding), self.look.whole_frame)
        return facts, deciding[0][1]

    @staticmethod
    def _timeline(tracks: list[tuple[TrackSeen, list[float]]]) -> list[list[float]]:
        """[time, the highest p_fake then] wherever a face was judged. Tracks have their faces judged at different times: of one
        that is there, the nearest judged face counts.
        """
        line = []
        for time_s in sorted({time_s for track, _ in tracks for time_s in track.judged_times}):
            then = []
            for track, p_fakes in tracks:
                if track.times[0] <= time_s <= track.times[-1]:
                    then.append(p_fakes[int(np.argmin(np.abs(np.array(track.judged_times) - time_s)))])
            line.append([round(time_s, 3), max(then)])
        return line


def _gravity(judgement: Judgement) -> tuple[int, float]:
    """The worse the higher. What is unlike anything in training is "unsure", however high its p_fake."""
    return _GRAVITY[judgement.verdict], judgement.p_fake
