"""Sweeps: train every combination of presets and settings, and compare the runs in one table."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from fakecore.cluster import Cluster
from fakecore.files import read_json
from fakecore.runs.grid import Cell, Swept, cell_name, check_grid, claimed, combinations, run_cells
from fakegen.architectures.registry import check_architecture
from fakegen.presets.table import get_preset
from fakegen.quality.measure import measure
from fakegen.sweeps.report import write_sweep_report
from fakegen.training.generate import resume, train

SWEEP_VERSION = 1


@dataclass(frozen=True)
class PresetCell(Cell):
    """A run of a sweep, with its preset."""

    preset: str


@dataclass(frozen=True)
class Request:
    """The settings that all runs of a sweep share."""

    real: str | None
    changes: dict[str, str]
    count: int
    seed: int
    device: str
    data_root: str | None


def sweep(
    presets: list[str],
    *,
    out: Path | str,
    over: dict[str, list[str]] | None = None,
    real: str | None = None,
    changes: dict[str, Any] | None = None,
    count: int = 64,
    seed: int = 0,
    jobs: int = 1,
    device: str = "auto",
    data_root: Path | None = None,
    cluster: Cluster | None = None,
) -> Swept:
    """Train every preset under every combination of `over`'s values, and write sweep.csv, curves.png and sweep.html.

    Repeat the call with the same settings to resume a sweep that was stopped. Each run's set has `count` fakes and as many
    reals; `sample` makes more. `jobs` runs are trained at a time, or as many as a `cluster` has workers. Raises UserError
    before training for settings that do not exist, or a folder with another sweep.
    """
    out, over, changes = Path(out), over or {}, changes or {}
    cells = plan(presets, over, changes)
    check_grid(cells, over, changes, jobs)
    as_text = {name: str(value) for name, value in changes.items()}
    request = Request(real, as_text, count, seed, device, str(data_root) if data_root else None)
    asked = {"version": SWEEP_VERSION, "runs": [asdict(cell) for cell in cells], "request": asdict(request)}
    with claimed(out, asked):
        here = replace(request, device=cluster.device(device)) if cluster else request
        failed = run_cells(out, cells, partial(_train_cell, out, here), jobs, cluster)
        return write_sweep_report(out, cells, failed)


def plan(presets: list[str], over: dict[str, list[str]], changes: dict[str, Any]) -> list[PresetCell]:
    """Return the runs of a sweep, in order: presets outermost, the last field of `over` innermost.

    Raises UserError for a preset, field or value that does not exist.
    """
    cells = []
    for preset in presets:
        for varied in combinations(over):
            wanted = {**changes, **varied}
            check_architecture(get_preset(preset, wanted), set(wanted))
            words = [preset] if len(presets) > 1 or not over else []
            cells.append(PresetCell(cell_name(varied, *words), varied, preset))
    return cells


def _train_cell(out: Path, request: Request, cell: PresetCell) -> None:
    """Train and measure a run, or resume it."""
    folder = out / "runs" / cell.name
    common: dict[str, Any] = {
        "real": request.real,
        "changes": {**request.changes, **cell.varied},
        "count": request.count,
    }
    common |= {"device": request.device, "data_root": request.data_root and Path(request.data_root)}
    if not (folder / "run.json").is_file():
        train(cell.preset, out=folder, seed=request.seed, **common)
    elif read_json(folder / "run.json").get("status") != "done":
        resume(folder, preset=cell.preset, seed=request.seed, **common)
    measure(folder, device=request.device, data_root=common["data_root"])
