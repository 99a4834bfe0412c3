"""A film watched: faces are looked for, followed and chosen, and the chosen ones judged, all at once on several threads.

Of a track the sharpest face of each EACH_S is judged, and once FIRST are, of each LATER_S: faces a fifth of a second apart are
much alike, and on films with known fakes a third of them ranked the tracks no worse than all (docs/videos.md).
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

import cv2
import numpy as np

from fakecore.device import one_thread
from fakecore.media.pixels import fit_square
from fakecore.media.video import Frame
from fakedetect.faces.finder import BATCH, MARGIN, PART, Face, FaceFinder, between, crop, sharpness
from fakedetect.faces.options import EACH_S, FIRST, LATER_S
from fakedetect.faces.tracks import Tracker
from fakedetect.models.detector import SCORE_BATCH, Detector
from fakedetect.scoring.trackscores import TrackSeen

THUMBNAIL = 96  # pixels, on pages
# Of many frames a second, faces are looked for in those that are so far apart, every second one of usual films; between them
# boxes are carried. Of faces-1080p.mp4's faces 96 % were found so; 93 % with looks a fifth of a second apart.
_SOON_S = 0.045
_PART = 4  # images that a processor's thread judges at once: more gain nothing, and the last ones leave cores idle
_WHOLE = 1  # the track of whole frames
_AHEAD = 8  # batches of frames under way at most, however many processors there are: a frame may be 4K, of 25 MB


class Watched:
    """A film's tracks as they grow, frame by frame. A context manager: it has threads of its own."""

    def __init__(
        self, detector: Detector, finder: FaceFinder | None, *, keep: bool, margin: float | None, every_face: bool
    ):
        """Without a `finder` whole frames are judged. With `keep` tracks have boxes and pictures."""
        self._detector, self._finder, self._keep = detector, finder, keep
        trained = MARGIN if detector.face_margin is None else detector.face_margin
        self._margin = trained if margin is None else margin
        self._every_face = every_face
        self._judging = _Judging(detector)
        on_cpu = detector.device.type == "cpu"
        self._at_once, self._ahead = (PART, min(os.cpu_count() or 1, _AHEAD)) if on_cpu else (BATCH, 1)
        self._searching = ThreadPoolExecutor(self._ahead)
        self._batch: list[Frame] = []
        self._searches: deque[tuple[list[Frame], list[Frame], Future]] = deque()
        self._looked_s, self._since_look = None, 0  # when faces were last chosen to be looked for, and frames since
        self._tracker = Tracker()
        self._last: dict[int, Face] = {}  # the faces of the last look, by their tracks, and its time
        self._last_s = 0.0
        self._between: list[Frame] = []  # frames since then
        self._chosen: dict[int, _Chosen] = {}  # by their tracks
        self._enlarged = self._faces = 0
        self._frame_note: str | None = None
        self.frames = 0
        self.tracks: dict[int, TrackSeen] = {}

    def __enter__(self) -> Watched:
        return self

    def __exit__(self, *_) -> None:
        self._searching.shutdown(cancel_futures=True)
        self._judging.close()

    @property
    def note(self) -> str | None:
        """What to bear in mind of the judgements, or None."""
        side = self._detector.resolution
        if 2 * self._enlarged > self._faces:
            return f"enlarged: most of its faces are smaller than the {side}x{side} that the detector looks at"
        return self._frame_note

    def add(self, frame: Frame) -> None:
        """Look for faces in this frame soon, and follow and judge those of frames before it meanwhile."""
        self.frames += 1
        if self._finder is None:
            self._see_whole(frame)
            return
        self._batch.append(frame)
        if len(self._batch) == self._at_once:
            self._search()

    def _search(self) -> None:
        batch, self._batch = self._batch, []
        looks = self._looks(batch)
        search = self._searching.submit(self._finder.find, [frame.pixels for frame in looks])
        self._searches.append((batch, looks, search))
        if len(self._searches) > self._ahead:
            self._follow(*self._searches.popleft())

    def finish(self) -> None:
        """The film has ended: follow and judge all that is under way. In the last frame faces are always looked for, so
        that those before it lie between two looks.
        """
        if self._batch:
            self._search()
        while self._searches:
            self._follow(*self._searches.popleft())
        if self._between:
            last = self._between.pop()
            self._follow([last], [last], self._searching.submit(self._finder.find, [last.pixels]))
        for chosen in self._chosen.values():
            self._judging.add(chosen)
        self._judging.finish()

    def _see_whole(self, frame: Frame) -> None:
        self._frame_note = self._frame_note or self._detector.note_on(frame.pixels)
        height, width = frame.pixels.shape[:2]
        track = self._track(_WHOLE)
        track.see(frame.time_s, np.array([0, 0, width - 1, height - 1]) if self._keep else None)
        picture = thumbnail(frame.pixels) if self._keep else None
        prepared = self._detector.prepare(frame.pixels)
        self._judging.add(_Chosen(track, frame.time_s, 0.0, frame.time_s, prepared, picture))

    def _looks(self, batch: list[Frame]) -> list[Frame]:
        """The frames of a batch in which faces are looked for: all but those that follow too soon on such a one."""
        looks = []
        for frame in batch:
            soon = self._looked_s is not None and frame.time_s - self._looked_s < _SOON_S
            if soon and self._since_look < BATCH:
                self._since_look += 1
            else:
                looks.append(frame)
                self._looked_s, self._since_look = frame.time_s, 0
        return looks

    def _follow(self, batch: list[Frame], looks: list[Frame], search: Future) -> None:
        """Join the faces to tracks, in the order of time. In frames between two looks, a face that both saw is where it
        would be on its way from one to the other.
        """
        found = iter(search.result())
        for frame in batch:
            if not any(frame is look for look in looks):
                self._between.append(frame)
                continue
            faces = next(found)
            now = dict(zip(self._tracker.update(frame.index, frame.time_s, faces, frame.pixels), faces, strict=True))
            for held in self._between:
                share = (held.time_s - self._last_s) / (frame.time_s - self._last_s)
                for number, face in now.items():
                    if number in self._last:
                        self._see(number, held, between(self._last[number], face, share))
            for number, face in now.items():
                self._see(number, frame, face)
            self._between, self._last, self._last_s = [], now, frame.time_s
        for number in [number for number, one in self._chosen.items() if one.until_s <= self._last_s]:
            self._judging.add(self._chosen.pop(number))

    def _see(self, number: int, frame: Frame, face: Face) -> None:
        """A face of a track; the one to be judged, unless a sharper one has been there within the time that one stands for."""
        side = self._detector.resolution
        self._faces += 1
        self._enlarged += face.side * (1 + 2 * self._margin) < side
        track = self._track(number)
        track.see(frame.time_s, face.box if self._keep else None)
        chosen, sharp = self._chosen.get(number), sharpness(frame.pixels, face)
        if chosen and chosen.until_s <= frame.time_s:
            self._judging.add(self._chosen.pop(number))
            chosen = None
        if chosen is None or sharp > chosen.sharpness:
            until_s = chosen.until_s if chosen else frame.time_s + self._stands_for(track)
            prepared = self._detector.prepare(self._cut(frame, face, side))
            picture = thumbnail(self._cut(frame, face, THUMBNAIL)) if self._keep else None
            self._chosen[number] = _Chosen(track, until_s, sharp, frame.time_s, prepared, picture)

    def _stands_for(self, track: TrackSeen) -> float:
        """Seconds of a track that its next judged face is to stand for, less a rounding error."""
        if self._every_face:
            return 0.0
        track.chosen += 1
        return (EACH_S if track.chosen <= FIRST else LATER_S) - 1e-6

    def _track(self, number: int) -> TrackSeen:
        return self.tracks.setdefault(number, TrackSeen(number))

    def _cut(self, frame: Frame, face: Face, side: int) -> np.ndarray:
        """A face as `faces` cuts it, at once in the size that is wanted."""
        return crop(frame.pixels, face, margin=self._margin, size=side, align=self._detector.face_align)


@dataclass(frozen=True)
class _Chosen:
    """What of a track is to be judged, of all that it shows before `until_s`."""

    track: TrackSeen
    until_s: float
    sharpness: float
    time_s: float
    prepared: np.ndarray  # uint8 (C, R, R)
    picture: bytes | None


class _Judging:
    """Judges images on threads of its own, in parts of one size whatever the machine's, so that the rounding is one too."""

    def __init__(self, detector: Detector):
        self._detector = detector
        self._threads = (os.cpu_count() or 1) if detector.device.type == "cpu" else 1
        self._part = _PART if detector.device.type == "cpu" else SCORE_BATCH
        self._pool = ThreadPoolExecutor(self._threads)
        self._waiting: list[_Chosen] = []
        self._begun: deque[tuple[Sequence[_Chosen], Future]] = deque()

    def add(self, chosen: _Chosen) -> None:
        """Judge it as soon as there is a part. Waits where many parts are under way, so that memory stays flat."""
        self._waiting.append(chosen)
        if len(self._waiting) == self._part:
            self._begin()
        while len(self._begun) > 4 * self._threads:
            self._end()

    def finish(self) -> None:
        """Judge what is left; then all tracks know their answers."""
        if self._waiting:
            self._begin()
        while self._begun:
            self._end()

    def close(self) -> None:
        self._pool.shutdown(cancel_futures=True)

    def _begin(self) -> None:
        part, self._waiting = self._waiting, []
        self._begun.append((part, self._pool.submit(self._outputs, np.stack([one.prepared for one in part]))))

    def _outputs(self, prepared: np.ndarray) -> tuple[np.ndarray, np.ndarray | None]:
        with one_thread():
            return self._detector.outputs(prepared)

    def _end(self) -> None:
        part, judged = self._begun.popleft()
        logits, outside = judged.result()
        for place, one in enumerate(part):
            far = None if outside is None else bool(outside[place])
            one.track.judge(one.time_s, float(logits[place]), far, one.picture)


def thumbnail(image: np.ndarray) -> bytes:
    """JPEG of the middle of an image, uint8 RGB (H, W, 3), for pages."""
    small = fit_square(image, THUMBNAIL, 3).transpose(1, 2, 0)
    return cv2.imencode(".jpg", small[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 88])[1].tobytes()
