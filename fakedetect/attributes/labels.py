"""Read attribute labels (CelebA's list_attr_celeba.txt or a CSV file) and parse the names of targets."""

from __future__ import annotations

import csv
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from fakecore.errors import UserError, explain_os_error, unknown_name
from fakecore.messages import counted

_IMAGE_COLUMNS = ("image", "image_id", "file_name", "filename", "file", "path", "name")  # else the first column
_YES, _NO = ("1", "1.0", "true", "yes"), ("0", "0.0", "-1", "-1.0", "false", "no")
_MOST_VALUES = 30  # a column with more is no attribute but a name or a measurement
_SHOWN = 3


@dataclass(frozen=True)
class LabelTable:
    """A label file: `names` (N,) are image names; `columns` maps a column's name to its N values as text, "" if missing."""

    path: Path
    names: list[str]
    columns: dict[str, list[str]]

    def values(self, column: str) -> dict[str, int]:
        """Return the values of a column with their image counts, most frequent first."""
        return dict(Counter(value for value in self.columns[column] if value).most_common())

    def is_binary(self, column: str) -> bool:
        """Return whether a column is binary: 1 and 0, 1 and -1, or true and false; it may hold only one of the two."""
        return all(value.lower() in _YES + _NO for value in self.values(column))

    def value_counts(self) -> dict[str, dict[str, int]]:
        """Return {column: {value: images}} for a histogram; of binary columns, only "yes"."""
        found = {}
        for column in self.columns:
            values = self.values(column)
            if self.is_binary(column):
                found[column] = {"yes": sum(n for value, n in values.items() if value.lower() in _YES)}
            elif len(values) <= _MOST_VALUES:
                found[column] = values
        return found


@dataclass(frozen=True)
class Target:
    """The question that one output of a network answers: is `column` equal to `yes` rather than `no` (None: any other value)?

    For a binary column, both are None.
    """

    name: str
    column: str
    yes: str | None = None
    no: str | None = None

    @property
    def words(self) -> str:
        """The target as text: "Smiling", "emotion = happiness" or "emotion = happiness against neutral"."""
        if self.yes is None:
            return self.column
        return f"{self.column} = {self.yes}" + ("" if self.no is None else f" against {self.no}")

    def truth(self, table: LabelTable) -> np.ndarray:
        """Return float32 (N,): 1 for yes, 0 for no, NaN if the table gives neither."""
        values = table.columns[self.column]
        if self.yes is None:
            known = dict.fromkeys(_YES, 1.0) | dict.fromkeys(_NO, 0.0)
            return np.array([known.get(value.lower(), np.nan) for value in values], dtype=np.float32)
        other = 0.0 if self.no is None else np.nan
        known = {"": np.nan, self.yes: 1.0} | ({} if self.no is None else {self.no: 0.0})
        return np.array([known.get(value, other) for value in values], dtype=np.float32)


def read_labels(path: Path) -> LabelTable:
    """Read a CSV file (a column of image names and further columns) or CelebA's list (a count, the attribute names, then one
    line per image). Raises UserError if the file is missing, malformed, truncated, or lists an image twice.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")  # spreadsheets put a byte-order mark first
    except OSError as error:
        found = explain_os_error(error)
        raise UserError(f"--labels: {found.what}", remedy=found.remedy) from None
    except UnicodeDecodeError:
        raise UserError(f"{path} cannot be read", got="bytes that are no UTF-8 text") from None
    lines = text.splitlines()
    if not lines:
        raise UserError(f"{path} is empty", expected="a CSV, or CelebA's list_attr_celeba.txt")
    table = _read_celeba(path, lines) if lines[0].strip().isdecimal() else _read_csv(path, lines)
    twice = [name for name, n in Counter(table.names).items() if n > 1]
    if twice:
        raise UserError(
            f"{path} names {counted(len(twice), 'image')} more than once",
            got=shown(twice),
            remedy="Leave one line for each: two could contradict each other.",
        )
    return table


def _read_celeba(path: Path, lines: list[str]) -> LabelTable:
    count, columns = int(lines[0]), lines[1].split() if len(lines) > 1 else []
    rows = [line.split() for line in lines[2:] if line.strip()]
    for number, row in enumerate(rows, 3):
        if len(row) != len(columns) + 1 or not set(row[1:]) <= {"1", "-1", "0"}:
            got = f"line {number}: {' '.join(row)[:60]!r}"
            expected = f"a name and {counted(len(columns), 'value')}, each 1 or -1"
            raise UserError(f"{path} cannot be read as CelebA's list of attributes", got=got, expected=expected)
    if len(rows) != count:
        what = f"{path} was cut short: its first line tells how many images it lists"
        raise UserError(what, got=f"{len(rows):,} lines", expected=f"{count:,}", remedy="Copy it again.")
    return _table(path, columns, [row[0] for row in rows], [row[1:] for row in rows])


def _read_csv(path: Path, lines: list[str]) -> LabelTable:
    try:
        header, *rows = [[cell.strip() for cell in row] for row in csv.reader(lines, strict=True) if row]
    except (csv.Error, ValueError) as error:
        raise UserError(f"{path} cannot be read as a CSV", got=str(error)) from None
    if len(header) < 2:
        expected = "a column of image names and further ones, with commas between"
        raise UserError(f"{path} has one column alone", got=repr(header[0][:60]), expected=expected)
    for number, row in enumerate(rows, 2):
        if len(row) != len(header):
            got = f"{counted(len(row), 'value')} in row {number}"
            raise UserError(f"{path} cannot be read as a CSV", got=got, expected=f"{len(header)}, as in its first line")
    place = next((header.index(name) for name in _IMAGE_COLUMNS if name in header), 0)
    names = [row.pop(place) for row in rows]
    return _table(path, header[:place] + header[place + 1 :], names, rows)


def _table(path: Path, columns: list[str], names: list[str], rows: list[list[str]]) -> LabelTable:
    twice = [name or "''" for name, n in Counter(columns).items() if n > 1 or not name]
    if twice:
        remedy = "Its first line must name the columns, each differently."
        raise UserError(f"{path} has columns without a name of their own", got=shown(twice), remedy=remedy)
    if not rows:
        raise UserError(f"{path} names no image", expected="a line for each")
    if "" in names:
        raise UserError(f"{path} has a line that names no image", got=f"row {names.index('') + 2}")
    return LabelTable(path, names, dict(zip(columns, map(list, zip(*rows, strict=True)), strict=True)))


def parse_targets(text: str, table: LabelTable) -> list[Target]:
    """Parse targets: "Smiling,Male", "emotion=happiness", "happiness" if only one column has that value, or
    "emotion=happiness:neutral" (one value against another). Raises UserError for unknown or ambiguous names.
    """
    words = [word.strip() for word in text.split(",") if word.strip()]
    if not words:
        raise UserError("--targets is empty", expected=f"attributes of {table.path}: {shown(table.columns, 40)}")
    found = [_target(word, table) for word in words]
    names = Counter(target.name for target in found)
    # The same value in two columns: each is then called as a whole.
    found = [one if names[one.name] == 1 else Target(one.words, one.column, one.yes, one.no) for one in found]
    twice = [name for name, n in Counter(target.name for target in found).items() if n > 1]
    if twice:
        raise UserError("--targets names an attribute twice", got=twice[0])
    return found


def _target(word: str, table: LabelTable) -> Target:
    column, equals, values = word.partition("=")
    where = f"in {table.path}"
    if not equals:
        return _by_name(word, table)
    if column not in table.columns:
        raise unknown_name("column", column, table.columns, where=where)
    present = table.values(column)
    yes, colon, no = values.partition(":")
    for value in (yes, no) if colon else (yes,):
        if value not in present:
            raise unknown_name("value", value, list(present)[:_MOST_VALUES], where=f"of {column} {where}")
    if colon and yes == no:
        raise UserError("a target sets a value against itself", got=word)
    return Target(yes, column, yes, no if colon else None)


def _by_name(word: str, table: LabelTable) -> Target:
    """Return the target for the name of a binary column, or for a value that only one column has."""
    holding = [
        column for column in table.value_counts() if not table.is_binary(column) and word in table.values(column)
    ]
    if word in table.columns:
        if table.is_binary(word) and table.values(word):
            return Target(word, word)
        values = list(table.values(word))
        raise UserError(
            f"the column {word!r} of {table.path} has several values: say which is meant",
            got=shown(values, 8),
            expected=f"{word}=VALUE, such as {word}={values[0]}" if values else "a column that is not empty",
        )
    if len(holding) > 1:
        expected = " or ".join(f"{column}={word}" for column in holding)
        raise UserError(f"several columns of {table.path} have the value {word!r}", expected=expected)
    if not holding:
        choices = [column for column in table.value_counts() if table.is_binary(column)]
        choices += [
            f"{column}={v}"
            for column in table.value_counts()
            if not table.is_binary(column)
            for v in table.values(column)
        ]
        raise unknown_name("attribute", word, choices[:60], where=f"in {table.path}")
    return Target(word, holding[0], word)


def shown(names: Iterable[str], most: int = _SHOWN) -> str:
    """Return the first `most` names and the number of the others, as text."""
    names = list(names)
    more = f" and {len(names) - most:,} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more
