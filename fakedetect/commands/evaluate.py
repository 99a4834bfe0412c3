"""`evaluate`: options and output."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from fakecore.commands.options import DataRoot, Device, Fake, Json, Real, Stream, report_unused
from fakecore.errors import UserError
from fakecore.messages import command
from fakecore.report.tables import paragraph, table, terminal_width
from fakecore.runs.runfolder import free_name

if TYPE_CHECKING:
    from fakedetect.evaluation.matrix import Matrix
    from fakedetect.published.measure import Published
    from fakedetect.training.testing import Trained

Strict = Annotated[bool, typer.Option("--strict", help="Stop with an error if the audit finds a leak.")]
_MATRIX = Path("runs/matrix")


def evaluate(
    detectors: Annotated[
        str,
        typer.Argument(metavar="DET,DET", help="Detector folder or .onnx file; several for a matrix."),
    ],
    places: Annotated[
        list[str] | None,
        typer.Argument(metavar="SET|RUN", help="Sets or runs, or URLs of these; their test splits are used."),
    ] = None,
    real: Real = None,
    fake: Fake = None,
    out: Annotated[
        Path | None,
        typer.Option(help="Folder of the report. Default: DET/evaluations/NAME; for a matrix: runs/matrix."),
    ] = None,
    robustness: Annotated[
        bool, typer.Option("--robustness", help="Also test on images after JPEG, blur, noise and more.")
    ] = False,
    degrade: Annotated[str | None, typer.Option(help="Make a matrix on degraded images: jpeg75, blur1 ...")] = None,
    on: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="Published benchmark: ff++[:c23], celeb-df, dfdc, cnndetection, genimage or deepfakebench.",
        ),
    ] = None,
    root: Annotated[Path | None, typer.Option(metavar="DIR", help="Folder of the published benchmark.")] = None,
    strict: Strict = False,
    stream: Stream = None,
    device: Device = "auto",
    data_root: DataRoot = None,
    as_json: Json = False,
) -> int:
    """Test detectors on images that they were not trained on.

    One detector on one set: writes a report. Several detectors or several sets: writes a matrix, a table with one row per
    detector and one column per set.

    \b
    Examples:
      fakelab evaluate runs/digits-cnn runs/other --robustness
      fakelab evaluate runs/a-cnn,runs/b-cnn runs/a runs/b
      fakelab evaluate runs/mine --on celeb-df --root Celeb-DF-v2
    """
    if on is not None:
        return report_unused(run_published(detectors, on, root, out, device, as_json).unused)
    where: dict[str, Any] = {"real": real, "fake": fake, "out": out, "device": device, "data_root": data_root}
    where |= {"robustness": robustness, "degrade": degrade, "strict": strict, "stream": stream}
    made = run_evaluate(detectors, places or [], as_json, **where)
    return report_unused(made.unused_by_option)


def run_published(
    detector: str, name: str, root: Path | None, out: Path | None, device: str, as_json: bool
) -> Published:
    """Test a detector on a published benchmark and print its table, or one JSON object; return the result."""
    from fakedetect.published.measure import evaluate_published

    if root is None:
        raise UserError("--root is missing", expected="the folder of the published benchmark")
    made = evaluate_published(detector, name, root, out=out, device=device)
    if as_json:
        print(json.dumps({"benchmark": name, "folder": str(made.folder), "rows": made.rows}, allow_nan=False))
        return made
    print(f"{made.title}: {made.protocol}")
    names = ("frame_auroc", "video_auroc", "ap", "accuracy")
    lines = [
        [
            row["group"],
            "" if row["n_real"] is None else row["n_real"],
            row["n_fake"],
            *("" if row[one] is None else f"{row[one]:.3f}" for one in names),
        ]
        for row in made.rows
    ]
    print(table(("fakes", "real", "fake", "frame AUROC", "video AUROC", "AP", "accuracy"), lines))
    print(f"  table     {made.folder / 'published.json'}")
    return made


def run_evaluate(
    detectors: str,
    places: Sequence[Path | str],
    as_json: bool,
    *,
    robustness: bool,
    degrade: str | None,
    strict: bool,
    stream: bool | None,
    out: Path | None,
    real: str | None,
    fake: str | None,
    device: str,
    data_root: Path | None,
) -> Trained | Matrix:
    """Write a report for one detector on one set (or --real and --fake), else or with `degrade` a matrix; return it."""
    import fakedetect
    from fakedetect.data.degrade import NONE
    from fakedetect.evaluation.matrix import compare

    chosen = split_detectors(detectors)
    where: dict[str, Any] = {"real": real, "fake": fake, "device": device, "data_root": data_root}
    if len(chosen) == 1 and len(places) <= 1 and degrade is None:
        place = places[0] if places else None
        made = fakedetect.evaluate(
            chosen[0], place, out=out, robustness=robustness, strict=strict, stream=stream, **where
        )
        if as_json:
            print(json.dumps(_one_json(made), allow_nan=False))
        else:
            print_metrics(made)
        return made
    if robustness:
        remedy = "For a matrix on degraded images use --degrade, for example --degrade jpeg75."
        raise UserError("--robustness needs exactly one detector and one set", remedy=remedy)
    if strict:
        remedy = f"Audit each set first: {command('audit', 'SET')}."
        raise UserError("--strict needs exactly one detector and one set", remedy=remedy)
    matrix = compare(chosen, places, out=out or free_name(_MATRIX), degrade=degrade or NONE, stream=stream, **where)
    print_matrix(matrix, as_json)
    return matrix


def split_detectors(text: str) -> list[str]:
    """Split `A,B` into two detectors, unless a folder named `A,B` exists."""
    if Path(text).exists():
        return [text]
    return [name.strip() for name in text.split(",") if name.strip()] or [text]


def print_matrix(made: Matrix, as_json: bool) -> None:
    """Print the matrix as a table (rows: detectors, columns: sets) or as one JSON object."""
    from fakedetect.evaluation.matrix_report import matrix_headline, used_legend

    if as_json:
        facts = {name: value for name, value in asdict(made).items() if name not in ("folder", "unused")}
        print(json.dumps({"matrix": str(made.folder), **facts}, allow_nan=False))
        return
    print(matrix_headline(made.cells))
    wide, narrow = (_matrix_table(made, interval) for interval in (True, False))
    fits = max(map(len, wide.splitlines())) <= terminal_width()
    print(wide if fits else narrow)
    print("AUROC" + (" [95 % interval]" if fits else "; the files below give its intervals"))
    for line in used_legend(made.cells):
        print(paragraph(line))
    print(f"  table     {made.folder / 'matrix.csv'}")
    print(f"  report    {made.folder / 'matrix.html'}")


def print_metrics(made: Trained) -> None:
    """Print every metric with its interval, and the robustness table if there is one."""
    from fakedetect.evaluation.report import ROWS, caution, headline

    print(headline(made.metrics))
    if found := caution(made.metrics):
        print(f"  caution   {found}")
    rows = []
    for name, label, _ in ROWS:
        low, high = made.metrics.get(f"{name}_interval", (None, None))
        rows.append([label, f"{made.metrics[name]:.3f}", "" if low is None else f"[{low:.3f}, {high:.3f}]"])
    print(table(("metric", "value", "95 % interval"), rows))
    if grid := made.metrics.get("robustness"):
        print_grid(grid["cells"], grid["words"])
    print(f"  report    {made.report}")


def print_left_out(made: Trained) -> None:
    """Print the tests of the sources that were left out of training, if any."""
    if made.left_out is None:
        return
    rows = [
        [name, f"{row['auroc']:.3f}", f"{row['tpr']:.1%}", f"{row['fpr']:.1%}"]
        for name, row in {**made.left_out["sources"], "mean": made.left_out}.items()
    ]
    print(table(("left out of training", "AUROC", "fakes called fake", "reals called fake"), rows))


def print_grid(cells: Sequence[dict], words: Sequence[str]) -> None:
    """Print the robustness cells as a table and as sentences."""
    rows = [_grid_row(cell) for cell in cells]
    print(table(("after", "AUROC", "95 % interval", "TPR", "FPR", "result"), rows))
    for line in words:
        print(paragraph(line))


def _one_json(made: Trained) -> dict:
    return {"detector": str(made.detector), "report": str(made.report), "metrics": made.metrics}


def _matrix_table(made: Matrix, interval: bool) -> str:
    from fakedetect.evaluation.matrix_report import format_cell

    width = len(made.columns)
    lines = [made.cells[start : start + width] for start in range(0, len(made.cells), width)]
    cells = [[line[0]["detector"], *(format_cell(cell, interval=interval) for cell in line)] for line in lines]
    return table(("trained / tested on", *(column["name"] for column in made.columns)), cells)


def _grid_row(cell: dict) -> list[str]:
    low, high = cell["auroc_interval"]
    state = "" if cell["degradation"] == "none" else "may break" if cell["state"] == "unclear" else cell["state"]
    rates = [f"{cell[name]:.3f}" for name in ("auroc", "tpr", "fpr")]
    return [cell["degradation"], rates[0], f"[{low:.3f}, {high:.3f}]", *rates[1:], state]
