"""What the server asks of its workers. Imports nothing heavy: the server itself needs no torch."""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields
from typing import Any

from fakecore.media.videofiles import SUFFIXES
from fakedetect.scoring.columns import COLUMNS

# What is kept of a file, by name, in the folder of its results.
PICTURE, MARKED, SECTION, JUDGED = "picture.jpg", "marked.mp4", "section.json", "judged.png"
HEAT, REPORT = "heat.jpg", "report.html"  # made when they are asked for; that of a whole job is in its folder
TRACKS = "tracks.json"  # what MARKED is drawn from, until it is


@dataclass(frozen=True)
class Task:
    """A file to judge. `name` stands for it in the row; pictures are written to the folder `results`, if one is given. With
    `marked`, its tracks are kept there, so that a marked video can be drawn.
    """

    id: str
    path: str
    name: str
    choice: str
    stability: bool = False
    whole_frame: bool = False
    results: str | None = None
    marked: bool = False

    @property
    def kind(self) -> tuple:
        """Tasks of one kind can be judged in one batch."""
        return self.choice, self.stability, self.whole_frame

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @staticmethod
    def from_json(values: dict[str, Any]) -> Task:
        return Task(**{one.name: values[one.name] for one in fields(Task)})


@dataclass(frozen=True)
class Limits:
    """The most pixels of a photo or frame, and minutes of a video."""

    max_pixels: int
    max_minutes: float


def failed_row(name: str, why: str) -> dict:
    """Return the row of a file whose worker died or was stopped."""
    kind = "video" if name.lower().endswith(tuple(SUFFIXES)) else "image"
    return dict.fromkeys(COLUMNS) | {"path": name, "status": "unreadable", "kind": kind, "error": why}
