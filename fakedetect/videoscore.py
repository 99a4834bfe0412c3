"""Films judged: frames are looked at, faces found and followed, each face judged; from those, each track and the film.

A track's logit is the median over its faces, so that one blurred or badly found face does not decide; its p_fake is that
logit through the detector's own temperature. A film is as fake as its worst track that lasts MIN_TRACK_S.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import cached_property, partial
from pathlib import Path

import cv2
import numpy as np

from fakecore.device import one_thread
from fakecore.errors import UserError
from fakecore.pixels import ImageError, fit_square
from fakecore.video import Frame, VideoError, check_choice, frames
from fakecore.wording import counted
from fakedetect.detector import Detector, Judgement
from fakedetect.faces import BATCH, MARGIN, SMALLEST, Face, FaceFinder, between, check_margin, crop
from fakedetect.tracks import Tracker

FPS = 5.0  # looks a second, so that a track of MIN_TRACK_S rests on four faces or more
# Of more frames a second, faces are looked for in those that are a fifth of a second apart, less a frame of rounding.
_SOON_S = 0.165
# Of many short tracks the worst is high by chance, and what the face finder takes for a face by mistake seldom lasts.
MIN_TRACK_S = 0.5
KEPT = 12  # pictures of a track, at most twice as many while the film runs
THUMBNAIL = 96  # pixels, on pages
_PART = 8  # faces that a thread judges at once
_LOOKED = "looked at with "
_GRAVITY = {"real": 0, "unsure": 1, "fake": 2}
NO_FILM = {"frames": 0, "duration_s": None, "tracks": [], "timeline": []}


@dataclass(frozen=True)
class Look:
    """How films are looked at: `fps` frames a second, or `count` spread over each, between `start_s` and `end_s`.

    Raises UserError for what makes no sense.
    """

    fps: float | None = None  # FPS, when `count` is not given either
    count: int | None = None
    start_s: float = 0.0
    end_s: float | None = None
    min_face: float = 60  # pixels
    margin: float | None = None  # around a face, as a share of its side; None: as in the detector's training
    whole_frame: bool = False  # no faces: frames are judged as photos are

    def __post_init__(self):
        check_choice(fps=self.fps, count=self.count, start_s=self.start_s, end_s=self.end_s)
        if not self.min_face >= SMALLEST:
            raise UserError("--min-face is too small", got=self.min_face, expected=f"{SMALLEST} pixels or more")
        if self.margin is not None:
            check_margin(self.margin)

    @property
    def note(self) -> str | None:
        """What of it is not as usual, for the rows of films: None where all is."""
        told = {
            "--fps": None if self.fps == FPS else self.fps,
            "--frames": self.count,
            "--start": self.start_s or None,
            "--end": self.end_s,
            "--min-face": None if self.min_face == Look.min_face else self.min_face,
            "--margin": self.margin,
        }
        words = [f"{name} {value:g}" for name, value in told.items() if value is not None]
        words += ["--whole-frame"] * self.whole_frame
        return _LOOKED + " ".join(words) if words else None

    def made(self, note: str | None) -> bool:
        """Whether a film's row that bears this note was looked at in this way."""
        last = (note or "").rpartition("; ")[2]
        return last == self.note if self.note else not last.startswith(_LOOKED)


@dataclass
class TrackSeen:
    """A face followed, or the whole frame: what was judged of it, one entry a face in the order of time."""

    number: int
    times: list[float] = field(default_factory=list)
    logits: list[float] = field(default_factory=list)
    outside: list[bool | None] = field(default_factory=list)
    boxes: list[np.ndarray] = field(default_factory=list)  # (4,) xyxy, pixels of the film; kept where they are shown
    pictures: list[tuple[int, bytes]] = field(default_factory=list)  # (place among the above, JPEG)
    _every: int = 1

    def add(
        self,
        time_s: float,
        logit: float,
        outside: bool | None,
        box: np.ndarray | None,
        picture: Callable[[], bytes] | None,
    ) -> None:
        """One face more; `box` and `picture`, which makes a picture of it, where they are wanted."""
        if picture and len(self.times) % self._every == 0:
            self.pictures.append((len(self.times), picture()))
            if len(self.pictures) == 2 * KEPT:  # spread over the track, however long it is
                self.pictures, self._every = self.pictures[::2], 2 * self._every
        self.times.append(time_s)
        self.logits.append(logit)
        self.outside.append(outside)
        if box is not None:
            self.boxes.append(np.array(box, np.float32))  # not a part of an array that would be kept with it

    @property
    def lasts(self) -> bool:
        return self.times[-1] - self.times[0] >= MIN_TRACK_S - 1e-6

    def judged(self, detector: Detector) -> Judgement:
        """By the median of its logits; unlike anything in training when most of its faces are."""
        known = [far for far in self.outside if far is not None]
        far = np.array([2 * sum(known) > len(known)]) if known else None
        return detector.judge(np.array([np.median(self.logits)]), far)[0]

    def p_fakes(self, detector: Detector) -> list[float]:
        """Of each face."""
        return [one.p_fake for one in detector.judge(np.array(self.logits))]


@dataclass(frozen=True)
class FilmShown:
    """What a page shows of a film: tracks with their judgements and each face's p_fake, the one that decides first."""

    tracks: list[tuple[TrackSeen, Judgement, list[float]]]
    deciding: int  # how many of them, from the first, last long enough to decide
    whole_frame: bool


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
        found = _Found(self._detector, None if look.whole_frame else self._finder, self._keep, look.margin)
        batch: list[Frame] = []
        for frame in film:
            batch.append(frame)
            if len(batch) == BATCH:
                self._take(path, batch, found, film.expected)
        self._take(path, batch, found, film.expected)
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

    def _take(self, path: str, batch: list[Frame], found: _Found, expected: int) -> None:
        if batch:
            found.add(batch)
            batch.clear()
            if self._watch:
                self._watch(path, found.frames, expected)

    def _weigh(self, path: str, found: _Found, facts: dict) -> tuple[dict, Judgement]:
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
                "outside_domain": judgement.outside_domain,
            }
            for track, judgement, _ in judged
        ]
        highest: dict[float, float] = {}
        for track, _, p_fakes in deciding:
            for time_s, p_fake in zip(track.times, p_fakes, strict=True):
                highest[time_s] = max(p_fake, highest.get(time_s, 0.0))
        facts["timeline"] = [[round(time_s, 3), highest[time_s]] for time_s in sorted(highest)]
        if self._keep:
            rest = [one for one in judged if lasting and not one[0].lasts]
            self.shown[path] = FilmShown(deciding + rest, len(deciding), self.look.whole_frame)
        return facts, deciding[0][1]


_Sight = tuple[int, Frame, Face | None]  # a face's track, its frame, and where in it; None for the whole frame


class _Found:
    """Tracks of a film as they grow, frame by frame."""

    def __init__(self, detector: Detector, finder: FaceFinder | None, keep: bool, margin: float | None):
        self._detector, self._finder, self._keep = detector, finder, keep
        trained = MARGIN if detector.face_margin is None else detector.face_margin
        self._margin = trained if margin is None else margin
        self._tracker = Tracker()
        self._looked_s: float | None = None  # when faces were last chosen to be looked for
        self._last: dict[int, Face] = {}  # the faces of the last look, by their tracks, and its time
        self._last_s = 0.0
        self._between: list[Frame] = []  # frames since then
        self._enlarged = self._faces = 0
        self._frame_note: str | None = None
        self.frames = 0
        self.tracks: dict[int, TrackSeen] = {}

    @property
    def note(self) -> str | None:
        """What to bear in mind of the judgements, or None."""
        side = self._detector.resolution
        if 2 * self._enlarged > self._faces:
            return f"enlarged: most of its faces are smaller than the {side}x{side} that the detector looks at"
        return self._frame_note

    def add(self, batch: list[Frame]) -> None:
        """Find, follow and judge what these frames show; what lies between two looks for faces, once the second is done."""
        self.frames += len(batch)
        if self._finder is None:
            self._frame_note = self._frame_note or self._detector.note_on(batch[0].pixels)
            self._judge([(1, frame, None) for frame in batch])
        else:
            self._judge(self._followed(batch, self._looks(batch)))

    def finish(self) -> None:
        """The film has ended: look for faces in the last frame, if that was not done, and judge those before it."""
        if self._between:
            last = self._between.pop()
            self._judge(self._followed([last], [last]))

    def _looks(self, batch: list[Frame]) -> list[Frame]:
        """The frames of a batch in which faces are looked for: all but those that follow too soon on such a one."""
        looks, waiting = [], len(self._between)
        for frame in batch:
            soon = self._looked_s is not None and frame.time_s - self._looked_s < _SOON_S
            if soon and waiting < BATCH:
                waiting += 1
            else:
                looks.append(frame)
                self._looked_s, waiting = frame.time_s, 0
        return looks

    def _followed(self, batch: list[Frame], looks: list[Frame]) -> list[_Sight]:
        """Each face with its track, in the order of time. In frames between two looks, a face that both saw is where it
        would be on its way from one to the other.
        """
        found, seen = iter(self._finder.find([frame.pixels for frame in looks])), []
        for frame in batch:
            if not any(frame is look for look in looks):
                self._between.append(frame)
                continue
            faces = next(found)
            now = dict(zip(self._tracker.update(frame.index, frame.time_s, faces, frame.pixels), faces, strict=True))
            for held in self._between:
                share = (held.time_s - self._last_s) / (frame.time_s - self._last_s)
                seen += [(n, held, between(self._last[n], face, share)) for n, face in now.items() if n in self._last]
            seen += [(number, frame, face) for number, face in now.items()]
            self._between, self._last, self._last_s = [], now, frame.time_s
        return seen

    def _judge(self, seen: list[_Sight]) -> None:
        if not seen:
            return
        logits, outside = self._outputs(np.stack([self._prepared(*sight[1:]) for sight in seen]))
        for place, (number, frame, face) in enumerate(seen):
            far = None if outside is None else bool(outside[place])
            track = self.tracks.setdefault(number, TrackSeen(number))
            box, show = (_box(frame, face), partial(self._picture, frame, face)) if self._keep else (None, None)
            track.add(frame.time_s, float(logits[place]), far, box, show)

    def _outputs(self, prepared: np.ndarray) -> tuple[np.ndarray, np.ndarray | None]:
        """As the detector's. On a CPU in parts, each one thread's work: all cores are used, and since parts are of one size
        whatever the machine's, so is the rounding.
        """
        if self._detector.device.type != "cpu":
            return self._detector.outputs(prepared)

        def judge(start: int) -> tuple[np.ndarray, np.ndarray | None]:
            with one_thread():
                return self._detector.outputs(prepared[start : start + _PART])

        with ThreadPoolExecutor(os.cpu_count() or 1) as pool:
            logits, outside = zip(*pool.map(judge, range(0, len(prepared), _PART)), strict=True)
        return np.concatenate(logits), None if outside[0] is None else np.concatenate(outside)

    def _prepared(self, frame: Frame, face: Face | None) -> np.ndarray:
        """A face as `faces` cuts it, at once in the size that the detector looks at; without one the frame."""
        if face is None:
            return self._detector.prepare(frame.pixels)
        side = self._detector.resolution
        self._faces += 1
        self._enlarged += face.side * (1 + 2 * self._margin) < side
        return self._detector.prepare(self._cut(frame, face, side))

    def _cut(self, frame: Frame, face: Face, side: int) -> np.ndarray:
        return crop(frame.pixels, face, margin=self._margin, size=side, align=self._detector.face_align)

    def _picture(self, frame: Frame, face: Face | None) -> bytes:
        return thumbnail(frame.pixels if face is None else self._cut(frame, face, THUMBNAIL))


def thumbnail(image: np.ndarray) -> bytes:
    """JPEG of the middle of an image, uint8 RGB (H, W, 3), for pages."""
    small = fit_square(image, THUMBNAIL, 3).transpose(1, 2, 0)
    return cv2.imencode(".jpg", small[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 88])[1].tobytes()


def _box(frame: Frame, face: Face | None) -> np.ndarray:
    height, width = frame.pixels.shape[:2]
    return np.array([0, 0, width - 1, height - 1], np.float32) if face is None else face.box


def _gravity(judgement: Judgement) -> tuple[int, float]:
    """The worse the higher. What is unlike anything in training is "unsure", however high its p_fake."""
    return _GRAVITY[judgement.verdict], judgement.p_fake
