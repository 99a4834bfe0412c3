"""Report a sweep of detectors, from their folders: the table, the curves and the page."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from string import Formatter
from typing import Any

import numpy as np

from fakecore.errors import UserError
from fakecore.files import read_jsonl, write_bytes
from fakecore.messages import counted
from fakecore.runs.grid import Cell, Swept, write_sweep_page, write_table
from fakecore.schema import Kind, check_fields, number, whole
from fakedetect.evaluation.metrics import ranking_metrics
from fakedetect.evaluation.plots import Learned, comparison_plot
from fakedetect.models.detector import Detector

DETECTORS = "detectors"  # their folder inside that of the sweep
LEGEND = "all columns but val AUROC are of the test split; choose by val AUROC"
FACTS = (
    *("status", "parameters", "val_auroc", "auroc", "auroc_low", "auroc_high", "ap", "eer", "tpr_at_fpr5", "ece"),
    *("best_epoch", "epochs", "train_s", "n_real", "n_fake", "error"),
)
_SHARE = number(0, 1)
_METRICS = {
    **dict.fromkeys(("auroc", "ap", "eer", "tpr_at_fpr5", "ece"), _SHARE),
    "auroc_interval": Kind(
        "two numbers", lambda value: isinstance(value, list) and len(value) == 2 and all(map(_SHARE.fits, value))
    ),
    "n_real": whole(1),
    "n_fake": whole(1),
}
_HISTORY = {"epoch": whole(1), **dict.fromkeys(("val_loss", "val_accuracy", "val_auroc"), number())}
_REMEDY = "Remove its folder and repeat the command to train it again."
# Columns shown: header -> format of the values of a row.
_SHOWN = {
    "parameters": "{parameters:,}",
    "val AUROC": "{val_auroc:.4f}",
    "AUROC": "{auroc:.4f} [{auroc_low:.4f}, {auroc_high:.4f}]",
    "AP": "{ap:.4f}",
    "EER": "{eer:.4f}",
    "TPR at 5 % FPR": "{tpr_at_fpr5:.4f}",
    "ECE": "{ece:.4f}",
    "epoch": "{best_epoch} of {epochs}",
    "seconds": "{train_s:.1f}",
}
_PAGE_ONLY = ("AP", "EER", "TPR at 5 % FPR", "ECE")


@dataclass(frozen=True)
class _Read:
    """The content of a detector folder: the facts of its row, its learning curves, and its ROC points."""

    facts: dict[str, Any]
    learned: Learned | None = None
    tested: frozenset[str] = field(default_factory=frozenset)  # paths of the test images


def write_sweep_report(out: Path, cells: Sequence[Cell], failed: dict[str, str]) -> Swept:
    """Write sweep.csv, curves.png and sweep.html into `out`; a row of the table for each of `cells`, in order.

    `failed` gives the reason for detectors that could not be trained. They keep their row, and so do unreadable ones.
    """
    varied = list(dict.fromkeys(name for cell in cells for name in cell.varied))
    failed, rows, read = dict(failed), [], []
    for cell in cells:
        facts = dict.fromkeys(FACTS)
        try:
            one = None if cell.name in failed else _read(out / DETECTORS / cell.name, cell.name)
        except UserError as error:
            one, failed[cell.name] = None, str(error)
        if one is not None:
            read.append(one)
        state = {"status": "failed" if one is None else "done", "error": failed.get(cell.name)}
        settings = {name: cell.varied.get(name) for name in varied}
        rows.append({"run": cell.name, **settings, **facts, **(one.facts if one else {}), **state})
    table = write_table(out, ["run", *varied, *FACTS], rows)
    if read:
        write_bytes(out / "curves.png", comparison_plot([one.learned for one in read if one.learned]))
    remarks = _remarks(read)
    return Swept(out, table, _write_page(out, rows, varied, remarks), rows, sorted(failed), remarks)


def table_columns(rows: list[dict], *, narrow: bool = False) -> list[str]:
    """Return the columns to show, without those that are empty in every row or, if `narrow`, do not fit a terminal."""
    headers = [header for header in _SHOWN if not (narrow and header in _PAGE_ONLY)]
    return ["run", *(header for header in headers if any(_format(row, header) for row in rows))]


def format_row(row: dict, columns: Sequence[str]) -> list[str]:
    """Return the text of a row for each of `table_columns`."""
    return [row["run"] if header == "run" else _format(row, header) for header in columns]


def best_of(rows: list[dict]) -> dict | None:
    """Return the row with the highest validation AUROC; among equal ones, that with the fewest parameters."""
    judged = [row for row in rows if row["val_auroc"] is not None]
    return min(judged, key=lambda row: (-row["val_auroc"], row["parameters"]), default=None)


def _format(row: dict, header: str) -> str:
    template = _SHOWN[header]
    lacks = any(row[name] is None for _, name, *_ in Formatter().parse(template) if name)
    return "" if lacks else template.format(**row)


def _read(folder: Path, name: str) -> _Read:
    """Read a detector folder. Raises UserError if the detector or its history is damaged."""
    detector = Detector.load(folder, "cpu")
    where = folder / "detector.json"
    check_fields(detector.facts, {"test_metrics": _METRICS}, where, remedy=_REMEDY)
    metrics, history = detector.facts["test_metrics"], read_jsonl(folder / "history.jsonl")
    for line in history:
        check_fields(line, _HISTORY, folder / "history.jsonl", remedy=_REMEDY)
    best = detector.facts.get("best_epoch")
    if best is not None and best not in [line["epoch"] for line in history]:
        got = counted(len(history), "epoch")
        raise UserError(f"{folder / 'history.jsonl'} is truncated", got=got, expected=f"epoch {best}", remedy=_REMEDY)
    splits = _predictions(folder / "predictions.csv")
    low, high = metrics["auroc_interval"]
    facts = {key: metrics[key] for key in ("auroc", "ap", "eer", "tpr_at_fpr5", "ece", "n_real", "n_fake")}
    facts |= {"auroc_low": low, "auroc_high": high, "best_epoch": best, "epochs": len(history) or None}
    facts |= {"parameters": sum(parameter.numel() for parameter in detector.network.parameters())}
    facts |= {"val_auroc": ranking_metrics(*splits["val"][1:])["auroc"], "train_s": detector.facts.get("train_s")}
    paths, labels, logits = splits["test"]
    return _Read(facts, Learned(name, history, best, (labels, logits)), frozenset(paths))


def _predictions(path: Path) -> dict[str, tuple[list[str], np.ndarray, np.ndarray]]:
    """Read predictions.csv: paths, labels (N,) and logits (N,) of the validation split and of the test split."""
    found: dict[str, list[tuple[str, int, float]]] = {"val": [], "test": []}
    try:
        with path.open(newline="", encoding="utf-8", errors="surrogateescape") as file:
            for row in csv.DictReader(file):
                if row["split"] in found:
                    found[row["split"]].append((row["path"], int(row["y_true"]), float(row["logit"])))
    except FileNotFoundError:
        raise UserError(f"{path} is missing", remedy=_REMEDY) from None
    except (KeyError, ValueError, TypeError, csv.Error):
        found = {}
    splits = {split: [*zip(*lines, strict=True)] for split, lines in found.items() if lines}
    both = {split: (list(paths), np.array(y), np.array(logits)) for split, (paths, y, logits) in splits.items()}
    if set(both) != {"val", "test"} or any(
        set(y) != {0, 1} or not np.isfinite(logits).all() for _, y, logits in both.values()
    ):
        raise UserError(f"{path} is truncated or was changed", remedy=_REMEDY)
    return both


def _remarks(read: list[_Read]) -> tuple[str, ...]:
    """Return the reasons why rows are not comparable."""
    if len({one.tested for one in read}) > 1:
        return ("The detectors were tested on different images: their rows are not comparable.",)
    return ()


def _write_page(out: Path, rows: list[dict], varied: list[str], remarks: tuple[str, ...]) -> Path:
    best = best_of(rows)
    columns = [*varied, *(header for header in table_columns(rows) if header != "run")]
    errors = [row for row in rows if row["error"]]
    lines = []
    for row in rows:
        cells = [(row[name] or "", False) for name in varied]
        lines.append((row is best, cells + [(_format(row, header), True) for header in columns[len(varied) :]]))
    rivals = [row for row in rows if row is not best and row["auroc"] is not None]
    near = [row["run"] for row in rivals if best and row["auroc_high"] >= best["auroc_low"]]
    return write_sweep_page(
        out,
        "fakedetect.training",
        columns,
        lines,
        best=best,
        near=near,
        rivals=len(rivals),
        remarks=remarks,
        errors=errors,
    )
