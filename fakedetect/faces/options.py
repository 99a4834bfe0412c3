"""How films are looked at when they are judged."""

from __future__ import annotations

from dataclasses import dataclass

from fakecore.errors import UserError
from fakecore.media.video import check_choice
from fakedetect.faces.finder import SMALLEST, check_margin

FPS = 5.0  # looks a second
# Of a track, the sharpest face of each EACH_S is judged FIRST times, then that of each LATER_S: see docs/videos.md.
EACH_S, FIRST, LATER_S = 0.4, 3, 1.0
_LOOKED = "looked at with "


@dataclass(frozen=True)
class Look:
    """How films are looked at: `fps` frames a second, or `count` spread over each, between `start_s` and `end_s`.

    Raises UserError for what makes no sense.
    """

    fps: float | None = None  # FPS, when `count` is not given either
    count: int | None = None
    start_s: float = 0.0
    end_s: float | None = None
    min_face: float = 60  # pixels
    margin: float | None = None  # around a face, as a share of its side; None: as in the detector's training
    whole_frame: bool = False  # no faces: frames are judged as photos are
    every_face: bool = False  # judge each face of a track, not some alone

    def __post_init__(self):
        check_choice(fps=self.fps, count=self.count, start_s=self.start_s, end_s=self.end_s)
        if not self.min_face >= SMALLEST:
            raise UserError("--min-face is too small", got=self.min_face, expected=f"{SMALLEST} pixels or more")
        if self.margin is not None:
            check_margin(self.margin)

    @property
    def note(self) -> str | None:
        """What of it is not as usual, for the rows of films: None where all is."""
        told = {
            "--fps": None if self.fps == FPS else self.fps,
            "--frames": self.count,
            "--start": self.start_s or None,
            "--end": self.end_s,
            "--min-face": None if self.min_face == Look.min_face else self.min_face,
            "--margin": self.margin,
        }
        words = [f"{name} {value:g}" for name, value in told.items() if value is not None]
        words += ["--whole-frame"] * self.whole_frame + ["--every-face"] * self.every_face
        return _LOOKED + " ".join(words) if words else None

    def made(self, note: str | None) -> bool:
        """Whether a film's row that bears this note was looked at in this way."""
        last = (note or "").rpartition("; ")[2]
        return last == self.note if self.note else not last.startswith(_LOOKED)
