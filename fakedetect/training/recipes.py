"""Recipes: ways to make the fakes for a detector from real images alone. Packages provide them through the entry-point group
`fakelab.recipes`: a name, and a `Recipe`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any, Protocol

from fakecore.errors import UserError, unknown_name

GROUP = "fakelab.recipes"


class MakeSources(Protocol):
    """Makes sources of fakes from the real images `real` in `folder`, and returns them: sets or runs. A second call with the
    same arguments continues where the first one was stopped.
    """

    def __call__(
        self, real: str, folder: Path, *, seed: int = 0, device: str = "auto", data_root: Path | None = None
    ) -> list[Path]: ...


@dataclass(frozen=True)
class Recipe:
    """`settings` are fields of DetectorSettings for the detector of these sources, unless the caller sets them."""

    make_sources: MakeSources
    settings: Mapping[str, Any] = field(default_factory=dict)


def get_recipe(name: str) -> Recipe:
    """Return the recipe called `name`. Raises UserError, listing the choices, if there is none."""
    points = {point.name: point for point in entry_points(group=GROUP)}
    if name not in points:
        raise unknown_name("recipe", name, sorted(points))
    return points[name].load()


def require_reals_only(places: list[str] | None, real: str | None, fake: list[str] | None) -> str:
    """Return `real`. Raises UserError unless it is given, and nothing else: a recipe makes the fakes."""
    if real is None or places or fake:
        raise UserError(
            "--recipe makes the fakes itself", expected="--real with your real images, and no set and no --fake"
        )
    return real
