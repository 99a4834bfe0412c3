"""Several results as one: rows that are there twice are kept once, and those that contradict each other are named."""

from __future__ import annotations

from dataclasses import dataclass

from fakecore.errors import UserError
from fakecore.messages import counted, printable
from fakedetect.engine.reading import KEY, ORDER, Rows
from fakedetect.engine.rows import PARQUET_COLUMNS

KEEP = ("last", "all")
_PLACE = "((_file::BIGINT << 40) + _line::BIGINT)"  # of a row in the order of the inputs


@dataclass(frozen=True)
class Merged:
    """What to write: a query of rows in the order of the inputs, and the detectors that judged (id: name, "" if unknown).
    `identical` rows are left out because another is the same, and `replaced` ones because a later one counts.
    """

    query: str
    detectors: dict[str, str]
    identical: int = 0
    replaced: int = 0


def merge(rows: Rows, keep: str | None = None) -> Merged:
    """Return what the rows are as one result. Of identical rows, the first is kept.

    Rows of one path by one detector that differ, as of a file that changed, raise UserError, unless `keep` says what to do with
    them: "last" keeps the last in the order of the inputs, "all" keeps all. Rows by different detectors never conflict.
    """
    found = rows.query("SELECT detector, any_value(judged_by) FROM rows GROUP BY detector ORDER BY detector")
    detectors = {detector: name or "" for detector, name in found if detector}
    # Rows are compared only if the hash of their path is there twice: of most, nothing but the path is read here.
    rows.query(f"CREATE TEMP TABLE repeated AS SELECT hash({KEY}) AS name FROM rows GROUP BY ALL HAVING count(*) > 1")
    if rows.query("SELECT count(*) FROM repeated") == [(0,)]:
        return Merged(rows.all_in_order, detectors)
    rows.query(
        f"CREATE TEMP TABLE versions AS SELECT {KEY} AS name, path, detector, min({_PLACE}) AS first, max({_PLACE}) AS last, "
        f"count(*) AS n FROM rows WHERE hash({KEY}) IN (FROM repeated) GROUP BY {', '.join(PARQUET_COLUMNS)}"
    )
    if keep is None:
        _refuse_conflicts(rows)
    latest = "QUALIFY row_number() OVER (PARTITION BY name, detector ORDER BY last DESC) = 1" if keep == "last" else ""
    rows.query(f"CREATE TEMP TABLE kept AS SELECT first FROM versions {latest}")
    ((identical, replaced),) = rows.query(
        "SELECT sum(n - 1)::BIGINT, count(*) - (SELECT count(*) FROM kept) FROM versions"
    )
    query = f"SELECT * FROM rows WHERE hash({KEY}) NOT IN (FROM repeated) OR {_PLACE} IN (FROM kept) {ORDER}"
    return Merged(query, detectors, identical, replaced)


def _refuse_conflicts(rows: Rows) -> None:
    conflicts = (
        "FROM (SELECT any_value(path) AS path, detector, count(*) AS n, min(first) AS place FROM versions "
        "GROUP BY name, detector HAVING n > 1)"
    )
    if found := rows.query(f"SELECT path, detector, n, count(*) OVER () {conflicts} ORDER BY place LIMIT 1"):
        ((path, detector, n, paths),) = found
        raise UserError(
            f"{printable(path)} has different rows by the same detector, {detector}",
            got=f"{counted(n, 'version')}; {counted(paths, 'path')} of this kind",
            expected="one row for a path",
            remedy="Add --keep last, which keeps the row of the last input, or --keep all.",
        )
