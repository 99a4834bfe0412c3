"""`measure`: options and output."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from fakecore.commands.options import DataRoot, Device, Json
from fakecore.report.tables import paragraph, table

if TYPE_CHECKING:
    from fakegen.quality.measure import Measured


def measure(
    run: Annotated[Path, typer.Argument(help="The folder of a run.")],
    epochs: Annotated[str, typer.Option(help="all, or checkpoints such as 0,5,last.")] = "all",
    count: Annotated[int, typer.Option(help="Fakes per epoch; the same latents for each.")] = 1000,
    features: Annotated[str, typer.Option(help="Feature space: auto, inception, classes or random.")] = "auto",
    weights: Annotated[Path | None, typer.Option(help="Weights of inception: .safetensors or .pth.")] = None,
    classes_from: Annotated[
        str | None, typer.Option(help="Features learn the classes of these reals, where the run has one class alone.")
    ] = None,
    real: Annotated[str | None, typer.Option(help="Where the run's real images stand now, if they moved.")] = None,
    device: Device = "auto",
    data_root: DataRoot = None,
    as_json: Json = False,
) -> int:
    """Is it getting better? Distances of a run's checkpoints to held-out reals, the best epoch, and a plot."""

    where = {"classes_from": classes_from, "real": real, "device": device, "data_root": data_root}
    return run_measure(run, as_json, epochs=epochs, count=count, features=features, weights=weights, **where)


def run_measure(run: Path, as_json: bool, **options: Any) -> int:
    """Measure a run and print a line for every epoch; the exit code."""
    from fakegen.quality.measure import measure

    found = measure(run, **options)
    if as_json:
        facts = {"run": str(found.run), "epochs": [asdict(row) for row in found.rows], "best": asdict(found.best)}
        print(json.dumps({**facts, "collapse": found.collapse, "remarks": found.remarks, "fresh": found.fresh}))
    else:
        _print(found)
    return 0


def _print(found: Measured) -> None:
    best = found.best
    rows = [
        [
            f"{row.epoch}{' *' if row.epoch == best.epoch else ''}",
            f"{row.frechet:.4g}",
            f"{row.kernel:.4g} ± {row.kernel_se:.2g}",
            *(f"{share:.1%}" for share in (row.precision, row.recall, row.diversity, row.near_copies)),
        ]
        for row in found.rows
    ]
    print(f"{best.n_fake:,} fakes against {best.n_real:,} held-out reals, in the space {best.features} ({best.dims:,})")
    print(table(("epoch", "frechet", "kernel", "precision", "recall", "diversity", "near_copies"), rows))
    print(paragraph(f"* best: epoch {best.epoch}, {best.frechet:.4g}; as many training reals get {best.floor:.4g}"))
    print(paragraph("near copies: up to 1 % is chance"))
    for line in (*found.remarks, *filter(None, [found.collapse])):
        print(paragraph(line))
    print(f"  look at   {found.run}/plots/quality.png, nearest.png")
