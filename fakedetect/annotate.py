"""`score FILM --annotate OUT.mp4`: the film once more, without sound, with each face's box, track and verdict drawn into it.

H.264 in yuv420p with the index in front, as browsers play it.
"""

from __future__ import annotations

from bisect import bisect_right
from fractions import Fraction
from pathlib import Path

import cv2
import numpy as np

from fakecore.errors import UserError
from fakecore.files import atomic_path
from fakecore.progress import progress_bar
from fakecore.video import frames
from fakedetect.detector import Judgement
from fakedetect.tracks import MAX_GAP_S
from fakedetect.videoscore import FilmShown, Look, TrackSeen

_COLOURS = {"real": (60, 170, 95), "unsure": (235, 175, 40), "fake": (214, 60, 56)}  # RGB
_TICK = 90_000  # of time in a second, MPEG's own
_CRF = "20"  # hard to tell from what was put in
_AROUND_S = 0.25  # a box stays so long before its first sighting, and after its last


def refuse_film(path: Path, inputs: int, out: Path | None) -> None:
    """Raise UserError unless a film can be written to `path`: before the work, not after it."""
    if path.suffix.lower() != ".mp4":
        raise UserError("--annotate has a suffix that is not known", got=repr(path.name), expected=".mp4")
    if inputs != 1:
        raise UserError("--annotate takes one film", got=f"{inputs:,} files")
    if out is not None and out.suffix.lower() != ".html":
        raise UserError(
            "--annotate does not go with rows on disk", got=f"--out {out}", expected="an .html page, or none"
        )
    if path.exists():
        raise UserError(f"{path} already exists; a film is never overwritten", remedy="Choose another --annotate.")


def annotate(film: Path, out: Path, shown: FilmShown, look: Look) -> None:
    """Write the part of `film` that was looked at to `out`, annotated. A frame at a time is in memory."""
    import av

    found = frames(film, start_s=look.start_s, end_s=look.end_s)
    height, width = (side - side % 2 for side in (found.info.height, found.info.width))  # what 4:2:0 can hold
    if min(height, width) < 16:
        got = f"{found.info.width}x{found.info.height} pixels"
        raise UserError(f"{film} is too small to draw into", got=got, expected="16x16 or more")
    with (
        atomic_path(out) as temporary,
        av.open(str(temporary), "w", format="mp4", options={"movflags": "faststart"}) as container,
        progress_bar("drawing", found.expected, "frames") as bar,
    ):
        stream = container.add_stream("libx264", rate=round(found.info.fps or 25), options={"crf": _CRF})
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        stream.time_base = stream.codec_context.time_base = Fraction(1, _TICK)
        first = None
        for frame in found:
            first = frame.time_s if first is None else first
            pixels = np.ascontiguousarray(frame.pixels)
            for track, judgement, _ in reversed(shown.tracks):  # the one that decides lies on top
                box = box_at(track, frame.time_s)
                if box is not None:
                    _draw(pixels, box, track.number, judgement)
            if pixels.shape[:2] != (height, width):
                even = pixels[: pixels.shape[0] // 2 * 2, : pixels.shape[1] // 2 * 2]
                pixels = even if even.shape[:2] == (height, width) else cv2.resize(pixels, (width, height))
            picture = av.VideoFrame.from_ndarray(np.ascontiguousarray(pixels), format="rgb24")
            picture.pts, picture.time_base = round((frame.time_s - first) * _TICK), Fraction(1, _TICK)
            container.mux(stream.encode(picture))
            bar.advance()
        container.mux(stream.encode(None))


def box_at(track: TrackSeen, time_s: float) -> np.ndarray | None:
    """Where a track's box (4,) xyxy is at a time: between two sightings on the way from one to the other; None where the
    face is not seen.
    """
    after = bisect_right(track.times, time_s)
    if after == 0:
        return track.boxes[0] if track.times[0] - time_s <= _AROUND_S else None
    before_s = track.times[after - 1]
    if after == len(track.times):
        return track.boxes[-1] if time_s - before_s <= _AROUND_S else None
    passed = track.times[after] - before_s
    if passed > MAX_GAP_S:
        return track.boxes[after - 1] if time_s - before_s <= _AROUND_S else None
    share = (time_s - before_s) / passed
    return (1 - share) * track.boxes[after - 1] + share * track.boxes[after]


def _draw(pixels: np.ndarray, box: np.ndarray, number: int, judgement: Judgement) -> None:
    """A box and its label into uint8 RGB (H, W, 3), in place."""
    colour = _COLOURS[judgement.verdict]
    scale = max(0.35, min(pixels.shape[:2]) / 1000)
    thick = max(1, round(3 * scale))
    left, top, right, bottom = (round(float(value)) for value in box)
    cv2.rectangle(pixels, (left, top), (right, bottom), colour, thick)
    text = f"{number}: {judgement.verdict} {min(max(judgement.p_fake, 0.01), 0.99):.2f}"
    (wide, high), under = cv2.getTextSize(text, cv2.FONT_HERSHEY_SIMPLEX, scale, max(1, thick // 2))
    tall = high + under + thick
    base = top - under if top >= tall else min(top + tall, pixels.shape[0] - under)  # above the box, or in its top
    start = max(0, min(left, pixels.shape[1] - wide))
    cv2.rectangle(pixels, (start, base - high - thick), (start + wide, base + under), colour, -1)
    cv2.putText(
        pixels, text, (start, base), cv2.FONT_HERSHEY_SIMPLEX, scale, (255,) * 3, max(1, thick // 2), cv2.LINE_AA
    )
