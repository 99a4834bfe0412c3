"""Draw marked videos, in a worker, once their verdict is known."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np

from fakecore.files import write_bytes
from fakedetect.faces.options import VideoOptions
from fakedetect.models.detector import Judgement
from fakedetect.scoring.annotate import annotate
from fakedetect.scoring.trackscores import TrackSeen, VideoShown
from fakedetect.web.tasks import MARKED, TRACKS

_EVERY = 10  # frames between two reports of progress


def write_tracks(path: Path, shown: VideoShown) -> None:
    """Write what a marked video is drawn from: of each track its verdict, and its boxes (xyxy, pixels) over time in seconds."""
    tracks = [
        {
            "number": track.number,
            "p_fake": judgement.p_fake,
            "verdict": judgement.verdict,
            "times": track.times,
            "boxes": [box.tolist() for box in track.boxes],
        }
        for track, judgement, _ in shown.tracks
    ]
    write_bytes(path, json.dumps({"whole_frame": shown.whole_frame, "tracks": tracks}).encode())


def _read_tracks(path: Path) -> VideoShown:
    stored = json.loads(path.read_bytes())
    tracks: list[tuple[TrackSeen, Judgement, list[float]]] = [
        (
            TrackSeen(one["number"], one["times"], [np.array(box, np.float32) for box in one["boxes"]]),
            Judgement(one["p_fake"], one["verdict"], 1.0, 0.0),  # thresholds are not drawn
            [],
        )
        for one in stored["tracks"]
    ]
    return VideoShown(tracks, len(tracks), stored["whole_frame"])


def write_marked(results: Path, video: Path, on_progress: Callable[[int, int], None]) -> None:
    """Write the marked video of a judged one to the folder of its results; `on_progress` is called with (frames drawn, frames
    expected). Raises UserError or VideoError if it cannot be drawn to its end.
    """

    def report(drawn: int, expected: int) -> None:
        if drawn % _EVERY == 0 or drawn == expected:
            on_progress(drawn, expected)

    annotate(video, results / MARKED, _read_tracks(results / TRACKS), VideoOptions(), report)
