"""Read rows of `score` from any number of files: one view of DuckDB, whatever the files are, in memory of a fixed size."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from itertools import islice
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, BinaryIO

from fakecore import storage
from fakecore.errors import UserError, why_unreadable
from fakecore.urls import is_web, scheme_of, shown
from fakedetect.engine.condition import selection
from fakedetect.engine.rows import PARQUET_COLUMNS, check, need_pyarrow, part_writer, to_table
from fakedetect.scoring.records import read_rows

if TYPE_CHECKING:
    import pyarrow as pa

MEMORY = "512MB"  # of DuckDB; what needs more is put into a temporary folder
_TRANSFERS = 16  # files at URLs that are checked at a time
BATCH = 20_000  # rows that are Python objects at a time
CONDITION_COLUMNS = (*PARQUET_COLUMNS, "points_to")  # that --where may name
# What tells paths apart: two paths that are not UTF-8 can look the same when their bytes are written out.
KEY = """CASE WHEN not_utf8 LIKE '{"path":%' THEN split_part(not_utf8, '", "', 1) ELSE path END"""
ORDER = "ORDER BY _file, _line"  # of the inputs
_TEXT = (".csv", ".jsonl")
_EXPECTED = "a job folder of score --engine ray, .parquet, .csv or .jsonl"


class Rows:
    """The rows of job folders, folders of .parquet files, .parquet, .csv and .jsonl files, given as paths or URLs: a context
    manager. Queries see them as the view `rows`, with PARQUET_COLUMNS, `points_to` (of the provenance), and `_file` and
    `_line`, the order of the rows. With `where`, only rows that meet this condition.

    The database can read these files and write nothing. Raises UserError for files that do not contain rows, for an invalid
    condition, and if DuckDB or a package for URLs is missing.
    """

    def __init__(self, paths: Sequence[str], where: str | None = None):
        self._paths, self._where, self._stack = paths, where, ExitStack()

    def __enter__(self) -> Rows:
        with ExitStack() as stack:
            self._open(stack)
            self._stack = stack.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()

    @property
    def all_in_order(self) -> str:
        """The query of all rows in their order. A scan keeps it; a condition may be computed by a join, which does not."""
        return "SELECT * FROM rows" if self._where is None else f"SELECT * FROM rows {ORDER}"

    def query(self, sql: str, values: Sequence[object] = ()) -> list[tuple]:
        """Return all rows of a query. Raises UserError where the database cannot answer it."""
        with self._explained():
            return self._connection.execute(sql, list(values)).fetchall()

    def batches(self, sql: str, size: int = BATCH) -> Iterator[pa.RecordBatch]:
        """Yield the rows of a query in batches of at most `size`, one of which is in memory."""
        with self._explained():
            yield from self._connection.sql(sql).to_arrow_reader(size)

    def _open(self, stack: ExitStack) -> None:
        need_pyarrow()
        try:
            import duckdb
        except ModuleNotFoundError:
            raise UserError("reading rows needs duckdb", remedy="Install it: pip install 'fakelab[ray]'.") from None
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="fakelab-")))
        connection = self._connection = stack.enter_context(duckdb.connect(config={"memory_limit": MEMORY}))
        stores: dict[str, Any] = {}
        files = self._files = [file for path in self._paths for file in _files(path, folder, stores)]
        for store in stores.values():  # DuckDB's own extension for URLs would have to be downloaded
            connection.register_filesystem(store)
        _lock(connection, files, folder)
        with self._explained():
            connection.execute(
                f"CREATE VIEW every AS SELECT {', '.join(PARQUET_COLUMNS)}, split_part(provenance, '\"', 4) AS points_to, "
                f"file_index AS _file, file_row_number AS _line FROM read_parquet({_quoted(files)})"
            )
            chosen = "SELECT * FROM every"
            if self._where is not None:
                chosen = selection(connection, "every", self._where, CONDITION_COLUMNS)
            connection.execute(f"CREATE VIEW rows AS {chosen}")
            self.query("SELECT count(path) FROM (FROM rows LIMIT 1)")  # raises here for a constant of the wrong type

    def _explained(self) -> _Explained:
        return _Explained(self._files, self._where is not None)


class _Explained:
    """Turns errors of DuckDB into a UserError of one line."""

    def __init__(self, files: Sequence[str], has_condition: bool):
        self._files, self._has_condition = files, has_condition

    def __enter__(self) -> None:
        pass

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        import duckdb

        if not isinstance(error, duckdb.Error) or isinstance(error, duckdb.InterruptException):
            return
        got = str(error).splitlines()[0]
        for file in self._files:
            got = got.replace(file, shown(file))
        if self._has_condition and isinstance(error, (duckdb.BinderException, duckdb.DataError)):
            raise UserError("--where cannot be computed", got=got) from error
        raise UserError("the rows cannot be read", got=got) from error


def _files(path: str, folder: Path, stores: dict[str, Any]) -> list[str]:
    """Return the .parquet files that `path` stands for, checked; a text file is converted to one in `folder`. The stores of
    URLs are added to `stores`, by scheme.
    """
    scheme = scheme_of(path)
    if scheme and scheme != "file":
        stores[scheme] = storage.filesystem(path)[0]
        return _remote(path, stores[scheme], folder)
    place = Path(storage.filesystem(path)[1])
    try:
        if place.suffix.lower() in _TEXT and not place.is_dir():
            with place.open("rb") as file:
                return [_converted(file, path, folder)]
        if place.is_dir():
            inside = place / "parts" if (place / "parts").is_dir() else place
            found = sorted(str(one) for one in inside.glob("*.parquet") if not one.name.startswith("."))
        else:
            found = [path]
        for one in found:
            with Path(one).open("rb") as file:
                _check(file, one)
    except OSError as error:
        raise UserError(f"{path} cannot be read", got=why_unreadable(error, place), expected=_EXPECTED) from None
    return [_plain(one, folder) for one in found] or _nothing(path)


def _plain(path: str, folder: Path) -> str:
    """Return the whole path of a file, or of a link to it in `folder` if DuckDB would take its name for a pattern."""
    whole = Path(path).absolute()
    if not set("*?[") & set(str(whole)):
        return str(whole)
    link = _next(folder)
    link.symlink_to(whole)
    return str(link)


def _remote(url: str, filesystem: Any, folder: Path) -> list[str]:
    """Return `_files` of a URL."""
    name = shown(url)
    try:
        if name.lower().endswith(_TEXT):
            with filesystem.open(url) as file:
                return [_converted(file, name, folder)]
        if name.lower().endswith(".parquet"):
            found = [filesystem._strip_protocol(url)]
        elif is_web(url):
            raise UserError(f"{name} cannot be listed", got="a web address", expected="the address of one file")
        else:
            pattern = f"{url.rstrip('/')}/{{}}*.parquet"
            inside = filesystem.glob(pattern.format("parts/")) or filesystem.glob(pattern.format(""))
            found = sorted(inside)
        found = [filesystem.unstrip_protocol(one) for one in found]  # as DuckDB asks for them
        with ThreadPoolExecutor(_TRANSFERS) as pool:
            list(pool.map(lambda one: _check_at(filesystem, one), found))
    except UserError:
        raise
    except Exception as error:  # each library has its own; their texts may contain the signature of a URL
        got = "no such file" if isinstance(error, FileNotFoundError) else type(error).__name__
        raise UserError(f"{name} cannot be read", got=got, expected=_EXPECTED) from None
    return found or _nothing(name)


def _check_at(filesystem: Any, url: str) -> None:
    with filesystem.open(url) as file:
        _check(file, shown(url))


def _check(file: BinaryIO, name: str) -> None:
    """Raise UserError unless a file is Parquet with rows; only its end is read."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        found = pq.read_schema(file)
    except pa.ArrowInvalid:
        raise UserError(f"{name} is damaged or not a Parquet file", expected=_EXPECTED) from None
    check(found, name)


def _converted(file: BinaryIO, name: str, folder: Path) -> str:
    """Return the path of a .parquet file in `folder` with the rows of a text file: DuckDB's own readers of CSV and JSON refuse
    paths that are not UTF-8.
    """
    made = _next(folder)
    rows = read_rows(file, name)
    with part_writer(made, {}) as writer:
        while batch := list(islice(rows, BATCH)):
            writer.write_table(to_table(batch).replace_schema_metadata(writer.schema.metadata))
    return str(made)


def _next(folder: Path) -> Path:
    return folder / f"{sum(1 for _ in folder.iterdir())}.parquet"


def _lock(connection: Any, files: Sequence[str], folder: Path) -> None:
    """Let the database read these files and nothing else, for good; `folder` takes what does not fit into memory."""
    spill = folder / "spill"
    for setting in (
        f"temp_directory = {_quoted(str(spill))}",
        "autoinstall_known_extensions = false",
        "autoload_known_extensions = false",
        f"allowed_paths = {_quoted(files)}",
        "enable_external_access = false",
        "lock_configuration = true",
    ):
        connection.execute(f"SET {setting}")


def _quoted(value: str | Sequence[str]) -> str:
    """Return a text, or a list of texts, as SQL."""
    if isinstance(value, str):
        return "'" + value.replace("'", "''") + "'"
    return f"[{', '.join(map(_quoted, value))}]"


def _nothing(path: str) -> list[str]:
    raise UserError(f"{path} contains no rows", got="a folder without .parquet files", expected=_EXPECTED)
