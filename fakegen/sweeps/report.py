"""The table, the plot and the HTML report of a sweep, made from its run folders."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from fakecore.errors import UserError
from fakecore.files import read_jsonl, write_bytes
from fakecore.report.figures import figure_style, line_colours, logarithmic_y, png_bytes
from fakecore.report.pages import data_uri
from fakecore.runs.grid import Swept, write_sweep_page, write_table
from fakegen.quality.records import best_of, read_quality
from fakegen.runs.run import Run, open_run

FINAL_FRACTION = 0.1  # of the steps: final values are means over these, since single steps are noisy
QUALITY_COLUMNS = (
    "frechet_last",
    "frechet_best",
    "best_epoch",
    "kernel_last",
    "kernel_se",
    "floor",
    "n_fake",
    "n_real",
)
COLUMNS = (
    *("status", "epochs", "steps"),
    *QUALITY_COLUMNS,
    *("features", "d_accuracy", "loss_d", "loss_g", "train_s", "images_per_s", "error"),
)


def write_sweep_report(out: Path, cells: Sequence, failed: dict[str, str]) -> Swept:
    """Write sweep.csv, curves.png and sweep.html into `out`, with one table row for each of `cells` (PresetCell), in order.

    `failed` maps the names of failed runs to their errors, which stand in their rows.
    """
    varied = list(dict.fromkeys(name for cell in cells for name in cell.varied))
    runs = {cell.name: out / "runs" / cell.name for cell in cells}
    failed, rows = dict(failed), []
    for cell in cells:
        try:
            facts = _facts(runs[cell.name])
        except UserError as error:  # run.json or quality.jsonl is damaged
            facts = dict.fromkeys(COLUMNS, "") | {"status": "unreadable"}
            failed.setdefault(cell.name, str(error))
            del runs[cell.name]
        settings = {name: cell.varied.get(name, "") for name in varied}
        rows.append({"run": cell.name, "preset": cell.preset, **settings, **facts, "error": failed.get(cell.name, "")})
    columns = ["run", "preset", *varied, *COLUMNS]
    table = write_table(out, columns, rows)
    trained = {name: path for name, path in runs.items() if (path / "metrics.jsonl").is_file()}
    if trained:
        _plot_curves(out / "curves.png", trained)
    return Swept(out, table, _write_page(out, columns, rows, trained), rows, sorted(failed))


def _facts(folder: Path) -> dict[str, Any]:
    empty = dict.fromkeys(COLUMNS, "")
    if not (folder / "run.json").is_file():
        return {**empty, "status": "not started"}
    run = open_run(folder)
    facts = {**empty, "status": run.facts["status"], "epochs": run.facts["epoch"], "steps": run.facts["step"]}
    facts["train_s"] = round(run.facts["timings"]["train_s"], 1)
    return {**facts, **_last_values(run), **_quality(run)}


def _last_values(run: Run) -> dict[str, float]:
    lines = read_jsonl(run.path / "metrics.jsonl")
    last = lines[-max(1, round(len(lines) * FINAL_FRACTION)) :]
    if not last:
        return {}

    def mean(name: str) -> float:
        return round(float(np.mean([line[name] for line in last])), 4)

    return {
        "d_accuracy": round((mean("acc_real") + mean("acc_fake")) / 2, 4),
        "loss_d": mean("loss_d"),
        "loss_g": mean("loss_g"),
        "images_per_s": round(float(np.median([line["images_per_s"] for line in lines])), 1),
    }


def _quality(run: Run) -> dict[str, Any]:
    measured = read_quality(run)
    if not measured:
        return {}
    last, best = measured[-1], best_of(measured)
    return {
        "frechet_last": round(last.frechet, 4),
        "frechet_best": round(best.frechet, 4),
        "best_epoch": best.epoch,
        "kernel_last": round(last.kernel, 5),
        "kernel_se": round(last.kernel_se, 5),
        "floor": round(last.floor, 4),
        "n_fake": last.n_fake,
        "n_real": last.n_real,
        "features": last.features,
    }


def _plot_curves(path: Path, runs: dict[str, Path]) -> None:
    """Plot D's accuracy, both losses and the distance to held-out reals, one line per run."""
    from matplotlib.figure import Figure

    colours = dict(zip(runs, line_colours(len(runs)), strict=True))
    with figure_style():
        figure = Figure(figsize=(12, 8), layout="constrained")
        accuracy, distance, loss_d, loss_g = figure.subplots(2, 2).flat
    for name, folder in runs.items():
        lines = read_jsonl(folder / "metrics.jsonl")
        log = {key: np.array([line[key] for line in lines], dtype=float) for key in (lines[0] if lines else {})}
        if lines:
            _curve(accuracy, log["step"], (log["acc_real"] + log["acc_fake"]) / 2, name, colours[name])
            _curve(loss_d, log["step"], log["loss_d"], name, colours[name])
            _curve(loss_g, log["step"], log["loss_g"], name, colours[name])
        measured = [row for row in read_quality(open_run(folder)) if row.epoch > 0]
        distance.plot(
            [r.epoch for r in measured], [r.frechet for r in measured], "o-", ms=4, color=colours[name], label=name
        )
    accuracy.axhline(0.5, color="0.35", linestyle="--", linewidth=1)
    accuracy.set(title="D's accuracy (0.5: chance)", xlabel="step", ylim=(-0.02, 1.02))
    distance.set(title="Frechet distance to held-out reals (lower is better)", xlabel="epoch")
    logarithmic_y(distance)
    loss_d.set(title="Loss of D", xlabel="step")
    loss_g.set(title="Loss of G", xlabel="step")
    handles, labels = accuracy.get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=min(3, len(runs)), frameon=False, fontsize=9)
    write_bytes(path, png_bytes(figure, dpi=110))


def _curve(axes, steps: np.ndarray, values: np.ndarray, label: str, colour) -> None:
    width = max(1, len(steps) // 50)
    axes.plot(
        steps[width - 1 :],
        np.convolve(values, np.ones(width) / width, "valid"),
        color=colour,
        linewidth=1.6,
        label=label,
    )


def _write_page(out: Path, columns: list[str], rows: list[dict[str, Any]], trained: dict[str, Path]) -> Path:
    shown = [name for name in columns if any(row[name] not in ("", None) for row in rows)]
    mosaics = []
    for row in rows:
        sheets = sorted((out / "runs" / row["run"] / "snapshots").glob("epoch-*.png"))
        if sheets:
            mosaics.append(
                {"run": row["run"], "epoch": int(sheets[-1].stem.split("-")[1]), "src": data_uri(sheets[-1])}
            )
    measured = [row for row in rows if row["frechet_best"] != ""]
    best = min(measured, key=lambda row: row["frechet_best"]) if measured else None
    space = read_quality(open_run(trained[best["run"]]))[-1].comparable if best else None
    lines = [(row is best, [_format(row[name]) for name in shown]) for row in rows]
    headers = [name.replace("_", " ") for name in shown]
    return write_sweep_page(out, "fakegen.sweeps", headers, lines, best=best, comparable=space, mosaics=mosaics)


def _format(value: Any) -> tuple[str, bool]:
    """Return a value as text for the HTML table, and whether it is a number."""
    return (f"{value:.4g}" if isinstance(value, float) else str(value)), isinstance(value, (int, float))
