"""The results of a race."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path


@dataclass
class Raced:
    """Results of `run_race`. `rows` are those of results.csv; `problems` lists checkpoints and detectors that were left out."""

    out: Path
    rows: list[dict]
    headline: str
    correlations: list[dict]
    problems: list[dict]
    seconds: dict[str, float] = field(default_factory=dict)  # of this call, by phase
    fresh: dict[str, int] = field(default_factory=dict)  # cells computed by this call, by kind
