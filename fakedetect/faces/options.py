"""Options of video analysis."""

from __future__ import annotations

from dataclasses import dataclass

from fakecore.errors import UserError
from fakecore.media.video import check_choice
from fakedetect.faces.finder import SMALLEST, check_margin

FPS = 5.0  # frames analysed per second
# In each track, the sharpest face of every EACH_S seconds is scored FIRST times, then of every LATER_S: docs/lab/videos.md.
EACH_S, FIRST, LATER_S = 0.4, 3, 1.0
_NOTE = "options: "
_OLD_NOTE = "looked at with "  # in results written by earlier versions


@dataclass(frozen=True)
class VideoOptions:
    """How to analyse videos: `fps` frames per second, or `count` frames spread evenly, between `start_s` and `end_s`.

    Raises UserError for invalid values.
    """

    fps: float | None = None  # default: FPS, unless `count` is given
    count: int | None = None
    start_s: float = 0.0
    end_s: float | None = None
    min_face: float = 60  # pixels
    margin: float | None = None  # around a face, as a fraction of its side; None: as in the detector's training
    whole_frame: bool = False  # score whole frames like photos, without finding faces
    every_face: bool = False  # score every face of a track, not only selected ones

    def __post_init__(self):
        check_choice(fps=self.fps, count=self.count, start_s=self.start_s, end_s=self.end_s)
        if not self.min_face >= SMALLEST:
            raise UserError("--min-face is too small", got=self.min_face, expected=f"{SMALLEST} pixels or more")
        if self.margin is not None:
            check_margin(self.margin)

    @property
    def note(self) -> str | None:
        """The options that differ from the defaults, as a note for results; None if none does."""
        return _NOTE + self._changed if self._changed else None

    @property
    def _changed(self) -> str:
        values = {
            "--fps": None if self.fps == FPS else self.fps,
            "--frames": self.count,
            "--start": self.start_s or None,
            "--end": self.end_s,
            "--min-face": None if self.min_face == VideoOptions.min_face else self.min_face,
            "--margin": self.margin,
        }
        words = [f"{name} {value:g}" for name, value in values.items() if value is not None]
        words += ["--whole-frame"] * self.whole_frame + ["--every-face"] * self.every_face
        return " ".join(words)

    def matches(self, note: str | None) -> bool:
        """Return whether a result row with this note was scored with these options."""
        last = (note or "").rpartition("; ")[2]
        used = next((last.removeprefix(start) for start in (_NOTE, _OLD_NOTE) if last.startswith(start)), "")
        return used == self._changed
