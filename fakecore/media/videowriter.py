"""Write a video frame by frame in a form that browsers play: H.264, yuv420p, index at the start, no sound."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from fractions import Fraction
from pathlib import Path

import cv2
import numpy as np

from fakecore.errors import UserError
from fakecore.files import atomic_path

CRF = 20  # visually close to the input
_SMALLEST = 16  # pixels
_TICK = 90_000  # time units per second, as in MPEG


@contextmanager
def video_writer(
    path: Path, size_wh: tuple[int, int], fps: float | None, *, comment: str | None = None, crf: int = CRF
) -> Iterator[Callable[[np.ndarray, float], None]]:
    """Yield a function that adds a frame, uint8 RGB (H, W, 3), at a time in seconds after the first frame.

    The video is at `path` (.mp4) after the block ends without an error. An odd side loses its last pixel; frames of another
    size are resized. `comment` goes into the file's metadata; `crf` is H.264's constant rate factor, 0
    lossless to 51 poor. Raises UserError if the video is too small to encode.
    """
    import av

    width, height = (side - side % 2 for side in size_wh)  # 4:2:0 needs even sides
    if min(width, height) < _SMALLEST:
        got, expected = f"{size_wh[0]}x{size_wh[1]} pixels", f"{_SMALLEST}x{_SMALLEST} or more"
        raise UserError("the video is too small to encode", got=got, expected=expected)
    with (
        atomic_path(path) as temporary,
        av.open(str(temporary), "w", format="mp4", options={"movflags": "faststart"}) as container,
    ):
        if comment is not None:
            container.metadata["comment"] = comment
        stream = container.add_stream("libx264", rate=round(fps or 25) or 1, options={"crf": str(crf)})
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        stream.time_base = stream.codec_context.time_base = Fraction(1, _TICK)
        first: float | None = None

        def add(pixels: np.ndarray, time_s: float) -> None:
            nonlocal first
            first = time_s if first is None else first
            if pixels.shape[:2] != (height, width):
                even = pixels[: pixels.shape[0] // 2 * 2, : pixels.shape[1] // 2 * 2]
                pixels = even if even.shape[:2] == (height, width) else cv2.resize(pixels, (width, height))
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(pixels), format="rgb24")
            frame.pts, frame.time_base = round((time_s - first) * _TICK), Fraction(1, _TICK)
            container.mux(stream.encode(frame))

        yield add
        container.mux(stream.encode(None))
