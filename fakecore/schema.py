"""Check JSON that may be edited or incomplete, field by field, before it is used."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from fakecore.errors import UserError


@dataclass(frozen=True)
class Kind:
    """The values that a field may have: in words, and as a test."""

    words: str
    fits: Callable[[Any], bool]


TEXT = Kind("a string", lambda value: isinstance(value, str))
TEXT_OR_NONE = Kind("a string or null", lambda value: value is None or isinstance(value, str))
OBJECT = Kind("an object", lambda value: isinstance(value, dict))


def whole(low: int | None = None, high: int | None = None) -> Kind:
    """A whole number within `low` and `high`, both included."""
    return Kind("a whole number" + _span(low, high), lambda value: type(value) is int and _within(value, low, high))


def number(low: float | None = None, high: float | None = None) -> Kind:
    """A finite number within `low` and `high`, both included."""

    def fits(value: Any) -> bool:
        return type(value) in (int, float) and math.isfinite(value) and _within(value, low, high)

    return Kind("a number" + _span(low, high), fits)


def one_of(*values: int) -> Kind:
    """One of a few whole numbers."""
    words = " or ".join(map(str, values))
    return Kind(words, lambda value: type(value) is int and value in values)


def check_fields(facts: Any, fields: Mapping[str, Any], where: object, *, remedy: str, inside: str = "") -> None:
    """Raise UserError for the first of `fields` that is missing in `facts` or of another kind.

    `fields` maps a name to its Kind, or to the fields of the object that it holds. Other names in `facts` are ignored.
    """
    if not isinstance(facts, dict):
        raise _unusable(where, inside.rstrip("."), facts, OBJECT.words, remedy)
    for name, kind in fields.items():
        if name not in facts:
            raise UserError(f"{where}: {inside}{name} is missing", remedy=remedy)
        if isinstance(kind, Mapping):
            check_fields(facts[name], kind, where, remedy=remedy, inside=f"{inside}{name}.")
        elif not kind.fits(facts[name]):
            raise _unusable(where, inside + name, facts[name], kind.words, remedy)


def _unusable(where: object, field: str, value: Any, expected: str, remedy: str) -> UserError:
    shown = json.dumps(value)
    what = f"{where}: {field} cannot be used" if field else f"{where} cannot be used"
    return UserError(what, got=shown if len(shown) <= 60 else shown[:57] + "...", expected=expected, remedy=remedy)


def _span(low: float | None, high: float | None) -> str:
    if low is None and high is None:
        return ""
    return f", {low} or more" if high is None else f", {high} or less" if low is None else f", {low} to {high}"


def _within(value: float, low: float | None, high: float | None) -> bool:
    return (low is None or value >= low) and (high is None or value <= high)
