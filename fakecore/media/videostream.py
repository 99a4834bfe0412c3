"""Open a video's stream with PyAV and decode it: what FFmpeg offers, without selection of frames.

PyAV decodes; OpenCV would give the same pixels, since both use FFmpeg. Only PyAV lists the packets with their times before
decoding (needed to seek exactly in videos of variable frame rate, and to distinguish a truncated file from a wrong header),
reports damaged packets, silences FFmpeg, and restricts it to video containers: a playlist could otherwise open other files.
Its wheels also contain an H.264 encoder.
"""

from __future__ import annotations

import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from fakecore.errors import why_unreadable
from fakecore.media.videofiles import HEAD_BYTES, ONLY_SOUND, is_sound, is_video

MAX_FRAME_PIXELS = 24_000_000  # 6K; a decoder holds up to 17 frames, and at 8K those alone are a gigabyte
SLOWEST, FASTEST = 0.01, 1000.0  # frames per second; a header with another rate is ignored
_FORMATS = "asf,avi,flv,matroska,webm,mov,mp4,m4a,3gp,3g2,mj2,mpeg,mpegts,mpegvideo,h264,hevc,ogg"
_NOTHING = "truncated or damaged: no video can be read from it"


class VideoError(Exception):
    """A video cannot be used. `status` is "unreadable", "unsupported" or "too_large"; the text gives the reason."""

    kind = "video"

    def __init__(self, status: str, reason: str):
        super().__init__(" ".join(reason.split()))
        self.status = status


class Count:
    """A number that a generator increases while its caller reads it."""

    n = 0


@contextmanager
def open_stream(path: Path) -> Iterator[tuple]:
    """Yield PyAV's container and video stream of a file; close the container in any case. Raises VideoError."""
    import av

    options = {"format_whitelist": _FORMATS, "protocol_whitelist": "file"}
    try:
        container = av.open(str(path.absolute()), options=options, metadata_errors="replace")
    except av.error.FFmpegError as error:
        raise _refusal(error, path) from None
    try:
        yield container, _video_stream(container)
    finally:
        container.close()


def _refusal(error: Exception, path: Path) -> VideoError:
    """Return the reason why FFmpeg could not open the file."""
    if isinstance(error, PermissionError):
        return VideoError("unreadable", "permission denied")
    with path.open("rb") as file:
        head = file.read(HEAD_BYTES)
    if is_video(head, "", ()):
        return VideoError("unreadable", _NOTHING)
    if is_sound(head):
        return VideoError("unsupported", ONLY_SOUND)
    return VideoError("unsupported", "not a video of a known format")


def refuse_large_frames(width: int, height: int) -> None:
    """Raise VideoError for frames of more than MAX_FRAME_PIXELS."""
    if width * height > MAX_FRAME_PIXELS:
        limit = MAX_FRAME_PIXELS // 1_000_000
        raise VideoError("too_large", f"{width}x{height} pixels; the limit is {limit} megapixels per frame")


def refuse_special(path: Path) -> None:
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
        sound = ONLY_SOUND if container.streams.audio else "no pictures, only other data"
        raise VideoError("unsupported", sound)
    stream = streams[0]
    context = stream.codec_context
    if context is None:
        raise VideoError("unsupported", "unknown video codec: convert it, for example to H.264")
    refuse_large_frames(context.width, context.height)
    stream.thread_type = "AUTO"
    context.options = {**context.options, "max_pixels": str(MAX_FRAME_PIXELS)}  # a video may change its size midway
    return stream


def packets(container, stream) -> Iterator:
    """Yield PyAV's packets of a stream; the last is empty."""
    # PyAV ends with an IndexError after the last packet if another stream began midway, as in recorded broadcasts.
    with suppress(IndexError):
        yield from container.demux(stream)


def decoded_frames(container, stream, damaged: Count, wanted: set[int] | None = None) -> Iterator:
    """Yield PyAV's frames in presentation order; count and skip damaged ones.

    With a set of `wanted` times, skip other frames that no later frame depends on: that saves a third of the work.
    """
    import av

    waiting, context = packets(container, stream), stream.codec_context
    while True:
        try:
            packet = next(waiting, None)
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
        except MemoryError:  # PyAV's too: frames that are lost for want of memory are not damaged
            raise VideoError("too_large", "decoding it takes more memory than this process has") from None
        except (av.error.FFmpegError, OSError):
            damaged.n += 1
            continue
        for frame in found:
            if frame.is_corrupt:
                damaged.n += 1
            elif frame.width * frame.height <= MAX_FRAME_PIXELS:  # a video may change its size midway
                yield frame


def frame_rate(stream) -> float | None:
    """Return frames per second, or None if the header has no plausible rate."""
    for rate in (stream.average_rate, stream.guessed_rate):
        if rate and SLOWEST <= rate <= FASTEST:
            return float(rate)
    return None


def plausible_times(keys: list[int], stream) -> bool:
    """Return whether frames at these times, in the stream's units, are plausible: no faster than FASTEST."""
    passed = (max(keys) - min(keys)) * float(stream.time_base or 0)
    return len(keys) == 1 or len(keys) - 1 <= FASTEST * passed


def stated_duration_s(container, stream) -> float | None:
    """Return the duration in the header: that of the video stream if it has one."""
    if stream.duration and stream.time_base:
        return float(stream.duration * stream.time_base)
    return container.duration / 1_000_000 if container.duration and container.duration > 0 else None
