"""The command `measure`: options and output."""

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
    from fakegen.quality.records import Quality

_HEADS = ("epoch", "frechet", "kernel", "precision", "recall", "density", "coverage", "diversity", "near_copies")
_FRACTIONS = ("precision", "recall", "coverage")


def measure(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="Run folder, made by `generate`.")],
    epochs: Annotated[str, typer.Option(help="Epochs to measure: all, or a list such as 0,5,last.")] = "all",
    count: Annotated[int, typer.Option(help="Number of fakes per epoch; every epoch uses the same latents.")] = 1000,
    features: Annotated[
        str, typer.Option(help="Feature space: auto, inception, clip, imagenet, classes or random.")
    ] = "auto",
    weights: Annotated[
        Path | None,
        typer.Option(help="For inception: a file of weights, .safetensors or .pth. For clip: the folder of a model."),
    ] = None,
    classes_from: Annotated[
        str | None,
        typer.Option(help="Real images with classes, to learn the features from, if the run has only one class."),
    ] = None,
    real: Annotated[str | None, typer.Option(help="The run's real images, if they were moved.")] = None,
    device: Device = "auto",
    data_root: DataRoot = None,
    as_json: Json = False,
) -> int:
    """Measure how close a run's fakes are to real images.

    Prints the Frechet and kernel distances, precision, recall, density, coverage, diversity and near copies of each
    checkpoint against held-out real images, names the best epoch, and plots them.

    \b
    Examples:
      fakelab measure runs/digits
      fakelab measure runs/digits --epochs 0,40,last --features random
    """
    where = {"classes_from": classes_from, "real": real, "device": device, "data_root": data_root}
    return run_measure(run, as_json, epochs=epochs, count=count, features=features, weights=weights, **where)


def run_measure(run: Path, as_json: bool, **options: Any) -> int:
    """Measure a run, print one line per epoch, and return the exit code 0."""
    from fakegen.quality.measure import measure

    found = measure(run, **options)
    if as_json:
        facts = {"run": str(found.run), "epochs": [_facts(row) for row in found.rows], "best": _facts(found.best)}
        print(json.dumps({**facts, "collapse": found.collapse, "remarks": found.remarks, "fresh": found.fresh}))
    else:
        _print(found)
    return 0


def _interval(name: str, low: float, high: float) -> str:
    return f"{low:.1%} to {high:.1%}" if name in _FRACTIONS else f"{low:.4g} to {high:.4g}"


def _facts(row: Quality) -> dict[str, Any]:
    return {**asdict(row), "intervals": row.intervals()}


def _print(found: Measured) -> None:
    best = found.best
    rows = [
        [
            f"{row.epoch}{' *' if row.epoch == best.epoch else ''}",
            f"{row.frechet:.4g} ± {row.frechet_se:.2g}",
            f"{row.kernel:.4g} ± {row.kernel_se:.2g}",
            *(f"{fraction:.1%}" for fraction in (row.precision, row.recall)),
            f"{row.density:.3g}",
            *(f"{fraction:.1%}" for fraction in (row.coverage, row.diversity, row.near_copies)),
        ]
        for row in found.rows
    ]
    print(
        f"{best.n_fake:,} fakes against {best.n_real:,} held-out reals; features: {best.features} ({best.dims:,} dimensions)"
    )
    print(table(_HEADS, rows))
    print(
        paragraph(f"* best: epoch {best.epoch}, Frechet distance {best.frechet:.4g} (training reals: {best.floor:.4g})")
    )
    intervals = [f"{name} {_interval(name, *ends)}" for name, ends in best.intervals().items()]
    print(paragraph(f"95 % intervals of epoch {best.epoch}: " + ", ".join(intervals)))
    print(paragraph("near_copies: fakes that nearly copy a training image; up to 1 % occurs by chance"))
    for line in (*found.remarks, *filter(None, [found.collapse])):
        print(paragraph(line))
    print(f"  plots     {found.run}/plots: quality.png, nearest.png")
