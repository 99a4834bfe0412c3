"""The detectors that a server offers, by name."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fakecore.errors import UserError, unknown_name
from fakedetect.web.settings import ServeSettings

if TYPE_CHECKING:
    from fakedetect.models.detector import Detector

PACKAGE = "default"  # the choice of both detectors of the package


@dataclass(frozen=True)
class Choice:
    """What one can choose: a detector, and perhaps a second one for whole photos; paths, or names of the package's."""

    name: str
    detector: str
    of_photos: str | None = None


def choices(settings: ServeSettings) -> list[Choice]:
    """Return what is offered, the default first. Raises UserError if two have the same name."""
    if not settings.detectors:
        return [Choice(PACKAGE, "faces", "photos"), Choice("faces", "faces"), Choice("photos", "photos")]
    offered = [Choice(_name(path), path) for path in settings.detectors]
    names = [one.name for one in offered]
    for name in names:
        if names.count(name) > 1:
            raise UserError("two detectors have the same name", got=name, remedy="Rename one of the folders.")
    return offered


def _name(path: str) -> str:
    return Path(path).resolve().name.removesuffix(".onnx")


class Panel:
    """The offered detectors, loaded: in each worker, and in the server to describe them."""

    def __init__(self, offered: list[Choice], device: str):
        self._offered = {one.name: one for one in offered}
        self._device = device
        self._loaded: dict[str, Detector] = {}

    @cached_property
    def default(self) -> str:
        """The name of the choice that is used where none is named."""
        return next(iter(self._offered))

    def names(self) -> list[str]:
        """Return the names of all choices, the default first."""
        return list(self._offered)

    def load_all(self) -> None:
        """Load every detector, and the face finder. Raises UserError for one that cannot be used."""
        from fakedetect.faces.finder import FaceFinder

        for one in self._offered.values():
            self.chosen(one.name)
        FaceFinder(device=self._device)

    def chosen(self, name: str) -> tuple[Detector, Detector | None]:
        """Return the detectors of a choice. Raises UserError for an unknown name."""
        if name not in self._offered:
            raise unknown_name("detector", name, self._offered)
        one = self._offered[name]
        return self._load(one.detector), self._load(one.of_photos) if one.of_photos else None

    def _load(self, path: str) -> Detector:
        from fakedetect.models.detector import Detector

        if path not in self._loaded:
            self._loaded[path] = Detector.load(path, self._device)
        return self._loaded[path]

    def described(self, name: str) -> dict[str, Any]:
        """Return what the API says of a choice."""
        from fakedetect.models.facts import expectation

        return {
            "name": name,
            "default": name == self.default,
            "judges": [
                {
                    "name": one.name or one.facts["model"],
                    "id": one.id,
                    "model": one.facts["model"],
                    "subject": "face" if one.face_margin is not None else "frame",
                    "trained_on": one.facts["training"]["domain"],
                    "expectation": expectation(one.facts),
                    "left_out": one.facts.get("left_out"),
                    "thresholds": one.thresholds.to_json(),
                }
                for one in self.chosen(name)
                if one is not None
            ],
        }
