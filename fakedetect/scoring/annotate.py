"""`score VIDEO --annotate OUT.mp4`: a copy of the video, without sound, with each face's box, track and verdict."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import nullcontext
from pathlib import Path

import cv2
import numpy as np

from fakecore.errors import UserError
from fakecore.media.video import frames
from fakecore.media.videowriter import video_writer
from fakecore.progress import progress_bar
from fakedetect.faces.options import VideoOptions
from fakedetect.faces.tracks import box_at
from fakedetect.scoring.trackscores import VideoShown

_COLOURS = {"real": (60, 170, 95), "unsure": (235, 175, 40), "fake": (214, 60, 56)}  # RGB
_INKS = {"real": (0, 0, 0), "unsure": (0, 0, 0), "fake": (255, 255, 255)}  # of a label on them


def refuse_video(path: Path, inputs: int | None, out: Path | None) -> None:
    """Raise UserError unless a video can be written to `path`; called before scoring starts. `inputs`: the number of files,
    None if it is not known.
    """
    if path.suffix.lower() != ".mp4":
        raise UserError("--annotate has an unknown suffix", got=repr(path.name), expected=".mp4")
    if inputs != 1:
        got = "an archive or thousands of files" if inputs is None else f"{inputs:,} files"
        raise UserError("--annotate takes exactly one video", got=got)
    if out is not None and out.suffix.lower() != ".html":
        raise UserError(
            "--annotate cannot be combined with a results file",
            got=f"--out {out}",
            expected="an .html report, or no --out",
        )
    if path.exists():
        raise UserError(
            f"{path} already exists; existing files are never overwritten", remedy="Choose another --annotate."
        )


def annotate(
    video: Path,
    out: Path,
    shown: VideoShown,
    options: VideoOptions,
    on_progress: Callable[[int, int], None] | None = None,
) -> None:
    """Write the analysed part of `video` to `out` with annotations. Holds one frame in memory at a time. With `on_progress`,
    called with (frames drawn, frames expected), no progress bar is shown.

    Raises UserError, and writes nothing, if the video ends before its last judged face: FFmpeg calls frames damaged, too, when
    it has no memory for them.
    """
    found = frames(video, start_s=options.start_s, end_s=options.end_s)
    info = found.info
    last_s, judged_s = 0.0, max(track.times[-1] for track, *_ in shown.tracks)
    with (
        video_writer(out, (info.width, info.height), info.fps) as add,
        nullcontext() if on_progress else progress_bar("drawing", found.expected, "frames") as bar,
    ):
        for drawn, frame in enumerate(found, 1):
            pixels = np.ascontiguousarray(frame.pixels)
            for track, judgement, _ in reversed(shown.tracks):  # the deciding track is drawn last, on top
                box = box_at(track.times, track.boxes, frame.time_s)
                if box is not None:
                    label = box_label(judgement.verdict, judgement.p_fake)
                    draw_box(pixels, box, f"{track.number}: {label}", judgement.verdict)
            add(pixels, frame.time_s)
            last_s = frame.time_s
            if bar:
                bar.advance()
            elif on_progress:
                on_progress(drawn, found.expected)
        if last_s < judged_s:
            raise UserError(
                "frames were lost while the video was annotated",
                got=f"an end at {last_s:.1f} s",
                expected=f"{judged_s:.1f} s or more",
                remedy="Free some memory, or allow more (serve: --memory-mb).",
            )


def box_label(verdict: str, p_fake: float) -> str:
    """Return what the label of a box says of a judgement."""
    return f"{verdict} {min(max(p_fake, 0.01), 0.99):.2f}"


def draw_box(
    pixels: np.ndarray, box: Sequence[float] | np.ndarray, text: str, verdict: str, scale: float | None = None
) -> None:
    """Draw a box (xyxy, pixels) in the colour of its verdict, and its label, into uint8 RGB (H, W, 3), in place. `scale` is the
    size of the letters: 1 is 22 pixels. By default, it follows from the size of the picture.
    """
    colour = _COLOURS[verdict]
    scale = scale or max(0.35, min(pixels.shape[:2]) / 1000)
    thick = max(1, round(3 * scale))
    left, top, right, bottom = (round(float(value)) for value in box)
    cv2.rectangle(pixels, (left, top), (right, bottom), colour, thick)
    (wide, high), under = cv2.getTextSize(text, cv2.FONT_HERSHEY_SIMPLEX, scale, max(1, thick // 2))
    tall = high + under + thick
    base = (
        top - under if top >= tall else min(top + tall, pixels.shape[0] - under)
    )  # above the box, or inside its top edge
    start = max(0, min(left, pixels.shape[1] - wide))
    cv2.rectangle(pixels, (start, base - high - thick), (start + wide, base + under), colour, -1)
    cv2.putText(
        pixels, text, (start, base), cv2.FONT_HERSHEY_SIMPLEX, scale, _INKS[verdict], max(1, thick // 2), cv2.LINE_AA
    )
