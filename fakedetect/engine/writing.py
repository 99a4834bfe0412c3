"""Write rows of a query to a .parquet, .csv or .jsonl file or to a folder of parts, a batch at a time."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from fakecore.errors import UserError
from fakecore.files import atomic_path
from fakedetect.engine.reading import Rows
from fakedetect.engine.rows import PARQUET_COLUMNS, ROW_GROUP, from_table, part_writer
from fakedetect.scoring.records import csv_bytes, json_bytes

if TYPE_CHECKING:
    import pyarrow as pa

PART = 8 * ROW_GROUP  # rows of a part; about 50 MB
_SUFFIXES = (".parquet", ".csv", ".jsonl")


def refuse_output(out: Path, *, folder: bool, page: bool = False) -> None:
    """Raise UserError unless rows can be written to `out`: a new .parquet, .csv or .jsonl file; with `folder`, a new folder;
    with `page`, a new .html file.
    """
    suffixes = (*_SUFFIXES, ".html") if page else _SUFFIXES
    if out.suffix.lower() not in suffixes and not (folder and not out.suffix):
        expected = ", ".join(suffixes) + (", or a folder" if folder else "")
        raise UserError("--out has an unknown suffix", got=repr(out.name), expected=expected)
    if out.exists() or out.is_symlink():
        raise UserError(f"{out} already exists; existing files are never overwritten", remedy="Choose another --out.")


def write_rows(rows: Rows, query: str, out: Path, detectors: Mapping[str, str]) -> int:
    """Write the rows that a query selects, with all of PARQUET_COLUMNS, and return how many they are. `out` appears complete or
    not at all; without a suffix it is a folder, out/parts/part-00000000.parquet and so on, as of `score --engine ray`.

    `detectors` maps the id of each detector to its name, for the metadata of .parquet files.
    """
    if not out.suffix:
        return _write_folder(rows, query, out, detectors)
    count = 0
    with atomic_path(out) as temporary:
        if out.suffix.lower() == ".parquet":
            with part_writer(temporary, detectors) as writer:
                for batch in _batches(rows, query, ROW_GROUP):
                    writer.write_batch(_as_schema(batch, writer.schema))
                    count += batch.num_rows
            return count
        as_csv = out.suffix.lower() == ".csv"
        with temporary.open("wb") as file:
            file.write(csv_bytes([], header=True) if as_csv else b"")
            for batch in _batches(rows, query):
                found = from_table(batch)
                file.write(csv_bytes(found, header=False) if as_csv else json_bytes(found))
                count += len(found)
    return count


def _write_folder(rows: Rows, query: str, out: Path, detectors: Mapping[str, str]) -> int:
    """Write parts of PART rows into a temporary folder, and rename it."""
    out.parent.mkdir(parents=True, exist_ok=True)
    temporary = Path(tempfile.mkdtemp(prefix=".tmp-", dir=out.parent))
    count = part = 0
    writer = None
    try:
        (temporary / "parts").mkdir()
        for batch in _batches(rows, query, ROW_GROUP):
            if writer is None:
                writer = part_writer(temporary / "parts" / f"part-{part:08d}.parquet", detectors)
            writer.write_batch(_as_schema(batch, writer.schema))
            count += batch.num_rows
            if count >= (part + 1) * PART:
                writer.close()
                writer, part = None, part + 1
        if writer is None and not count:
            writer = part_writer(temporary / "parts" / "part-00000000.parquet", detectors)
        if writer is not None:
            writer.close()
        temporary.chmod(0o755)  # mkdtemp makes folders that only their owner may read
        temporary.rename(out)
    finally:
        if writer is not None:
            writer.close()
        shutil.rmtree(temporary, ignore_errors=True)
    return count


def _batches(rows: Rows, query: str, size: int | None = None) -> Iterator[pa.RecordBatch]:
    chosen = f"SELECT {', '.join(PARQUET_COLUMNS)} FROM ({query})"
    return rows.batches(chosen) if size is None else rows.batches(chosen, size)


def _as_schema(batch: pa.RecordBatch, columns: pa.Schema) -> pa.RecordBatch:
    """Return a batch of DuckDB, all of whose columns are nullable, with the schema of rows."""
    import pyarrow as pa

    return pa.RecordBatch.from_arrays(
        [batch.column(name).cast(columns.field(name).type) for name in columns.names], schema=columns
    )
