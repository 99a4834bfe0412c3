"""Settings as frozen dataclasses: each field is written once, with its unit, range, reason and source beside it.

`--set field=value` on the command line reaches every field through `override`.
"""

from __future__ import annotations

import dataclasses
import types
import typing
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, TypeVar

from fakecore.errors import UserError, unknown_name

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

S = TypeVar("S", bound="DataclassInstance")

# Synonyms: if a user gives one and the settings have another, the error suggests that one.
_SAME = (
    {"rate", "lr", "learning_rate"},
    {"batch", "batch_size", "bs"},
    {"resolution", "size", "image_size", "img_size"},
    {"epochs", "n_epochs", "passes"},
    {"weight_decay", "decay", "wd"},
)


def setting(
    default: Any = dataclasses.MISSING,
    *,
    why: str,
    low: float | None = None,
    high: float | None = None,
    choices: tuple[Any, ...] | None = None,
) -> Any:
    """Return a dataclass field with its reason (`why`: unit, purpose, source), and its inclusive range or choices."""
    return dataclasses.field(default=default, metadata={"why": why, "low": low, "high": high, "choices": choices})


def override(settings: S, changes: dict[str, Any]) -> S:
    """Return `settings` with `changes` applied; values may be strings as typed on a command line.

    Raises UserError for an unknown field (the nearest is named), a value of the wrong kind, or one out of range.
    """
    kinds = typing.get_type_hints(type(settings))
    fields = {field.name: field for field in dataclasses.fields(settings)}
    parsed = {}
    for name, value in changes.items():
        if name not in fields:
            meant = next((word for words in _SAME if name in words for word in sorted(words & fields.keys())), None)
            shown = sorted(field for field in fields if fields[field].metadata)  # others describe the settings
            raise unknown_name("field", name, shown, meant=meant)
        parsed[name] = _parse(name, value, kinds[name])
        _check(fields[name], parsed[name])
    return dataclasses.replace(settings, **parsed)


def parse_assignments(assignments: Iterable[str]) -> dict[str, str]:
    """Return `["lr=1e-4", "batch=64"]` as a dict. Raises UserError for one without `=`."""
    changes = {}
    for assignment in assignments:
        name, equals, value = assignment.partition("=")
        if not equals or not name.strip():
            raise UserError("--set could not be read", got=repr(assignment), expected="field=value, such as batch=64")
        changes[name.strip()] = value.strip()
    return changes


def describe(settings: Any) -> list[tuple[str, Any, str]]:
    """Return (field, value, why) for every field in order; why ends with the allowed values."""
    rows = []
    for field in dataclasses.fields(settings):
        may_be = _may_be(field)
        why = field.metadata.get("why", "") + (f" ({may_be})" if may_be else "")
        rows.append((field.name, getattr(settings, field.name), why))
    return rows


def _parse(name: str, value: Any, kind: Any) -> Any:
    optional = typing.get_origin(kind) in (types.UnionType, typing.Union)
    kinds = [k for k in typing.get_args(kind) if k is not type(None)] if optional else [kind]
    if optional and (value is None or str(value).lower() == "none"):
        return None
    target = kinds[0]
    try:
        if target is bool:
            return {"true": True, "1": True, "yes": True, "false": False, "0": False, "no": False}[str(value).lower()]
        if target is int:
            return _whole_number(str(value))
        if target is float:
            return float(value)
    except (KeyError, ValueError, OverflowError):
        words = {bool: "true or false", int: "a whole number", float: "a number"}
        raise UserError(f"{name} could not be read", got=repr(value), expected=words[target]) from None
    return str(value)


def _whole_number(text: str) -> int:
    try:
        return int(text)
    except ValueError:
        number = float(text)  # 1e5 is a whole number too
        if number != int(number):
            raise
        return int(number)


def _may_be(field: dataclasses.Field) -> str:
    """Return the allowed values of a field in words; empty if there is no limit."""
    low, high, choices = (field.metadata.get(key) for key in ("low", "high", "choices"))
    if choices is not None:
        return "one of " + ", ".join(str(choice) for choice in choices)
    if low is None and high is None:
        return ""
    return f"{low} or more" if high is None else f"{high} or less" if low is None else f"{low} to {high}"


def _check(field: dataclasses.Field, value: Any) -> None:
    low, high, choices = (field.metadata.get(key) for key in ("low", "high", "choices"))
    if choices is not None and value not in choices:
        if isinstance(value, str):
            raise unknown_name(field.name, value, [str(choice) for choice in choices])
        raise UserError(f"{field.name} has an invalid value", got=value, expected=f"one of {list(choices)}")
    if value is None or isinstance(value, (str, bool)):
        return
    too_low = low is not None and not value >= low  # written so that NaN is out of range too
    too_high = high is not None and not value <= high
    if too_low or too_high:
        raise UserError(f"{field.name} is out of range", got=value, expected=_may_be(field))
