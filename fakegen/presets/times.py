"""How long presets train: times.json, measured by `python -m benchmarks.speed --only families --record MACHINE`."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

from fakecore.files import read_json

FILE = Path(__file__).with_name("times.json")


def seconds_of_1000_steps(preset: str) -> float | None:
    """Return the seconds that 1,000 steps of a preset took, with its own settings; None if it was not measured."""
    return _measured()["seconds"].get(preset)


def measured_on() -> str:
    """Return the machine and the date of the times."""
    return f"{_measured()['machine']}, {_measured()['date']}"


@cache
def _measured() -> dict[str, Any]:
    return read_json(FILE)
