"""`sweep detect-train`: train a detector per combination of settings on the same images, and compare them in one table."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from fakecore.cluster import Cluster
from fakecore.device import check_seed
from fakecore.errors import UserError
from fakecore.labels import SPLITS
from fakecore.runs.grid import Cell, Swept, cell_name, check_grid, claimed, combinations, run_cells
from fakecore.sets.imageset import ImageSet
from fakecore.settings import override
from fakedetect.data.loading import open_labelled, require_both_counted
from fakedetect.models.registry import get_model, uses_field
from fakedetect.models.settings import DetectorSettings
from fakedetect.training.sweep_report import DETECTORS, write_sweep_report
from fakedetect.training.train import train

SWEEP_VERSION = 1


@dataclass(frozen=True)
class Request:
    """The settings common to all detectors of a sweep."""

    place: str | None
    real: str | None
    fake: str | None
    changes: dict[str, str]
    seed: int
    device: str
    data_root: str | None


def sweep(
    place: Path | str | None = None,
    *,
    out: Path | str,
    over: dict[str, list[str]] | None = None,
    real: str | None = None,
    fake: str | None = None,
    changes: dict[str, Any] | None = None,
    seed: int = 0,
    jobs: int = 1,
    device: str = "auto",
    data_root: Path | None = None,
    cluster: Cluster | None = None,
) -> Swept:
    """Train a detector on a set or run (`place`), or on `real` and `fake`, under every combination of `over`'s values, and
    write sweep.csv, curves.png and sweep.html.

    Repeated with the same settings, it resumes. `jobs` detectors are trained at a time, or as many as a `cluster` has workers.
    Raises UserError, before anything is trained, for unknown settings, missing
    images, or a folder with another sweep. A detector that fails later keeps its row, with the reason.
    """
    out, over, changes = Path(out), over or {}, changes or {}
    cells = plan(over, changes)
    check_grid(cells, over, changes, jobs)
    check_seed(seed)
    found = open_labelled(place, real=real, fake=fake, data_root=data_root)
    if isinstance(found, ImageSet):
        require_both_counted(found.info["counts"], SPLITS, [])
    typed = {name: str(value) for name, value in changes.items()}
    request = Request(
        str(place) if place else None, real, fake, typed, seed, device, str(data_root) if data_root else None
    )
    runs = [asdict(cell) for cell in cells]
    asked = {"version": SWEEP_VERSION, "kind": "detect-train", "runs": runs, "request": asdict(request)}
    with claimed(out, asked):
        here = replace(request, device=cluster.device(device)) if cluster else request
        failed = run_cells(out, cells, partial(_train_cell, out, here), jobs, cluster)
        return write_sweep_report(out, cells, failed)


def plan(over: dict[str, list[str]], changes: dict[str, Any]) -> list[Cell]:
    """Return the detectors of a sweep, in order: the last field of `over` innermost.

    Raises UserError for an unknown field, value or model, and for a swept field that a model does not use.
    """
    if not over:
        raise UserError("nothing is swept", expected="--over field=value,value..., such as --over blocks=1,2,3,4")
    cells = []
    for varied in combinations(over):
        settings = override(DetectorSettings(), {**changes, **varied})
        get_model(settings.model)
        settings.require_backbone_for_weights()
        for name in over:
            if not uses_field(settings, name):
                what = f"the model {settings.model} does not use {name}: all its detectors would be equal"
                raise UserError(what, got=cell_name(varied), remedy=f"Sweep over {name} with other models only.")
        cells.append(Cell(cell_name(varied), varied))
    return cells


def _train_cell(out: Path, request: Request, cell: Cell) -> None:
    """Train a detector, or resume its training; skip a finished one."""
    folder = out / DETECTORS / cell.name
    if (folder / "detector.json").is_file():
        return
    train(
        request.place,
        out=folder,
        real=request.real,
        fake=request.fake,
        changes={**request.changes, **cell.varied},
        seed=request.seed,
        device=request.device,
        resume=(folder / "training.json").is_file(),
        data_root=Path(request.data_root) if request.data_root else None,
    )
