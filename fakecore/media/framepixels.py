"""From a decoded frame to pixels as players show them: rotated, deinterlaced, in sRGB."""

from __future__ import annotations

from collections.abc import Mapping
from fractions import Fraction
from typing import Any

import numpy as np

from fakecore.media import hdr
from fakecore.media.orientation import BY_DEGREES, Orientation

# Matrices from YUV to RGB, numbers of ITU-T H.273.
_MATRICES = (0, 1, 2, 4, 5, 6, 7, 9)  # those that FFmpeg converts
_UNSPECIFIED, _BT2020 = 2, 9
DEINTERLACED, TONE_MAPPED = "interlaced: shown by one field of each frame", "HDR: tone-mapped to sRGB"


def orientation(frame: Any, tags: Mapping[str, str]) -> Orientation:
    """Return the orientation of PyAV's frame: that of its display matrix, or else of the tag "rotate" of its stream, which
    older programs write, degrees clockwise.
    """
    matrix = next((bytes(one) for one in frame.side_data if one.type.name == "DISPLAYMATRIX"), b"")
    if len(matrix) == 36:
        # x' = a x + c y, y' = b x + d y (ISO/IEC 14496-12, 6.2.2); angles between those of the sides are rounded
        a, b, _, c, d = np.frombuffer(matrix, np.int32)[:5].tolist()
        if abs(a) + abs(d) >= abs(b) + abs(c):
            return Orientation(mirror_x=a < 0, mirror_y=d < 0)
        return Orientation(swapped=True, mirror_x=c < 0, mirror_y=b < 0)
    degrees = next((value for key, value in tags.items() if key.lower() == "rotate"), "0")
    try:
        return BY_DEGREES.get(round(float(degrees) / 90) * 90 % 360, Orientation())
    except (ValueError, OverflowError):  # no number, or not a finite one
        return Orientation()


def pixels_of(frame: Any, turned: Orientation) -> np.ndarray:
    """Return PyAV's frame as uint8 sRGB (H, W, 3), as players display it."""
    if frame.interlaced_frame:
        frame = _deinterlaced(frame)
    if frame.colorspace not in _MATRICES:
        frame.colorspace = _UNSPECIFIED  # reserved numbers and rare matrices, which FFmpeg refuses to convert
    if not _is_hdr(frame):
        return turned.apply(frame.to_ndarray(format="rgb24"))
    if frame.colorspace == _UNSPECIFIED:
        frame.colorspace = _BT2020
    values = frame.to_ndarray(format="rgb48le")
    return turned.apply(hdr.to_srgb(values, int(frame.color_trc), int(frame.color_primaries)))


def changes(frame: Any) -> list[str]:
    """Return what `pixels_of` changes of PyAV's frame, as notes for the user."""
    return [DEINTERLACED] * bool(frame.interlaced_frame) + [TONE_MAPPED] * _is_hdr(frame)


def _is_hdr(frame: Any) -> bool:
    return frame.color_trc in (hdr.PQ, hdr.HLG)


def _deinterlaced(frame: Any) -> Any:
    """Return a frame of one of the two fields, its missing lines interpolated along edges.

    Only this frame is used: frames are chosen far apart, so the ones before and after are not decoded. The frame itself is
    returned if FFmpeg cannot do it, for example for two lines.
    """
    import av
    from av.filter import Graph

    try:
        graph = Graph()
        unit = frame.time_base or Fraction(1)
        source = graph.add_buffer(width=frame.width, height=frame.height, format=frame.format, time_base=unit)
        sink = graph.add("buffersink")
        graph.link_nodes(source, graph.add("estdif", "mode=frame:deint=interlaced"), sink)
        graph.configure()
        source.push(frame)
        source.push(None)
        return sink.pull()
    except (av.error.FFmpegError, OSError, ValueError):
        return frame
