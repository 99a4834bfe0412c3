"""Read videos: header facts and selected frames.

Frames are uint8 RGB (H, W, 3), [0, 255], upright. Times are presentation times in seconds since the first frame.
"""

from __future__ import annotations

import math
from bisect import bisect_left, bisect_right
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from fakecore.errors import UserError
from fakecore.media.animation import AnimationFile, is_animation
from fakecore.media.containers import is_whole
from fakecore.media.framepixels import changes, orientation, pixels_of
from fakecore.media.timeline import Frame, Timeline, VideoInfo
from fakecore.media.videostream import (
    FASTEST,
    SLOWEST,
    Count,
    VideoError,
    decoded_frames,
    frame_rate,
    open_stream,
    packets,
    plausible_times,
    refuse_special,
    stated_duration_s,
)

_SEEK_OVER = 12  # frames: over shorter distances, decoding is faster than seeking
_SLACK_S, _SLACK = 0.5, 0.02  # tolerance of the duration in the header: sound may be longer, rates are rounded


@dataclass(frozen=True)
class Outcome:
    """Result of an iteration: the number of `frames` yielded, the end `duration_s` of the last one, and the number of
    `damaged` packets without a usable frame. `truncated`: the file is incomplete. `whole_s`: duration of its readable part.
    `changes` names what was changed of the frames, as players do.
    """

    frames: int
    duration_s: float
    damaged: int
    truncated: bool
    whole_s: float
    changes: tuple[str, ...] = ()

    @property
    def note(self) -> str | None:
        """Text for the user about truncation, damage and changes, or None."""
        notes = []
        if self.truncated:
            notes.append(f"the file is truncated: only its first {self.whole_s:.1f} s can be read")
        if self.damaged:
            notes.append(f"{self.damaged:,} damaged frame{'s' if self.damaged > 1 else ''} left out")
        return "; ".join([*notes, *self.changes]) or None


def open_video(path: Path) -> VideoInfo:
    """Return the facts of the header, after decoding one frame as a check. Raises VideoError."""
    return _open(path).info


def frames(
    path: Path,
    *,
    every: int | None = None,
    fps: float | None = None,
    count: int | None = None,
    start_s: float = 0.0,
    end_s: float | None = None,
) -> Frames:
    """Return the frames between `start_s` and `end_s`: every `every`-th, `fps` per second, or `count` evenly spaced; all if
    none of the three is given.

    Raises UserError for an invalid selection and VideoError for an unusable file, both before the first frame.
    """
    check_choice(every, fps, count, start_s, end_s)
    video = _open(path)
    return Frames(video, video.timeline.choose(every, fps, count, start_s, end_s))


def _open(path: Path) -> FramesFile:
    refuse_special(path)
    return AnimationFile(path) if is_animation(path) else _VideoFile(path)


def check_choice(
    every: int | None = None,
    fps: float | None = None,
    count: int | None = None,
    start_s: float = 0.0,
    end_s: float | None = None,
) -> None:
    """Raise UserError for an invalid selection of frames, as `frames` does."""
    given = [
        f"{name}={value}" for name, value in (("every", every), ("fps", fps), ("count", count)) if value is not None
    ]
    if len(given) > 1:
        raise UserError(
            "only one way to choose frames can be given",
            got=" and ".join(given),
            expected="one of every, fps and count",
        )
    for name, value, low in (("every", every, 1), ("count", count, 1)):
        if value is not None and value < low:
            raise UserError(f"{name} is too small", got=value, expected=f"{low} or more")
    if fps is not None and not SLOWEST <= fps <= FASTEST:
        raise UserError("fps is out of range", got=fps, expected=f"{SLOWEST:g} to {FASTEST:g} frames per second")
    if not (math.isfinite(start_s) and start_s >= 0):
        raise UserError("the start time is out of range", got=start_s, expected="seconds, 0 or more")
    if end_s is not None and not end_s > start_s:
        raise UserError("the end time is not after the start time", got=f"{start_s:g} to {end_s:g} s")


class Frames:
    """An iterable over the selected frames of a video, with one `Frame` in memory at a time. It can be iterated again.

    `expected` is the number of frames of an undamaged video. `outcome` is set when an iteration ends, early or not.
    """

    def __init__(self, video: FramesFile, chosen: list[int]):
        self._file, self._chosen = video, chosen
        self.info, self.expected = video.info, len(chosen)
        self.outcome: Outcome | None = None

    def __iter__(self) -> Iterator[Frame]:
        self.outcome = None
        given, end, damaged = 0, 0.0, Count()
        try:
            for frame in self._file.decode(self._chosen, damaged):
                given, end = given + 1, self._file.timeline.ends(frame.index)
                yield frame
        finally:
            whole_s = self._file.timeline.ends(len(self._file.timeline.keys) - 1)
            self.outcome = Outcome(given, end, damaged.n, self._file.truncated, whole_s, tuple(self._file.changes))


class FramesFile(Protocol):
    """A file of frames: a video, or an animation."""

    info: VideoInfo
    timeline: Timeline
    truncated: bool
    changes: dict[str, None]  # what `decode` changed of the frames so far, in order

    def decode(self, chosen: list[int], damaged: Count) -> Iterator[Frame]: ...


class _VideoFile:
    """A file with a list of its packets. If these have no times (AVI, raw streams), seeking is not used."""

    def __init__(self, path: Path):
        self._path = path
        self.changes: dict[str, None] = {}
        with open_stream(self._path) as (container, stream):
            self._list(container, stream)
        self.info = self._look()

    def _list(self, container, stream) -> None:
        """Read all packets without decoding: times, key frames, and whether the file ends where the header says."""
        import av

        keys, seekable, partial, timed = [], [], 0, True
        try:
            for packet in packets(container, stream):
                if not packet.size or packet.is_discard:
                    continue
                if packet.is_corrupt:
                    partial += 1
                    continue
                timed = timed and packet.pts is not None
                if timed and packet.is_keyframe and packet.dts is not None:
                    seekable.append((packet.pts, packet.dts))
                keys.append(packet.pts)
        except (av.error.FFmpegError, OSError):
            partial += 1
        if not keys:
            raise VideoError("unreadable", "truncated or damaged: it has no complete frame")
        rate = frame_rate(stream)
        timed = timed and len(set(keys)) == len(keys) and plausible_times(keys, stream)
        unit_s = float(stream.time_base) if timed else 1 / (rate or 25.0)
        self.timeline = Timeline(sorted(keys) if timed else list(range(len(keys))), unit_s, timed=timed)
        self._seekable = sorted(seekable) if timed else []
        promised = stated_duration_s(container, stream)
        there = is_whole(self._path)
        missing = promised is not None and promised - self.timeline.ends(len(keys) - 1) > max(
            _SLACK_S, _SLACK * promised
        )
        # The duration in the header counts only if the sizes in the container do not show whether the file is complete.
        self.truncated = there is False or (there is None and (missing or partial > 0))

    def _look(self) -> VideoInfo:
        """Return the facts of the video; decode its first frame, since the header does not show that it can be decoded."""
        with open_stream(self._path) as (container, stream):
            context = stream.codec_context
            first = next(decoded_frames(container, stream, Count()), None)
            if first is None:
                raise VideoError("unreadable", f"no frame can be decoded ({context.name})")
            turned = orientation(first, stream.metadata)
            width, height = (first.height, first.width) if turned.swapped else (first.width, first.height)
            promised = stated_duration_s(container, stream)
            rate, count = frame_rate(stream), stream.frames or None
            return VideoInfo(width, height, rate, count, promised, turned.rotation, context.name)

    def decode(self, chosen: list[int], damaged: Count) -> Iterator[Frame]:
        """Yield the selected frames; replace a damaged one by the next good one before the next selected frame."""
        import av

        if not chosen:
            return
        keys = self.timeline.keys
        with open_stream(self._path) as (container, stream):
            place, number = 0, 0
            wanted = [keys[index] for index in chosen]
            self._jump(container, stream, keys[0], wanted[0])
            for decoded in decoded_frames(container, stream, damaged, set(wanted) if self.timeline.timed else None):
                key = decoded.pts if self.timeline.timed else number
                number += 1
                if key is None or key < wanted[place]:
                    continue
                try:
                    pixels = pixels_of(decoded, orientation(decoded, stream.metadata))
                except (av.error.FFmpegError, OSError, ValueError):  # colours or a layout that FFmpeg cannot convert
                    damaged.n += 1
                    continue
                index = min(bisect_left(keys, key), len(keys) - 1)
                self.changes.update(dict.fromkeys(changes(decoded)))
                yield Frame(index, self.timeline.time(index), pixels)
                place = bisect_right(wanted, key, lo=place)
                if place == len(wanted):
                    return
                self._jump(container, stream, key, wanted[place])

    def _jump(self, container, stream, here: int, there: int) -> None:
        """Seek to the last key frame at or before `there`, if it is far enough after `here`. Where that fails, in a damaged
        file, decoding goes through the frames between.
        """
        import av

        at = bisect_right(self._seekable, (there, math.inf)) - 1
        keys = self.timeline.keys
        if at >= 0:
            pts, dts = self._seekable[at]
            if bisect_left(keys, pts) - bisect_left(keys, here) > _SEEK_OVER:
                with suppress(av.error.FFmpegError, OSError):
                    container.seek(dts, stream=stream, backward=True)
