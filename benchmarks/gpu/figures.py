"""Figures of the benchmark, the commands that they come from, and the table of them."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from fakecore.report.tables import table


class Failed(Exception):
    """A command failed or ran past its time; the text is the end of its output."""


@dataclass(frozen=True)
class Figure:
    """One line of the table. `plain` is what the textbook script reaches, `ceiling` what the device can; None: not measured.
    `goal` is a least value, or a greatest one where `less_is_better`.
    """

    name: str
    value: float
    unit: str
    plain: float | None = None
    ceiling: float | None = None
    goal: float | None = None
    less_is_better: bool = False

    def reached(self) -> bool | None:
        if self.goal is None:
            return None
        return self.value <= self.goal if self.less_is_better else self.value >= self.goal

    def row(self) -> tuple[str, ...]:
        ratio = None if not self.plain else self.plain / self.value if self.less_is_better else self.value / self.plain
        share = f"{self.value / self.ceiling:.0%}" if self.ceiling else ""
        words = {None: "", True: "reached", False: "MISSED"}[self.reached()]
        goal = f"{_number(self.goal)}, {words}" if self.goal is not None else ""
        return (
            f"{self.name}, {self.unit}",
            _number(self.value),
            _number(self.plain),
            f"{ratio:.1f}x" if ratio else "",
            _number(self.ceiling),
            share,
            goal,
        )

    def to_json(self) -> dict[str, Any]:
        return asdict(self) | {"reached": self.reached()}


@dataclass(frozen=True)
class Check:
    """A property that holds or does not."""

    name: str
    holds: bool
    detail: str = ""


def print_table(figures: list[Figure]) -> None:
    """Print all figures as one table."""
    print(table(("figure", "fakelab", "plain", "ratio", "ceiling", "share", "goal"), [one.row() for one in figures]))


def run(words: list[object], *, limit_s: float, cwd: Path | None = None) -> tuple[str, float]:
    """Run this Python with `words`; return its output and its seconds. Raises Failed."""
    began = time.perf_counter()
    command = [sys.executable, *map(str, words)]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=limit_s, cwd=cwd)
    except subprocess.TimeoutExpired as late:
        raise Failed(f"ran past {limit_s:.0f} s: {' '.join(map(str, words))} {_end(late.stderr)}") from None
    if done.returncode:
        raise Failed(f"{' '.join(map(str, words))}: {_end(done.stderr) or _end(done.stdout)}")
    return done.stdout, time.perf_counter() - began


def last_json(output: str) -> Any:
    """Return the JSON of the last line of an output."""
    return json.loads(output.strip().splitlines()[-1])


def _end(output: str | bytes | None) -> str:
    text = output.decode(errors="replace") if isinstance(output, bytes) else output or ""
    return " | ".join(text.strip().splitlines()[-3:])


def _number(value: float | None) -> str:
    if value is None:
        return ""
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"
