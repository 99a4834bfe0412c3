"""What a report says of any number of rows: counts that DuckDB makes in a few passes, and the most suspicious files."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from fakedetect.engine.reading import KEY, Rows
from fakedetect.engine.rows import from_table

BINS = 20  # of p_fake
TOP_FILES = 50
TOP_FOLDERS = 20
VERDICTS = ("fake", "unsure", "real")  # the most suspicious first
_REPEATED = f"SELECT hash({KEY}) AS name FROM rows GROUP BY ALL HAVING count(*) > 1"


@dataclass(frozen=True)
class Summary:
    """The counts are of rows; a path with several rows counts several times, see `repeated_paths`."""

    rows: int
    status: Counter[str]
    kinds: Counter[str]
    verdicts: Counter[str]
    detectors: list[dict[str, Any]]  # id, name (None if the files do not say), rows, and rows of each verdict
    histogram: list[dict[str, int]]  # rows of each verdict in each of BINS equal bins of p_fake, from 0 to 1
    outside_domain: int
    domain_assessed: int  # rows whose detector says whether they are in its domain
    points_to: Counter[str]  # what the provenance of rows points to
    generated_called_real: int  # rows whose provenance points to a generator, with the verdict "real"
    folders: list[dict[str, Any]] = field(default_factory=list)  # folder, rows, fake: those with the most fakes
    folders_total: int = 0
    repeated_paths: int = 0  # paths with more than one row
    repeated_rows: int = 0  # rows beyond the first of such a path
    top: list[dict[str, Any]] = field(default_factory=list)  # rows, the most suspicious first

    def to_json(self) -> dict[str, Any]:
        """Return the summary as JSON."""
        return vars(self) | {name: dict(value) for name, value in vars(self).items() if isinstance(value, Counter)}


def summarise(rows: Rows) -> Summary:
    """Return the summary of all rows. Raises UserError if they cannot be read."""
    cells = rows.query(
        "SELECT status, kind, verdict, detector, outside_domain, points_to, "
        f"least({BINS - 1}, floor(p_fake * {BINS}))::INT AS bin, any_value(judged_by), count(*) FROM rows GROUP BY ALL"
    )
    total: dict[str, Counter[Any]] = {
        name: Counter() for name in ("status", "kinds", "verdicts", "domain", "points_to", "detectors", "real")
    }
    histogram = [dict.fromkeys(VERDICTS, 0) for _ in range(BINS)]
    names: dict[str, str] = {}
    for status, kind, verdict, detector, outside, points_to, place, name, count in cells:
        for key, value in (("status", status), ("kinds", kind), ("detectors", (detector, verdict))):
            total[key][value] += count
        if verdict:
            total["verdicts"][verdict] += count
            histogram[place][verdict] += count
        if outside is not None:
            total["domain"][outside] += count
        if points_to:
            total["points_to"][points_to] += count
            total["real"][points_to, verdict] += count
        if name:
            names[detector] = name
    folders, folders_total = _folders(rows)
    repeated_paths, repeated_rows = _repeated(rows)
    return Summary(
        total["status"].total(),
        total["status"],
        total["kinds"],
        total["verdicts"],
        _detectors(total["detectors"], names),
        histogram,
        outside_domain=total["domain"][True],
        domain_assessed=total["domain"].total(),
        points_to=total["points_to"],
        generated_called_real=total["real"]["generated", "real"],
        folders=folders,
        folders_total=folders_total,
        repeated_paths=repeated_paths,
        repeated_rows=repeated_rows,
        top=_top(rows),
    )


def _detectors(counts: Counter[tuple[str, str | None]], names: dict[str, str]) -> list[dict[str, Any]]:
    """Return the rows of each detector, the one with the most rows first."""
    found: dict[str, dict[str, Any]] = {}
    for (detector, verdict), count in counts.items():
        new = {"id": detector, "name": names.get(detector), "rows": 0, **dict.fromkeys(VERDICTS, 0)}
        one = found.setdefault(detector, new)
        one["rows"] += count
        if verdict:
            one[verdict] += count
    return sorted(found.values(), key=lambda one: (-one["rows"], one["id"] or ""))


def _folders(rows: Rows) -> tuple[list[dict[str, Any]], int]:
    """Return the folders with the most fakes, and the number of all folders."""
    found = rows.query(
        "SELECT coalesce(nullif(parse_dirpath(path, 'forward_slash'), ''), CASE WHEN path LIKE '/%' THEN '/' ELSE '.' END) "
        "AS folder, count(*), count(*) FILTER (verdict = 'fake') AS fake, "
        f"count(*) OVER () FROM rows GROUP BY folder ORDER BY fake DESC, folder LIMIT {TOP_FOLDERS}"
    )
    folders = [{"folder": folder, "rows": count, "fake": fake} for folder, count, fake, _ in found if fake]
    return folders, found[0][3] if found else 0


def _repeated(rows: Rows) -> tuple[int, int]:
    """Return the number of paths with several rows, and of the rows beyond the first of each. Hashes are counted first: they
    take less memory than paths, and few paths remain, which are then compared themselves.
    """
    rows.query(f"CREATE OR REPLACE TEMP TABLE repeated AS {_REPEATED}")
    ((paths, more),) = rows.query(
        f"SELECT count(*), coalesce(sum(n - 1), 0)::BIGINT FROM (SELECT count(*) AS n FROM rows "
        f"WHERE hash({KEY}) IN (FROM repeated) GROUP BY {KEY} HAVING n > 1)"
    )
    return paths, more


def _top(rows: Rows) -> list[dict[str, Any]]:
    """Return the most suspicious rows, as `score --sort` orders them. They are chosen by a few columns; only theirs are read
    whole.
    """
    ranks = " ".join(f"WHEN '{name}' THEN {place}" for place, name in enumerate(VERDICTS))
    order = f"CASE verdict {ranks} END, p_fake DESC, _file, _line"
    chosen = rows.query(
        f"SELECT _file, _line, p_fake FROM rows WHERE verdict IS NOT NULL ORDER BY {order} LIMIT {TOP_FILES}"
    )
    if not chosen:
        return []
    places = ", ".join(f"({file}, {line})" for file, line, _ in chosen)
    least = min(p_fake for *_, p_fake in chosen)
    query = f"SELECT * FROM rows WHERE p_fake >= {least!r} AND (_file, _line) IN ({places}) ORDER BY {order}"
    return [row for batch in rows.batches(query) for row in from_table(batch)]
