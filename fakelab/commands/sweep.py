"""`sweep generate` and `sweep detect-train`: options and output."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from fakecore.commands.options import DataRoot, Device, Fake, Json, Real, Sets, newest_run, print_json

if TYPE_CHECKING:
    from fakecore.runs.grid import Swept

Out = Annotated[Path, typer.Option(help="The sweep's folder; the same command goes on with a stopped one.")]
Over = Annotated[list[str] | None, typer.Option(help="field=value,value...; several make a grid of every combination.")]
Jobs = Annotated[int, typer.Option(help="How many at a time, sharing the threads, whose number decides last digits.")]
Seed = Annotated[int, typer.Option(help="Same seed, same result.")]

commands = typer.Typer(help="Run a grid of settings and compare the results in one table.", no_args_is_help=True)


@commands.command("generate")
def sweep_generate(
    presets: Annotated[str, typer.Argument(metavar="PRESET[,PRESET...]", help="One preset or several; see `presets`.")],
    out: Out,
    over: Over = None,
    real: Real = None,
    epochs: Annotated[int | None, typer.Option(help="Passes over the training reals, for every run.")] = None,
    count: Annotated[int, typer.Option(help="Fakes in each run's own set.")] = 64,
    jobs: Jobs = 1,
    seed: Seed = 0,
    sets: Sets = None,
    device: Device = "auto",
    data_root: DataRoot = None,
    as_json: Json = False,
) -> int:
    """Train a GAN for every combination of settings, or for every preset, and compare them on one page."""
    from fakecore.messages import counted
    from fakecore.runs.grid import parse_over
    from fakecore.settings import parse_assignments
    from fakegen.sweeps.sweep import sweep

    names = [name.strip() for name in presets.split(",") if name.strip()]
    changes = parse_assignments(sets or []) | ({} if epochs is None else {"epochs": str(epochs)})
    shared = {"out": out, "real": real, "count": count, "jobs": jobs, "seed": seed}
    shared |= {"device": device, "data_root": data_root}
    made = sweep(names, over=parse_over(over or []), changes=changes, **shared)
    columns = ("run", "frechet_best", "best_epoch", "frechet_last", "d_accuracy", "train_s")
    lines = [[row[name] for name in columns] for row in made.rows]
    legend = f"{counted(len(made.rows), 'run')}; frechet: distance to held-out reals, lower is better"
    return _tell(made, columns, lines, legend, as_json)


@commands.command("detect-train")
def sweep_detect_train(
    out: Out,
    place: Annotated[
        Path | None, typer.Argument(metavar="[SET|RUN]", help="A set or a run. Default: the newest run.")
    ] = None,
    over: Over = None,
    real: Real = None,
    fake: Fake = None,
    jobs: Jobs = 1,
    seed: Seed = 0,
    sets: Sets = None,
    device: Device = "auto",
    data_root: DataRoot = None,
    as_json: Json = False,
) -> int:
    """Train a detector for every combination of settings, such as model=cnn,dct, and compare them on one page."""
    from fakecore.runs.grid import parse_over
    from fakecore.settings import parse_assignments
    from fakedetect.training.sweep import sweep
    from fakedetect.training.sweep_report import LEGEND, told_columns, told_row

    if place is None and real is None and fake is None:
        place = newest_run()
    shared = {"out": out, "real": real, "fake": fake, "jobs": jobs, "seed": seed}
    shared |= {"device": device, "data_root": data_root}
    made = sweep(place, over=parse_over(over or []), changes=parse_assignments(sets or []), **shared)
    columns = told_columns(made.rows, narrow=True)
    return _tell(made, columns, [told_row(row, columns) for row in made.rows], LEGEND, as_json)


def _tell(made: Swept, columns, lines: list[list], legend: str, as_json: bool) -> int:
    """Print a sweep; the exit code, 1 when some of it failed."""
    from fakecore.report.tables import table

    if as_json:
        print_json({"sweep": str(made.folder), "runs": made.rows, "failed": made.failed, "remarks": made.remarks})
    else:
        print(table(columns, lines))
        if len(made.failed) < len(made.rows):
            print(legend)
        for remark in made.remarks:
            print(f"  mind      {remark}")
        print(f"  table     {made.table}")
        print(f"  page      {made.report}")
    for row in made.rows:
        if row["error"]:
            print(f"failed: {row['run']}: {row['error']}", file=sys.stderr)
    return 1 if made.failed else 0
