"""Grids of runs: every combination of settings trained one after another or side by side, and compared in one table."""

from __future__ import annotations

import itertools
import os
import re
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import asdict, dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import torch

from fakecore.errors import Interrupted, UserError
from fakecore.files import read_json, write_json
from fakecore.progress import say
from fakecore.runfolder import locked
from fakegen.generate import resume, train
from fakegen.measure import measure
from fakegen.networks import check_architecture
from fakegen.presets import get_preset
from fakegen.sweep_report import write_sweep_report

SWEEP_VERSION = 1


@dataclass(frozen=True)
class Cell:
    """One run of a sweep: `name` is its folder, `varied` the settings by which it differs from the others."""

    name: str
    preset: str
    varied: dict[str, str]


@dataclass(frozen=True)
class Swept:
    """What `sweep` leaves behind; `rows` are those of the table, `failed` names what could not be trained."""

    folder: Path
    table: Path
    report: Path
    rows: list[dict[str, Any]]
    failed: list[str]


@dataclass(frozen=True)
class Request:
    """What all runs of a sweep have in common."""

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
) -> Swept:
    """Train every preset under every combination of `over`'s values, and write sweep.csv, curves.png and sweep.html.

    Called again with the same settings it goes on where it was stopped. `count` fakes and as many reals are written for
    each run: a sweep compares runs, `sample` makes more of the one that was chosen. Raises UserError, before anything is
    trained, for settings that do not exist or a folder that holds another sweep.
    """
    out = Path(out)
    cells = plan(presets, over or {}, changes or {})
    if jobs < 1:
        raise UserError("--jobs is out of range", got=jobs, expected="1 or more")
    request = Request(
        real, {name: str(v) for name, v in (changes or {}).items()}, count, seed, device, data_root and str(data_root)
    )
    with locked(out):
        _claim(out, cells, request)
        failed = dict(_work(out, cells, request, jobs))
        rows = write_sweep_report(out, cells, failed)
    return Swept(out, out / "sweep.csv", out / "sweep.html", rows, sorted(failed))


def plan(presets: list[str], over: dict[str, list[str]], changes: dict[str, Any]) -> list[Cell]:
    """The runs of a sweep, in order: presets outermost, the last field of `over` innermost.

    Raises UserError for a preset, field or value that does not exist, or one that is named twice.
    """
    cells = []
    for preset in presets:
        for values in itertools.product(*over.values()):
            varied = dict(zip(over, values, strict=True))
            wanted = {**changes, **varied}
            check_architecture(get_preset(preset, wanted), set(wanted))
            words = ([preset] if len(presets) > 1 or not over else []) + [f"{k}={v}" for k, v in varied.items()]
            cells.append(Cell(re.sub(r"[^\w.,=+-]+", "-", "_".join(words)), preset, varied))
    names = [cell.name for cell in cells]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise UserError("a sweep names the same run twice", got=", ".join(twice))
    if overlap := sorted(set(over) & set(changes)):
        raise UserError(f"{overlap[0]} is both swept and set", expected="--over or --set, not both")
    return cells


def _claim(out: Path, cells: list[Cell], request: Request) -> None:
    """Write down what was asked; an earlier sweep in the same folder must have been asked for the same."""
    asked = {"version": SWEEP_VERSION, "runs": [asdict(cell) for cell in cells], "request": asdict(request)}
    path = out / "sweep.json"
    if path.is_file():
        if read_json(path) != asked:
            raise UserError(
                f"{out} holds a sweep of other settings",
                remedy="Repeat its own command to go on with it, or choose another --out.",
            )
        return
    if any(entry.name != ".lock" for entry in out.iterdir()):
        raise UserError(f"{out} is not empty", expected="a new folder, or one that holds a sweep")
    write_json(path, asked)


def _work(out: Path, cells: list[Cell], request: Request, jobs: int) -> Iterator[tuple[str, str]]:
    """Train and measure every cell; yields (name, why) of those that could not be."""
    if jobs == 1:
        for number, cell in enumerate(cells, 1):
            say(f"{cell.name} ({number} of {len(cells)})")
            if why := _train_cell(out, cell, request):
                yield cell.name, why
        return
    threads = max(1, (os.cpu_count() or 1) // jobs)
    with ProcessPoolExecutor(jobs, get_context("spawn"), torch.set_num_threads, (threads,)) as pool:
        waiting = {pool.submit(_train_cell, out, cell, request): cell for cell in cells}
        try:
            for number, future in enumerate(as_completed(waiting), 1):
                cell = waiting[future]
                why = future.result()
                say(f"{cell.name}: {why or 'done'} ({number} of {len(cells)})")
                if why:
                    yield cell.name, why
        except BaseException:
            pool.shutdown(wait=True, cancel_futures=True)
            raise


def _train_cell(out: Path, cell: Cell, request: Request) -> str | None:
    """Train a cell, or go on with it; why it could not be, or None. Raises Interrupted when stopped."""
    folder = out / "runs" / cell.name
    common = {"real": request.real, "changes": {**request.changes, **cell.varied}, "count": request.count}
    common |= {"device": request.device, "data_root": request.data_root and Path(request.data_root)}
    try:
        if not (folder / "run.json").is_file():
            train(cell.preset, out=folder, seed=request.seed, **common)
        elif read_json(folder / "run.json").get("status") != "done":
            resume(folder, preset=cell.preset, seed=request.seed, **common)
        measure(folder, device=request.device, data_root=common["data_root"])
    except Interrupted:
        raise Interrupted(f"stopped in {cell.name}; everything is saved. The same command goes on with it") from None
    except UserError as error:
        return str(error)
    return None
