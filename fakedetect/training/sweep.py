"""`sweep detect-train`: a detector for every combination of settings, all on the same images, compared in one table."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

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
    """What all detectors of a sweep have in common."""

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
) -> Swept:
    """Train a detector on a set or run (`place`), or on `real` and `fake`, under every combination of `over`'s values, and
    write sweep.csv, curves.png and sweep.html.

    Called again with the same settings it goes on where it was stopped. Raises UserError,
    before anything is trained, for settings that do not exist, images that are not there or a folder that holds another
    sweep. What fails later, one detector or all, keeps its row with the reason.
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
        failed = run_cells(cells, partial(_train_cell, out, request), jobs)
        return write_sweep_report(out, cells, failed)


def plan(over: dict[str, list[str]], changes: dict[str, Any]) -> list[Cell]:
    """The detectors of a sweep, in order: the last field of `over` innermost.

    Raises UserError for a field, value or model that does not exist, and for a swept field that means nothing to a model.
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
                what = f"{name} means nothing to the model {settings.model}: it would be trained again and again, alike"
                raise UserError(what, got=cell_name(varied), remedy=f"Sweep over {name} with the other models alone.")
        cells.append(Cell(cell_name(varied), varied))
    return cells


def _train_cell(out: Path, request: Request, cell: Cell) -> None:
    """Train a detector, or go on with it; one that is finished is left alone."""
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
