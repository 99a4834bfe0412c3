"""What a race leaves behind, for its callers and its report."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path


@dataclass
class Raced:
    """What `race` leaves behind. `rows` are those of results.csv; `problems` names what could not be used."""

    out: Path
    rows: list[dict]
    headline: str
    correlations: list[dict]
    problems: list[dict]
    seconds: dict[str, float] = field(default_factory=dict)  # of this call, by what was done
    fresh: dict[str, int] = field(default_factory=dict)  # cells computed now, by kind; the others were there
