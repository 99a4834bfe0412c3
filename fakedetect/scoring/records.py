"""Rows of `score` as bytes: the records of .csv and .jsonl files, written and read."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, BinaryIO

from fakecore.errors import UserError
from fakedetect.scoring.columns import COLUMNS, CSV_COLUMNS, csv_row, read_provenance

_NUMBERS = ("p_fake", "threshold", "real_below", "p_fake_lowest", "p_fake_highest")
_BOOLEANS = ("outside_domain", "stable")
_READ: dict[str, Any] = {
    **dict.fromkeys(_NUMBERS, float),
    **dict.fromkeys(_BOOLEANS, {"True": True, "False": False}.__getitem__),
}
_READ |= {"provenance": read_provenance, "faces": json.loads}
_OLD_COLUMNS = tuple(
    name for name in COLUMNS if name != "provenance"
)  # of files that earlier versions wrote, as COLUMNS


def read_rows(file: BinaryIO, name: str) -> Iterator[dict]:
    """Yield the rows of a .csv or .jsonl file, `name`, one at a time, as `score` yielded them; a .csv file lacks some fields.

    An incomplete last row, as a killed call leaves it, is left out. Raises UserError for anything but results.
    """
    try:
        yield from _rows(file, name)
    except UserError as error:  # which speaks of --out
        raise UserError(f"{name} does not contain rows of score", got=error.got) from None


def _rows(file: BinaryIO, name: str) -> Iterator[dict]:
    if not name.lower().endswith(".csv"):
        yield from (json_record(record, name) for _, record in records(file, quoted=False))
        return
    columns: tuple[str, ...] = ()
    for _, record in records(file, quoted=True):
        if not columns:
            columns = csv_header(record, name)
            continue
        row = csv_record(record, columns, name)
        # Fields that a row of `score` has only if they have a value.
        lowest, highest = row.pop("p_fake_lowest", None), row.pop("p_fake_highest", None)
        row = {field: value for field, value in row.items() if value is not None or field in COLUMNS}
        yield row if lowest is None else row | {"p_fake_range": [lowest, highest]}


def records(file: BinaryIO, *, quoted: bool) -> Iterator[tuple[int, bytes]]:
    """Yield (start, bytes) of each complete record: a line or, if `quoted`, lines up to one that ends outside of quotes."""
    start, lines, inside = 0, list[bytes](), False
    for line in file:
        lines.append(line)
        inside ^= quoted and bool(line.count(b'"') % 2)
        if line.endswith(b"\n") and not inside:
            record = b"".join(lines)
            yield start, record
            start, lines = start + len(record), []


def csv_header(record: bytes, where: Path | str) -> tuple[str, ...]:
    """Return the columns that the first record of a .csv file names. Raises UserError for others than those of results."""
    columns = tuple(_fields(record))
    if columns not in (CSV_COLUMNS, COLUMNS, _OLD_COLUMNS):
        raise foreign(where, ",".join(columns))
    return columns


def csv_record(record: bytes, columns: tuple[str, ...], where: Path | str) -> dict:
    """Return a record of a .csv file with None and numbers restored. Raises UserError for one with other columns."""
    fields = _fields(record)
    if len(fields) != len(columns):
        raise foreign(where, "rows with other columns")
    try:
        return {
            name: _READ.get(name, str)(value) if value else None for name, value in zip(columns, fields, strict=True)
        }
    except (KeyError, ValueError):
        raise foreign(where, "an invalid value") from None


def json_record(record: bytes, where: Path | str) -> dict:
    """Return the row of a line of a .jsonl file. Raises UserError for a line that is none."""
    text = record.decode(errors="surrogateescape").strip()
    try:
        row = json.loads(text)
    except ValueError:
        row = None
    if not isinstance(row, dict) or not row.keys() >= set(_OLD_COLUMNS):
        raise foreign(where, repr(text[:40]))
    evidence = row.get("provenance")
    is_evidence = evidence is None or (isinstance(evidence, dict) and isinstance(evidence.get("points_to"), str))
    if not all(isinstance(row[name], str) for name in ("path", "status", "kind")) or not is_evidence:
        raise foreign(where, repr(text[:40]))
    return row


def foreign(where: Path | str, got: str) -> UserError:
    """Return the error for a file, `where`, that does not contain results."""
    what = f"{where} is not a results file, or was written by another version"
    return UserError(what, got=got[:80], remedy="Choose another --out.")


def json_bytes(rows: Iterable[dict]) -> bytes:
    """Return rows as lines of JSON."""
    return "".join(json.dumps(row) + "\n" for row in rows).encode()


def csv_bytes(rows: Iterable[dict], columns: tuple[str, ...] = CSV_COLUMNS, *, header: bool) -> bytes:
    """Return rows as records of a .csv file, with a header first if asked."""
    text = io.StringIO()
    # Text is quoted: a file name may contain a comma, a newline or a carriage return.
    writer = csv.DictWriter(text, columns, extrasaction="ignore", lineterminator="\n", quoting=csv.QUOTE_NONNUMERIC)
    if header:
        writer.writeheader()
    writer.writerows(map(csv_row, rows))
    return text.getvalue().encode(errors="surrogateescape")


def _fields(record: bytes) -> list[str]:
    return next(csv.reader(io.StringIO(record.decode(errors="surrogateescape"), newline="")), [])


HEADER = csv_bytes([], header=True)
