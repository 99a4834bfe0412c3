"""Rows of `score` as Parquet: their columns and types, and the conversion of rows to tables and back without a loss.

A column is null where a row does not have the field: rows of photos have no `tracks`. Lists and objects are JSON, as in .csv
files.

A path need not be valid Unicode: Python has its other bytes as lone surrogates, which text in Parquet cannot have. Such text is
stored with them written out (`caf\\xe9.jpg`), and the column `not_utf8` has the original, as JSON.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from typing import TYPE_CHECKING, Any, BinaryIO

from fakecore.errors import UserError
from fakedetect.scoring.columns import COLUMNS, CSV_COLUMNS, csv_row

if TYPE_CHECKING:
    from pathlib import Path

    import pyarrow as pa

SCHEMA_VERSION = 1  # raise it when a column changes its type or meaning; older files must stay readable
ROW_GROUP = 122_880  # rows; what DuckDB gives to one thread at a time
_FLOATS = ("p_fake", "threshold", "real_below", "p_fake_lowest", "p_fake_highest", "duration_s")
_BOOLEANS = ("outside_domain", "stable")
_JSON = ("provenance", "faces", "tracks", "timeline")
# Fields in the order in which rows have them; `p_fake_range` is two columns.
_OPTIONAL = (
    *("judged_by", "archive", "stable", "p_fake_range", "subject", "faces"),
    *("frames", "duration_s", "tracks", "timeline"),
)
PARQUET_COLUMNS = (
    *CSV_COLUMNS,
    "judged_by",
    "archive",
    "subject",
    "frames",
    "duration_s",
    "tracks",
    "timeline",
    "not_utf8",
)
# Few different values, so that a dictionary of them pays; a path and a SHA-256 are unlike all others.
_REPEATED = ["status", "kind", "verdict", "error", "note", "detector", "judged_by", "archive", "subject", "threshold"]
_REPEATED += ["real_below"]


def need_pyarrow() -> None:
    """Raise UserError if pyarrow is not installed."""
    try:
        import pyarrow  # noqa: F401
    except ModuleNotFoundError:
        raise UserError("Parquet needs pyarrow", remedy="Install it: pip install 'fakelab[ray]'.") from None


def schema(detectors: Mapping[str, str] | None = None) -> pa.Schema:
    """Return the pyarrow schema of the rows: PARQUET_COLUMNS, all nullable but `path`, `status` and `kind`; its metadata has
    the versions and, as JSON, `detectors`, the name of each detector by its id. Raises UserError without pyarrow.
    """
    need_pyarrow()
    import pyarrow as pa

    types = dict.fromkeys(_FLOATS, pa.float64()) | dict.fromkeys(_BOOLEANS, pa.bool_()) | {"frames": pa.int64()}
    fields = [
        pa.field(name, types.get(name, pa.string()), nullable=name not in ("path", "status", "kind"))
        for name in PARQUET_COLUMNS
    ]
    return pa.schema(
        fields,
        metadata={
            "fakelab_rows": str(SCHEMA_VERSION),
            "fakelab_version": version("fakelab"),
            "fakelab_detectors": json.dumps(dict(detectors or {})),
        },
    )


def to_table(rows: Sequence[dict]) -> pa.Table:
    """Return rows, as `score` yields them, as a table of `schema`.

    Raises ValueError for a field that has no column, which would be lost, and UserError without pyarrow.
    """
    columns = schema()
    import pyarrow as pa

    lines = [_flat(row) for row in rows]
    return pa.table(
        {field.name: pa.array([line.get(field.name) for line in lines], field.type) for field in columns}
    ).cast(columns)


def from_table(table: pa.Table | pa.RecordBatch) -> list[dict]:
    """Return the rows that `to_table` was given: equal to those of a .jsonl file, with their fields in the same order."""
    return [_nested(line) for line in table.to_pylist()]


def write_part(file: str | Path | BinaryIO, rows: Sequence[dict], *, detectors: Mapping[str, str]) -> None:
    """Write rows as one Parquet file, compressed with zstd; `detectors` maps the id of each detector to its name.

    A name is written as it is: to have a file appear complete or not at all, write to a temporary name.
    """
    table = to_table(rows)
    with part_writer(file, detectors) as writer:
        writer.write_table(table.replace_schema_metadata(writer.schema.metadata), ROW_GROUP)


def part_writer(file: str | Path | BinaryIO, detectors: Mapping[str, str]) -> Any:
    """Return a pyarrow.parquet.ParquetWriter, a context manager, of a file of rows as `write_part` writes it."""
    columns = schema(detectors)
    import pyarrow.parquet as pq

    return pq.ParquetWriter(file, columns, compression="zstd", use_dictionary=_REPEATED)  # type: ignore[arg-type]


def check(found: pa.Schema, where: str) -> None:
    """Raise UserError unless the schema of a Parquet file, `where`, is that of rows, of this version or an earlier one."""
    metadata = found.metadata or {}
    try:
        number = int(metadata.get(b"fakelab_rows", b""))
    except ValueError:
        number = 0
    if number > SCHEMA_VERSION:
        by = metadata.get(b"fakelab_version", b"a newer version").decode(errors="replace")
        raise UserError(
            f"{where} was written by a newer fakelab",
            got=f"schema {number} of {by}",
            expected=f"{SCHEMA_VERSION} or lower",
            remedy="Upgrade fakelab.",
        )
    missing = [name for name in PARQUET_COLUMNS if name not in found.names]
    if number < 1 or missing:
        raise UserError(
            f"{where} does not contain rows of score",
            got=f"a file without the column {missing[0]}" if missing else "a Parquet file of another program",
            expected="what score --engine ray or merge wrote",
        )


def _flat(row: dict) -> dict:
    """Return a row with a value for each of its columns."""
    if unknown := row.keys() - {*COLUMNS, *_OPTIONAL}:
        raise ValueError(f"rows have fields without a column: {', '.join(sorted(unknown))}")
    line = csv_row(row)
    line.pop("p_fake_range", None)
    for name in ("tracks", "timeline"):
        if line.get(name) is not None:
            line[name] = json.dumps(line[name], separators=(",", ":"))
    originals = {name: text for name, text in line.items() if isinstance(text, str) and not _is_utf8(text)}
    if originals:
        line |= {name: _written_out(text) for name, text in originals.items()}
        line["not_utf8"] = json.dumps(originals)
    return line


def _nested(line: dict) -> dict:
    """Return the row of a line of a table."""
    if line["not_utf8"] is not None:
        line |= json.loads(line["not_utf8"])
    for name in _JSON:
        if line[name] is not None:
            line[name] = json.loads(line[name])
    lowest, highest = line["p_fake_lowest"], line["p_fake_highest"]
    line["p_fake_range"] = None if lowest is None else [lowest, highest]
    row = {name: line[name] for name in COLUMNS}
    # A video that cannot be read has no frames and a duration of None.
    return row | {name: line[name] for name in _OPTIONAL if line[name] is not None or _is_unknown_duration(name, line)}


def _is_unknown_duration(name: str, line: dict) -> bool:
    return name == "duration_s" and line["frames"] is not None


def _is_utf8(text: str) -> bool:
    if text.isascii():
        return True
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _written_out(text: str) -> str:
    """Return text with each byte that is not UTF-8 as `\\xe9`, and any other lone surrogate as `\\ud800`."""
    readable = text.encode(errors="surrogateescape") if _only_bytes(text) else None
    if readable is not None:
        return readable.decode(errors="backslashreplace")
    return text.encode(errors="backslashreplace").decode()


def _only_bytes(text: str) -> bool:
    return all(not "\ud800" <= letter <= "\udfff" or "\udc80" <= letter <= "\udcff" for letter in text)
