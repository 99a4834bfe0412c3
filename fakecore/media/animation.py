"""Animations, GIF, WebP, APNG and AVIF, as videos: Pillow decodes their frames."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from PIL import ImageSequence

from fakecore.media.colours import to_rgb
from fakecore.media.gifheader import gif_canvas
from fakecore.media.pixels import ANIMATED, ImageError, open_image, read_bytes
from fakecore.media.timeline import Frame, Timeline, VideoInfo
from fakecore.media.videostream import Count, VideoError, refuse_large_frames

MOST_FRAMES = 5000  # what comes after them is left out
MOST_PIXELS = 4_000_000_000  # of all frames: a small file can hold thousands of large ones; 2,000 of 1920x1080
_USUAL_MS, _LEAST_MS = 100, 20  # browsers show a frame of less than the least as long as this


def is_animation(path: Path) -> bool:
    """Return whether a file is an animation of several frames."""
    try:
        with open_image(read_bytes(path)) as image:
            return image.format in ANIMATED and getattr(image, "is_animated", False)
    except ImageError:
        return False


class AnimationFile:
    """An animation, read as FramesFile demands. Raises VideoError for one without a readable frame."""

    def __init__(self, path: Path):
        self._data = read_bytes(path)
        self.changes: dict[str, None] = {}
        starts, end, self.truncated = [], 0, False
        try:
            with open_image(self._data) as image:
                size, codec = image.size, (image.format or "").lower()
                width, height = gif_canvas(self._data) if image.format == "GIF" else size
                refuse_large_frames(width, height)
                most = min(MOST_FRAMES, MOST_PIXELS // max(1, width * height))
                for number, one in enumerate(ImageSequence.Iterator(image)):
                    if number == most:
                        self.truncated = True
                        break
                    one.load()  # a WebP file tells the duration of a frame when it is decoded
                    shown = float(one.info.get("duration") or 0)
                    starts.append(end)
                    end += round(shown) if shown >= _LEAST_MS else _USUAL_MS
        except ImageError as error:
            if not starts:
                raise VideoError(error.status, str(error)) from None
            self.truncated = True
        self.timeline = Timeline(starts, 1e-3)
        rate = 1000 * len(starts) / end
        self.info = VideoInfo(*size, rate, len(starts), end / 1000, 0, codec)

    def decode(self, chosen: list[int], damaged: Count) -> Iterator[Frame]:
        """Yield the selected frames."""
        wanted = set(chosen)
        with open_image(self._data) as image:
            for index, one in enumerate(ImageSequence.Iterator(image)):
                if index > chosen[-1]:
                    return
                if index in wanted:
                    pixels = to_rgb(one)
                    if pixels is None:
                        damaged.n += 1
                    else:
                        yield Frame(index, self.timeline.time(index), pixels)
