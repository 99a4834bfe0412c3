"""Compress an image as the frame of a video, as videos on the web and in chats are."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import numpy as np

CODECS = {
    "avc": ("libx264", "h264"),
    "hevc": ("libx265", "hevc"),
}  # name -> encoder and decoder of FFmpeg: H.264, H.265
_FRAMES = 3  # the last is predicted from those before it, as most frames of a video are
_OPTIONS = {"preset": "veryfast", "tune": "zerolatency", "threads": "1"}
_SMALLEST = 32  # pixels: H.265 takes no smaller frames
_X265 = "log-level=none:pools=none:frame-threads=1"  # one thread, and no output


def compressed_as_video(layout: np.ndarray, codec: str, crf: int) -> np.ndarray:
    """Return an image, uint8 (R, R, C), as it looks in a video of constant rate factor `crf` (18 good to 40 poor). The video
    shows it as it moves by a pixel a frame.
    """
    import av

    side, channels = layout.shape[0], layout.shape[2]
    even = max(side + side % 2, _SMALLEST)  # 4:2:0 colour
    rgb = np.pad(np.broadcast_to(layout, (side, side, 3)), ((0, even - side), (0, even - side), (0, 0)), mode="edge")
    encoder, decoder = CODECS[codec]
    writer: Any = av.CodecContext.create(encoder, "w")
    writer.width = writer.height = even
    writer.pix_fmt, writer.time_base = "yuv420p", Fraction(1, 25)
    writer.options = {**_OPTIONS, "crf": str(crf), **({"x265-params": _X265} if codec == "hevc" else {})}
    reader: Any = av.CodecContext.create(decoder, "r")
    packets = []
    for number in range(_FRAMES):
        moved = np.ascontiguousarray(np.roll(rgb, number + 1 - _FRAMES, axis=1))
        frame = av.VideoFrame.from_ndarray(moved, format="rgb24")
        frame.pts = number
        packets += writer.encode(frame)
    packets += writer.encode(None)
    shown = [frame for packet in [*packets, None] for frame in reader.decode(packet)]
    back = shown[-1].to_ndarray(format="rgb24")[:side, :side]
    return back if channels == 3 else back.mean(axis=2, keepdims=True).round().astype(np.uint8)
