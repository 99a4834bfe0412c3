"""The video pipeline: find faces, track them, select some and score those, in parallel on several threads.

In each track the sharpest face of every EACH_S seconds is scored, after FIRST of them of every LATER_S: faces a fifth of a
second apart are similar. On videos with known fakes, a third of the faces ranks tracks as well as all (docs/lab/videos.md).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

import cv2
import numpy as np

from fakecore.cpus import usable_cpus
from fakecore.device import one_thread
from fakecore.media.pixels import fit_square
from fakecore.media.video import Frame
from fakedetect.faces.finder import BATCH, MARGIN, PART, Face, FaceFinder, between, crop, sharpness
from fakedetect.faces.options import EACH_S, FIRST, LATER_S
from fakedetect.faces.tracks import Tracker
from fakedetect.models.detector import SCORE_BATCH, Detector
from fakedetect.scoring.trackscores import TrackSeen

THUMBNAIL = 96  # pixels, in reports
# Faces are searched in frames at least this far apart (every second frame of a usual video); between them, boxes are
# interpolated. This finds 96 % of the faces of faces-1080p.mp4; a search every fifth of a second finds 93 %.
_SOON_S = 0.045
_PART = 4  # images that one CPU thread scores at once: more are not faster, and leave cores idle at the end
_WHOLE = 1  # the track number of whole frames
_AHEAD = 8  # maximum number of pending batches, whatever the number of CPUs: a 4K frame takes 25 MB


class Pipeline:
    """Builds the tracks of a video frame by frame. A context manager, because it owns threads."""

    def __init__(
        self, detector: Detector, finder: FaceFinder | None, *, keep: bool, margin: float | None, every_face: bool
    ):
        """Without a `finder`, whole frames are scored. With `keep`, tracks store boxes and thumbnails."""
        self._detector, self._finder, self._keep = detector, finder, keep
        trained = MARGIN if detector.face_margin is None else detector.face_margin
        self._margin = trained if margin is None else margin
        self._every_face = every_face
        self._scorer = _Scorer(detector, mirrored=finder is not None)
        on_cpu = detector.device.type == "cpu"
        self._at_once, self._ahead = (PART, min(usable_cpus(), _AHEAD)) if on_cpu else (BATCH, 1)
        self._searching = ThreadPoolExecutor(self._ahead)
        self._batch: list[Frame] = []
        self._searches: deque[tuple[list[Frame], list[Frame], Future]] = deque()
        self._searched_s: float | None = None  # time of the last frame chosen for a search
        self._since_search = 0  # frames since
        self._tracker = Tracker()
        self._last: dict[int, Face] = {}  # faces of the last search, by track number, and its time
        self._last_s = 0.0
        self._between: list[Frame] = []  # frames since then
        self._chosen: dict[int, _Chosen] = {}  # by track number
        self._enlarged = self._faces = 0
        self._frame_note: str | None = None
        self.frames = 0
        self.tracks: dict[int, TrackSeen] = {}

    def __enter__(self) -> Pipeline:
        return self

    def __exit__(self, *_) -> None:
        self._searching.shutdown(cancel_futures=True)
        self._scorer.close()

    @property
    def note(self) -> str | None:
        """A caution about the scores, or None."""
        side = self._detector.resolution
        if 2 * self._enlarged > self._faces:
            return f"enlarged: most of its faces are smaller than the detector input of {side}x{side}"
        return self._frame_note

    def add(self, frame: Frame) -> None:
        """Queue this frame for the face search; track and score the faces of earlier frames meanwhile."""
        self.frames += 1
        if self._finder is None:
            self._add_whole_frame(frame)
            return
        self._batch.append(frame)
        if len(self._batch) == self._at_once:
            self._search()

    def _search(self) -> None:
        batch, self._batch = self._batch, []
        searched = self._to_search(batch)
        search = self._searching.submit(self._find, [frame.pixels for frame in searched])
        self._searches.append((batch, searched, search))
        if len(self._searches) > self._ahead:
            self._track_faces(*self._searches.popleft())

    def _find(self, pixels: list[np.ndarray]) -> list[list[Face]]:
        assert self._finder, "whole frames are scored without a search"
        return self._finder.find(pixels)

    def finish(self) -> None:
        """Track and score everything that is pending. The last frame is always searched, so that all frames before it lie
        between two searches.
        """
        if self._batch:
            self._search()
        while self._searches:
            self._track_faces(*self._searches.popleft())
        if self._between:
            last = self._between.pop()
            self._track_faces([last], [last], self._searching.submit(self._find, [last.pixels]))
        for chosen in self._chosen.values():
            self._scorer.add(chosen)
        self._scorer.finish()

    def _add_whole_frame(self, frame: Frame) -> None:
        self._frame_note = self._frame_note or self._detector.note_on(frame.pixels)
        height, width = frame.pixels.shape[:2]
        track = self._track(_WHOLE)
        track.add_frame(frame.time_s, np.array([0, 0, width - 1, height - 1]) if self._keep else None)
        image_jpeg = thumbnail(frame.pixels) if self._keep else None
        prepared = self._detector.prepare(frame.pixels)
        self._scorer.add(_Chosen(track, frame.time_s, 0.0, frame.time_s, prepared, image_jpeg))

    def _to_search(self, batch: list[Frame]) -> list[Frame]:
        """Return the frames of a batch to search for faces: all but those too soon after a searched one."""
        searched = []
        for frame in batch:
            soon = self._searched_s is not None and frame.time_s - self._searched_s < _SOON_S
            if soon and self._since_search < BATCH:
                self._since_search += 1
            else:
                searched.append(frame)
                self._searched_s, self._since_search = frame.time_s, 0
        return searched

    def _track_faces(self, batch: list[Frame], searched: list[Frame], search: Future) -> None:
        """Add the faces to tracks, in the order of time. In frames between two searches, the box of a face found in both is
        interpolated.
        """
        found = iter(search.result())
        for frame in batch:
            if not any(frame is one for one in searched):
                self._between.append(frame)
                continue
            faces = next(found)
            now = dict(zip(self._tracker.update(frame.index, frame.time_s, faces, frame.pixels), faces, strict=True))
            for earlier in self._between:
                fraction = (earlier.time_s - self._last_s) / (frame.time_s - self._last_s)
                for number, face in now.items():
                    if number in self._last:
                        self._add_face(number, earlier, between(self._last[number], face, fraction))
            for number, face in now.items():
                self._add_face(number, frame, face)
            self._between, self._last, self._last_s = [], now, frame.time_s
        for number in [number for number, one in self._chosen.items() if one.until_s <= self._last_s]:
            self._scorer.add(self._chosen.pop(number))

    def _add_face(self, number: int, frame: Frame, face: Face) -> None:
        """Add a face to its track; select it for scoring if it is the sharpest of its period so far."""
        side = self._detector.resolution
        self._faces += 1
        self._enlarged += face.side * (1 + 2 * self._margin) < side
        track = self._track(number)
        track.add_frame(frame.time_s, face.box if self._keep else None)
        chosen, sharp = self._chosen.get(number), sharpness(frame.pixels, face)
        if chosen and chosen.until_s <= frame.time_s:
            self._scorer.add(self._chosen.pop(number))
            chosen = None
        if chosen is None or sharp > chosen.sharpness:
            until_s = chosen.until_s if chosen else frame.time_s + self._period_s(track)
            prepared = self._detector.prepare(self._cut(frame, face, side))
            image_jpeg = thumbnail(self._cut(frame, face, THUMBNAIL)) if self._keep else None
            self._chosen[number] = _Chosen(track, until_s, sharp, frame.time_s, prepared, image_jpeg)

    def _period_s(self, track: TrackSeen) -> float:
        """Return the period, in seconds, that the next scored face of a track represents, minus a rounding error."""
        if self._every_face:
            return 0.0
        track.chosen += 1
        return (EACH_S if track.chosen <= FIRST else LATER_S) - 1e-6

    def _track(self, number: int) -> TrackSeen:
        return self.tracks.setdefault(number, TrackSeen(number))

    def _cut(self, frame: Frame, face: Face, side: int) -> np.ndarray:
        """Return a face, cropped as the `faces` command crops it, at side `side`."""
        return crop(frame.pixels, face, margin=self._margin, size=side, align=self._detector.face_align)


@dataclass(frozen=True)
class _Chosen:
    """The face of a track that is selected for scoring, among those before `until_s`."""

    track: TrackSeen
    until_s: float
    sharpness: float
    time_s: float
    prepared: np.ndarray  # uint8 (C, R, R)
    image_jpeg: bytes | None


class _Scorer:
    """Scores images on its own threads. Batches have the same size on every machine, so that rounding is the same too.

    With `mirrored`, the logit of an image is the mean over itself and its mirror image: faces are as likely either way round,
    and the mean of both orders the tracks of videos better (docs/lab/videos.md).
    """

    def __init__(self, detector: Detector, *, mirrored: bool):
        self._detector, self._mirrored = detector, mirrored
        self._threads = usable_cpus() if detector.device.type == "cpu" else 1
        self._part = _PART if detector.device.type == "cpu" else SCORE_BATCH
        self._pool = ThreadPoolExecutor(self._threads)
        self._waiting: list[_Chosen] = []
        self._pending: deque[tuple[Sequence[_Chosen], Future]] = deque()

    def add(self, chosen: _Chosen) -> None:
        """Queue a face; score when a batch is full. Waits while many batches are pending, to limit memory."""
        self._waiting.append(chosen)
        if len(self._waiting) == self._part:
            self._submit()
        while len(self._pending) > 4 * self._threads:
            self._collect()

    def finish(self) -> None:
        """Score the rest; then all tracks have their scores."""
        if self._waiting:
            self._submit()
        while self._pending:
            self._collect()

    def close(self) -> None:
        self._pool.shutdown(cancel_futures=True)

    def _submit(self) -> None:
        part, self._waiting = self._waiting, []
        self._pending.append((part, self._pool.submit(self._outputs, np.stack([one.prepared for one in part]))))

    def _outputs(self, prepared: np.ndarray) -> tuple[np.ndarray, np.ndarray | None]:
        with one_thread():
            logits, outside = self._detector.outputs(prepared)
            if self._mirrored:
                logits = (logits + self._detector.logits(np.ascontiguousarray(prepared[..., ::-1]))) / 2
            return logits, outside

    def _collect(self) -> None:
        part, judged = self._pending.popleft()
        logits, outside = judged.result()
        for place, one in enumerate(part):
            far = None if outside is None else bool(outside[place])
            one.track.add_score(one.time_s, float(logits[place]), far, one.image_jpeg)


def thumbnail(image: np.ndarray) -> bytes:
    """Return a JPEG of the centre of an image, uint8 RGB (H, W, 3), for reports."""
    small = fit_square(image, THUMBNAIL, 3).transpose(1, 2, 0)
    return cv2.imencode(".jpg", small[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 88])[1].tobytes()
