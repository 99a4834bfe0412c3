"""What a job asks of the processes that judge for it, wherever they run."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any

from fakedetect.faces.options import VideoOptions


@dataclass(frozen=True)
class Request:
    """How to judge: with the detector at `detector`, a path or URL that every machine can read, or the name of one that comes
    with fakelab; None stands for those of the package. `ids` maps the id of each detector to its name: a machine on which the
    same path has another detector must not judge.
    """

    detector: str | None
    ids: dict[str, str]
    options: VideoOptions = field(default_factory=VideoOptions)
    stability: bool = False
    device: str = "auto"

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @staticmethod
    def from_json(values: dict[str, Any]) -> Request:
        return Request(**{**values, "options": VideoOptions(**values["options"])})
