"""Write the matrix of detectors and sets: a heat map, a report, a terminal table, and CSV."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from fakecore.files import write_bytes
from fakecore.messages import counted
from fakecore.report.pages import data_uri, write_page
from fakecore.report.tables import as_csv
from fakedetect.data.degrade import Degradation
from fakedetect.evaluation import plots

COLUMNS = (
    *("detector", "detector_id", "trained_on", "set", "degradation"),
    *(f"{name}{end}" for name in ("auroc", "tpr", "fpr") for end in ("", "_low", "_high")),
    *("n_real", "n_fake", "own", "seen", "error"),
)
_ORIGIN = ("run", "preset", "epoch", "real", "fake", "own_resolution")
OWN, SEEN, UNKNOWN = "*", "!", "?"
LEGEND = {
    OWN: "the detector was trained on this set's training split",
    SEEN: "not a fair test: it was trained or tuned on some of these test images (runs on the same reals have equal splits "
    "only with the same --seed)",
    UNKNOWN: "unknown whether it was trained on these images: its seen.npy is missing",
}


def write_matrix(
    out: Path, rows: Sequence[dict], columns: Sequence[dict], cells: Sequence[dict], degradation: Degradation
) -> None:
    """Write matrix.csv, with a line per cell, matrix.png and matrix.html; the lists are those of `Matrix`."""
    by_name = {row["name"]: row for row in rows}
    lines = [_line(cell, by_name[cell["detector"]], degradation) for cell in cells]
    auroc = np.array([np.nan if cell["auroc"] is None else cell["auroc"] for cell in cells])
    grid = [cells[start : start + len(columns)] for start in range(0, len(cells), len(columns))]
    texts = [["no result" if c["error"] else format_cell(c).replace(" [", "\n[") for c in line] for line in grid]
    tested = [_with_count(column, cells) for column in columns]
    trained = [textwrap.fill(row["name"], 24) for row in rows]
    after = "" if degradation.kind == "none" else f", after {degradation.words}"
    title = f"AUROC{after}"
    png = plots.matrix_plot(auroc.reshape(len(rows), len(columns)), texts, trained, tested, title)
    write_bytes(out / "matrix.png", png)
    write_page(
        out / "matrix.html",
        "fakedetect.evaluation",
        "matrix.html.j2",
        title="Detectors and sets",
        rows=rows,
        columns=[{**column, "facts": _facts(column)} for column in columns],
        grid=grid,
        format_cell=format_cell,
        heat_map=data_uri(png),
        degradation=degradation,
        headline=matrix_headline(cells),
        legend=used_legend(cells),
    )
    write_bytes(out / "matrix.csv", as_csv(COLUMNS, lines))  # last: if it exists, all files exist


def format_cell(cell: dict, *, interval: bool = True) -> str:
    """Return AUROC, its interval and the marks of LEGEND, such as "0.981 * [0.950, 1.000]"; "-" if there is no result."""
    if cell["auroc"] is None:
        return "-"
    low, high = cell["auroc_interval"]
    return f"{cell['auroc']:.3f}{marks(cell)}" + (f" [{low:.3f}, {high:.3f}]" if interval else "")


def marks(cell: dict) -> str:
    """Return the marks of a cell; "" for a fair test on a set that the detector was not trained on."""
    if cell["auroc"] is None:
        return ""
    unknown = UNKNOWN if cell["seen"] is None else ""
    return (OWN if cell["own"] else "") + (SEEN if cell["seen"] else "") + unknown


def used_legend(cells: Sequence[dict]) -> list[str]:
    """Return the lines of LEGEND for the marks of these cells."""
    used = "".join(marks(cell) for cell in cells)
    return [f"{mark} {words}" for mark, words in LEGEND.items() if mark in used]


def matrix_headline(cells: Sequence[dict]) -> str:
    """Return a summary: mean AUROC and rates on sets that the detectors were trained on, and on others.

    Tests on images used in the training of the detector do not count.
    """
    fair = [cell for cell in cells if cell["seen"] == 0]
    trained, others = ([cell for cell in fair if bool(cell["own"]) == own] for own in (True, False))
    sentences = []
    for where, own in (("the sets that they were trained on", trained), ("sets that they were not trained on", others)):
        if own:
            auroc, tpr, fpr = (float(np.mean([cell[name] for cell in own])) for name in ("auroc", "tpr", "fpr"))
            tests = f"over {counted(len(own), 'test')}" if len(own) > 1 else "in one test"
            rates = f"{tpr:.1%} of fakes and {fpr:.1%} of reals called fake"
            sentences.append(f"On {where}: AUROC {auroc:.3f}, {rates}, {tests}.")
    unfair = sum(cell["seen"] != 0 and cell["auroc"] is not None for cell in cells)
    if unfair:
        sentences.append(
            f"Not counted: {counted(unfair, 'test')} on images that the detector was, or may have been, trained on."
        )
    return " ".join(sentences) or "There are no results."


def _line(cell: dict, row: dict, degradation: Degradation) -> dict:
    """Return a cell as a line of matrix.csv."""
    line = {**cell, "detector_id": row["id"], "trained_on": row["trained_on"], "degradation": degradation.name}
    for name in ("auroc", "tpr", "fpr"):
        line[f"{name}_low"], line[f"{name}_high"] = cell[f"{name}_interval"] or (None, None)
    return line


def _facts(column: dict) -> list[tuple[str, object]]:
    """Return the facts of a set's origin that the report shows."""
    return [(name.replace("_", " "), column["origin"][name]) for name in _ORIGIN if name in column["origin"]]


def _with_count(column: dict, cells: Sequence[dict]) -> str:
    own = next((cell for cell in cells if cell["set"] == column["name"] and cell["auroc"] is not None), None)
    return textwrap.fill(column["name"], 20) + (f"\n{own['n_real']:,} real, {own['n_fake']:,} fake" if own else "")
