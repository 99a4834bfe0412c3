"""Figures of the benchmark, and the table of them."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from fakecore.report.tables import table


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


def _number(value: float | None) -> str:
    if value is None:
        return ""
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"
