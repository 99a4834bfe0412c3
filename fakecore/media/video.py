"""Read videos: header facts and selected frames.

Frames are uint8 RGB (H, W, 3), [0, 255], upright. Times are presentation times in seconds since the first frame.

PyAV decodes; OpenCV would give the same pixels, since both use FFmpeg. Only PyAV lists the packets with their times before
decoding (needed to seek exactly in videos of variable frame rate, and to distinguish a truncated file from a wrong header),
reports damaged packets, silences FFmpeg, and restricts it to video containers: a playlist could otherwise open other files.
Its wheels also contain an H.264 encoder.
"""

from __future__ import annotations

import math
import stat
from bisect import bisect_left, bisect_right
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from fakecore.errors import UserError, why_unreadable
from fakecore.media.containers import is_whole
from fakecore.media.videofiles import HEAD_BYTES, is_video

MAX_FRAME_PIXELS = 24_000_000  # 6K; a decoder holds up to 17 frames, and at 8K those alone are a gigabyte
_FORMATS = "asf,avi,flv,matroska,webm,mov,mp4,m4a,3gp,3g2,mj2,mpeg,mpegts,mpegvideo,h264,hevc,ogg"
_SLOWEST, _FASTEST = 0.01, 1000.0  # frames per second; a header with another rate is ignored
_NOTHING = "truncated or damaged: no video can be read from it"
_SEEK_OVER = 12  # frames: over shorter distances, decoding is faster than seeking
_SLACK_S, _SLACK = 0.5, 0.02  # tolerance of the duration in the header: sound may be longer, rates are rounded


class VideoError(Exception):
    """A video cannot be used. `status` is "unreadable", "unsupported" or "too_large"; the text gives the reason."""

    kind = "video"

    def __init__(self, status: str, reason: str):
        super().__init__(" ".join(reason.split()))
        self.status = status


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


@dataclass(frozen=True)
class Outcome:
    """Result of an iteration: the number of `frames` yielded, the end `duration_s` of the last one, and the number of
    `damaged` packets without a usable frame. `truncated`: the file is incomplete. `whole_s`: duration of its readable part.
    """

    frames: int
    duration_s: float
    damaged: int
    truncated: bool
    whole_s: float

    @property
    def note(self) -> str | None:
        """Text for the user about truncation and damage, or None."""
        notes = []
        if self.truncated:
            notes.append(f"the file is truncated: only its first {self.whole_s:.1f} s can be read")
        if self.damaged:
            notes.append(f"{self.damaged:,} damaged frame{'s' if self.damaged > 1 else ''} left out")
        return "; ".join(notes) or None


def open_video(path: Path) -> VideoInfo:
    """Return the facts of the header, after decoding one frame as a check. Raises VideoError."""
    return _VideoFile(path).info


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
    video = _VideoFile(path)
    return Frames(video, video.choose(every, fps, count, start_s, end_s))


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
    if fps is not None and not _SLOWEST <= fps <= _FASTEST:
        raise UserError("fps is out of range", got=fps, expected=f"{_SLOWEST:g} to {_FASTEST:g} frames per second")
    if not (math.isfinite(start_s) and start_s >= 0):
        raise UserError("the start time is out of range", got=start_s, expected="seconds, 0 or more")
    if end_s is not None and not end_s > start_s:
        raise UserError("the end time is not after the start time", got=f"{start_s:g} to {end_s:g} s")


class Frames:
    """An iterable over the selected frames of a video, with one `Frame` in memory at a time. It can be iterated again.

    `expected` is the number of frames of an undamaged video. `outcome` is set when an iteration ends, early or not.
    """

    def __init__(self, video: _VideoFile, chosen: list[int]):
        self._file, self._chosen = video, chosen
        self.info, self.expected = video.info, len(chosen)
        self.outcome: Outcome | None = None

    def __iter__(self) -> Iterator[Frame]:
        self.outcome = None
        given, end, damaged = 0, 0.0, _Count()
        try:
            for frame in self._file.decode(self._chosen, damaged):
                given, end = given + 1, self._file.ends(frame.index)
                yield frame
        finally:
            video = self._file
            self.outcome = Outcome(given, end, damaged.n, video.truncated, video.ends(len(video.keys) - 1))


class _Count:
    n = 0


class _VideoFile:
    """A file with a list of its packets: `keys` holds the presentation time of each frame, sorted, in units of `unit_s`.

    If packets have no times (AVI, raw streams), a frame's key is its number, and seeking is not used.
    """

    def __init__(self, path: Path):
        self._path = path
        _refuse_special(path)
        with self._open() as (container, stream):
            self._list(container, stream)
        self.info = self._look()

    @contextmanager
    def _open(self) -> Iterator[tuple]:
        """Yield PyAV's container and video stream; close the container in any case."""
        import av

        options = {"format_whitelist": _FORMATS, "protocol_whitelist": "file"}
        try:
            container = av.open(str(self._path.absolute()), options=options, metadata_errors="replace")
        except av.error.FFmpegError as error:
            raise self._refusal(error) from None
        try:
            yield container, _video_stream(container)
        finally:
            container.close()

    def _refusal(self, error: Exception) -> VideoError:
        """Return the reason why FFmpeg could not open the file."""
        if isinstance(error, PermissionError):
            return VideoError("unreadable", "permission denied")
        with self._path.open("rb") as file:
            head = file.read(HEAD_BYTES)
        if is_video(head, "", ()):
            return VideoError("unreadable", _NOTHING)
        return VideoError("unsupported", "not a video of a known format")

    def _list(self, container, stream) -> None:
        """Read all packets without decoding: times, key frames, and whether the file ends where the header says."""
        import av

        keys, seekable, partial, timed = [], [], 0, True
        try:
            for packet in container.demux(stream):
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
        rate = _rate(stream)
        self._timed = timed and len(set(keys)) == len(keys) and _can_be(keys, stream)
        self.keys = sorted(keys) if self._timed else list(range(len(keys)))
        self._seekable = sorted(seekable) if self._timed else []
        self._unit_s = float(stream.time_base) if self._timed else 1 / (rate or 25.0)
        promised = _promised_s(container, stream)
        there = is_whole(self._path)
        missing = promised is not None and promised - self.ends(len(keys) - 1) > max(_SLACK_S, _SLACK * promised)
        # The duration in the header counts only if the sizes in the container do not show whether the file is complete.
        self.truncated = there is False or (there is None and (missing or partial > 0))

    def _look(self) -> VideoInfo:
        """Return the facts of the video; decode its first frame, since the header does not show that it can be decoded."""
        with self._open() as (container, stream):
            context = stream.codec_context
            first = next(_decoded(container, stream, _Count()), None)
            if first is None:
                raise VideoError("unreadable", f"no frame can be decoded ({context.name})")
            rotation = round(-first.rotation / 90) * 90 % 360  # FFmpeg counts counterclockwise
            width, height = (first.height, first.width) if rotation % 180 else (first.width, first.height)
            promised = _promised_s(container, stream)
            return VideoInfo(width, height, _rate(stream), stream.frames or None, promised, rotation, context.name)

    def time(self, index: int) -> float:
        """Return the seconds from the first frame to frame `index`."""
        return (self.keys[index] - self.keys[0]) * self._unit_s

    def ends(self, index: int) -> float:
        """Return the end of frame `index`, seconds: the start of the next one; the last frame is as long as the one before."""
        if len(self.keys) == 1:
            return self._unit_s if not self._timed else 0.0
        return self.time(index + 1) if index + 1 < len(self.keys) else 2 * self.time(index) - self.time(index - 1)

    @cached_property
    def _times(self) -> np.ndarray:
        return (np.array(self.keys, dtype=np.float64) - self.keys[0]) * self._unit_s  # (frames,), seconds

    def choose(self, every, fps, count, start_s: float, end_s: float | None) -> list[int]:
        """Return the numbers of the selected frames, ascending."""
        tiny = self._unit_s / 2  # times are whole units: 0.1 s must not miss the frame at 0.1 s
        first = int(np.searchsorted(self._times, start_s - tiny))
        last = len(self.keys) if end_s is None else int(np.searchsorted(self._times, end_s - tiny))
        if fps is not None:
            wanted: np.ndarray = (
                np.arange(start_s, self._times[last - 1] + tiny, 1 / fps) if last > first else np.empty(0)
            )
            return sorted(
                {i for i in np.searchsorted(self._times, np.subtract(wanted, tiny)).tolist() if first <= i < last}
            )
        if count is not None:
            shown = min(count, max(0, last - first))
            return [first + int((place + 0.5) * (last - first) / shown) for place in range(shown)]
        return list(range(first, last, every or 1))

    def decode(self, chosen: list[int], damaged: _Count) -> Iterator[Frame]:
        """Yield the selected frames; replace a damaged one by the next good one before the next selected frame."""
        if not chosen:
            return
        with self._open() as (container, stream):
            place, number = 0, 0
            wanted = [self.keys[index] for index in chosen]
            self._jump(container, stream, self.keys[0], wanted[0])
            for decoded in _decoded(container, stream, damaged, set(wanted) if self._timed else None):
                key = decoded.pts if self._timed else number
                number += 1
                if key is None or key < wanted[place]:
                    continue
                index = min(bisect_left(self.keys, key), len(self.keys) - 1)
                yield Frame(index, self.time(index), _upright(decoded))
                place = bisect_right(wanted, key, lo=place)
                if place == len(wanted):
                    return
                self._jump(container, stream, key, wanted[place])

    def _jump(self, container, stream, here: int, there: int) -> None:
        """Seek to the last key frame at or before `there`, if it is far enough after `here`."""
        at = bisect_right(self._seekable, (there, math.inf)) - 1
        if at >= 0:
            pts, dts = self._seekable[at]
            if bisect_left(self.keys, pts) - bisect_left(self.keys, here) > _SEEK_OVER:
                container.seek(dts, stream=stream, backward=True)


def _refuse_special(path: Path) -> None:
    """Raise VideoError unless `path` is a regular, non-empty file: reading a pipe could block for ever."""
    try:
        status = path.stat()
        if stat.S_ISDIR(status.st_mode):
            raise VideoError("unreadable", "a folder, not a file")
        if not stat.S_ISREG(status.st_mode):
            raise VideoError("unreadable", "not a regular file")
        if not status.st_size:
            raise VideoError("unreadable", "the file is empty")
        path.open("rb").close()
    except OSError as error:
        raise VideoError("unreadable", why_unreadable(error, path)) from None


def _video_stream(container):
    """Return the first video stream, ready to decode; cover images of songs do not count. Raises VideoError."""
    from av.stream import Disposition

    if not len(container.streams):
        raise VideoError("unreadable", _NOTHING)
    streams = [stream for stream in container.streams.video if not stream.disposition & Disposition.attached_pic]
    if not streams:
        raise VideoError("unsupported", "no video stream, only sound or other data")
    stream = streams[0]
    context = stream.codec_context
    if context is None:
        raise VideoError("unsupported", "unknown video codec: convert it, for example to H.264")
    if context.width * context.height > MAX_FRAME_PIXELS:
        limit = MAX_FRAME_PIXELS // 1_000_000
        raise VideoError(
            "too_large", f"{context.width}x{context.height} pixels; the limit is {limit} megapixels per frame"
        )
    stream.thread_type = "AUTO"
    return stream


def _decoded(container, stream, damaged: _Count, wanted: set[int] | None = None) -> Iterator:
    """Yield PyAV's frames in presentation order; count and skip damaged ones.

    With a set of `wanted` times, skip other frames that no later frame depends on: that saves a third of the work.
    """
    import av

    packets, context = container.demux(stream), stream.codec_context
    while True:
        try:
            packet = next(packets, None)
            if packet is None:
                return
            if wanted is not None:
                context.skip_frame = "DEFAULT" if packet.pts in wanted else "NONREF"
            found = [] if packet.is_corrupt else packet.decode()
            damaged.n += packet.is_corrupt
        except (av.error.EOFError, StopIteration):
            return
        except (av.error.DecoderNotFoundError, av.error.PatchWelcomeError, NotImplementedError):
            raise VideoError(
                "unsupported", "no decoder for its video codec: convert it, for example to H.264"
            ) from None
        except (av.error.FFmpegError, OSError):
            damaged.n += 1
            continue
        for frame in found:
            if frame.is_corrupt:
                damaged.n += 1
            elif frame.width * frame.height <= MAX_FRAME_PIXELS:  # a video may change its size midway
                yield frame


def _upright(frame) -> np.ndarray:
    """Return PyAV's frame as uint8 RGB (H, W, 3), rotated as players display it."""
    turns = round(frame.rotation / 90)  # counterclockwise, as numpy counts
    pixels = frame.to_ndarray(format="rgb24")
    return np.ascontiguousarray(np.rot90(pixels, turns)) if turns % 4 else pixels


def _rate(stream) -> float | None:
    """Return frames per second, or None if the header has no plausible rate."""
    for rate in (stream.average_rate, stream.guessed_rate):
        if rate and _SLOWEST <= rate <= _FASTEST:
            return float(rate)
    return None


def _can_be(keys: list[int], stream) -> bool:
    """Return whether frames at these times, in the stream's units, are plausible: no faster than _FASTEST."""
    passed = (max(keys) - min(keys)) * float(stream.time_base or 0)
    return len(keys) == 1 or len(keys) - 1 <= _FASTEST * passed


def _promised_s(container, stream) -> float | None:
    """Return the duration in the header: that of the video stream if it has one."""
    if stream.duration and stream.time_base:
        return float(stream.duration * stream.time_base)
    return container.duration / 1_000_000 if container.duration and container.duration > 0 else None
