"""What `evaluate` reads and prints: one detector on one set with its report, or several as a matrix."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import fakedetect
from fakecore.errors import UserError
from fakecore.runfolder import free_name
from fakecore.tables import paragraph, table, terminal_width
from fakecore.wording import command
from fakedetect.degrade import NONE
from fakedetect.matrix import Matrix, compare
from fakedetect.matrix_report import matrix_headline, told_cell, used_legend
from fakedetect.report import ROWS, caution, headline
from fakedetect.train import Trained

_MATRIX = Path("runs/matrix")


def run_evaluate(
    detectors: str,
    places: Sequence[Path],
    as_json: bool,
    *,
    robustness: bool,
    degrade: str | None,
    strict: bool,
    out: Path | None,
    real: str | None,
    fake: str | None,
    device: str,
    data_root: Path | None,
) -> Trained | Matrix:
    """One detector and one set, or --real and --fake, make a report; all else, and `degrade`, makes a matrix."""
    chosen = split_detectors(detectors)
    where = {"real": real, "fake": fake, "device": device, "data_root": data_root}
    if len(chosen) == 1 and len(places) <= 1 and degrade is None:
        place = places[0] if places else None
        made = fakedetect.evaluate(chosen[0], place, out=out, robustness=robustness, strict=strict, **where)
        if as_json:
            print(json.dumps(_one_json(made), allow_nan=False))
        else:
            print_metrics(made)
        return made
    if robustness:
        remedy = "For a matrix of degraded images give --degrade, such as --degrade jpeg75."
        raise UserError("--robustness is for one detector and one set", remedy=remedy)
    if strict:
        remedy = f"Audit each set first: {command('audit', 'SET')}."
        raise UserError("--strict is for one detector and one set", remedy=remedy)
    made = compare(chosen, places, out=out or free_name(_MATRIX), degrade=degrade or NONE, **where)
    print_matrix(made, as_json)
    return made


def split_detectors(text: str) -> list[str]:
    """`A,B` as two detectors, unless a folder of just that name stands there."""
    if Path(text).exists():
        return [text]
    return [name.strip() for name in text.split(",") if name.strip()] or [text]


def print_matrix(made: Matrix, as_json: bool) -> None:
    """The matrix as a table, detectors down and sets across, or as one JSON object."""
    if as_json:
        facts = {name: value for name, value in asdict(made).items() if name not in ("folder", "unused")}
        print(json.dumps({"matrix": str(made.folder), **facts}, allow_nan=False))
        return
    print(matrix_headline(made.cells))
    wide, narrow = (_matrix_table(made, interval) for interval in (True, False))
    fits = max(map(len, wide.splitlines())) <= terminal_width()
    print(wide if fits else narrow)
    print("AUROC" + (" [95 % interval]" if fits else "; its intervals are in the files below"))
    for line in used_legend(made.cells):
        print(paragraph(line))
    print(f"  table     {made.folder / 'matrix.csv'}")
    print(f"  page      {made.folder / 'matrix.html'}")


def print_metrics(made: Trained) -> None:
    """Every number of a report with its interval, and the robustness grid where there is one."""
    print(headline(made.metrics))
    if found := caution(made.metrics):
        print(f"  mind      {found}")
    rows = []
    for name, label, _ in ROWS:
        low, high = made.metrics.get(f"{name}_interval", (None, None))
        rows.append([label, f"{made.metrics[name]:.3f}", "" if low is None else f"[{low:.3f}, {high:.3f}]"])
    print(table(("metric", "value", "95 % interval"), rows))
    if grid := made.metrics.get("robustness"):
        print_grid(grid["cells"], grid["words"])
    print(f"  report    {made.report}")


def print_grid(cells: Sequence[dict], words: Sequence[str]) -> None:
    """The robustness grid as a table, and in words."""
    rows = [_grid_row(cell) for cell in cells]
    print(table(("after", "AUROC", "95 % interval", "TPR", "FPR", "it"), rows))
    for line in words:
        print(paragraph(line))


def _one_json(made: Trained) -> dict:
    return {"detector": str(made.detector), "report": str(made.report), "metrics": made.metrics}


def _matrix_table(made: Matrix, interval: bool) -> str:
    width = len(made.columns)
    lines = [made.cells[start : start + width] for start in range(0, len(made.cells), width)]
    cells = [[line[0]["detector"], *(told_cell(cell, interval=interval) for cell in line)] for line in lines]
    return table(("trained / tested on", *(column["name"] for column in made.columns)), cells)


def _grid_row(cell: dict) -> list[str]:
    low, high = cell["auroc_interval"]
    state = "" if cell["degradation"] == "none" else "may break" if cell["state"] == "unclear" else cell["state"]
    rates = [f"{cell[name]:.3f}" for name in ("auroc", "tpr", "fpr")]
    return [cell["degradation"], rates[0], f"[{low:.3f}, {high:.3f}]", *rates[1:], state]
