"""The columns of the results of `score`, and how their numbers and names are shown."""

from __future__ import annotations

import json

COLUMNS = (
    *("path", "status", "kind", "p_fake", "verdict", "threshold", "real_below", "outside_domain", "error", "note"),
    *("sha256", "detector", "provenance"),
)  # of the file's bytes; of the detector's weights (first digits); see `provenance_of`


# Rows of photos have these too, if they were tested or have faces: in a .csv file, the range is two numbers.
CSV_COLUMNS = (*COLUMNS, "stable", "p_fake_lowest", "p_fake_highest", "faces")


def csv_row(row: dict) -> dict:
    """Return a row as it is written to a .csv file: its provenance and its faces are JSON in one field each."""
    lowest, highest = row.get("p_fake_range") or (None, None)
    as_json = {
        name: row[name] and json.dumps(row[name], separators=(",", ":"))
        for name in ("provenance", "faces")
        if name in row
    }
    return row | as_json | {"p_fake_lowest": lowest, "p_fake_highest": highest}


def read_provenance(field: str) -> dict:
    """Return the provenance of a field that `csv_row` wrote. Raises ValueError for another one."""
    read = json.loads(field)
    if not isinstance(read, dict) or not isinstance(read.get("points_to"), str):
        raise ValueError(field)
    return read


def range_text(row: dict) -> str | None:
    """Return in words how far p_fake varies: after light re-encoding, or among the images of a video; None if unknown."""
    if found := row.get("p_fake_range"):
        low, high = map(format_short, found)
        return f"{low} to {high} after light re-encoding" if low != high else f"{low} also after light re-encoding"
    deciding = [one for one in row.get("tracks") or () if one["p_fake"] == row["p_fake"]]
    if not deciding:
        return None
    high = deciding[0]["p_fake_high"]
    if high < 0.01:
        return "below 0.01 in four fifths of its scored images"
    return f"above {min(high, 0.99):.2f} in a fifth of its scored images"


def says_generated(row: dict) -> bool:
    """Return whether a file itself says that a generator made it."""
    return bool(row.get("provenance")) and row["provenance"]["points_to"] == "generated"


def visible_name(name: str) -> str:
    """Return the name of a file, or a stand-in for one of which nothing would be seen."""
    return name if any(one.isprintable() and not one.isspace() for one in name) else "(file without a name)"


def format_short(p_fake: float) -> str:
    """Format p_fake with two decimals, but never as 0 or 1: no detector is certain."""
    return "<0.01" if p_fake < 0.01 else ">0.99" if p_fake > 0.99 else f"{p_fake:.2f}"
