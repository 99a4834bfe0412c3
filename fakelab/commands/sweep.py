"""`sweep generate` and `sweep detect-train`: options and output."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from fakecore.commands.engine import Address, Engine, EngineOptions, WorkerCpus, WorkerGpus, Workers
from fakecore.commands.options import DataRoot, Device, ExamplesLast, Fake, Json, Real, Sets, newest_run, print_json

if TYPE_CHECKING:
    from fakecore.runs.grid import Swept

Out = Annotated[Path, typer.Option(help="Output folder; repeat the command to resume a stopped sweep.")]
Over = Annotated[
    list[str] | None,
    typer.Option(metavar="FIELD=V1,V2", help="Values of a field to try; repeat for a grid of all combinations."),
]
Jobs = Annotated[
    int,
    typer.Option(
        help="Trainings in parallel. They share the CPU threads; another number of threads can change the last digits."
    ),
]
Seed = Annotated[int, typer.Option(help="Random seed: same seed, machine and threads, same result.")]

commands = typer.Typer(help="Run a grid of settings and compare the results in one table.")


@commands.command("generate", cls=ExamplesLast, short_help="Train a GAN for each combination of settings.")
def sweep_generate(
    presets: Annotated[str, typer.Argument(metavar="PRESET,PRESET", help="One preset or several; see `presets`.")],
    out: Out,
    over: Over = None,
    real: Real = None,
    epochs: Annotated[int | None, typer.Option(help="Passes over the training images, for every run.")] = None,
    count: Annotated[int, typer.Option(help="Fakes in each run's set.")] = 64,
    jobs: Jobs = 1,
    seed: Seed = 0,
    sets: Sets = None,
    engine: Engine = None,
    address: Address = None,
    workers: Workers = None,
    worker_cpus: WorkerCpus = 1,
    worker_gpus: WorkerGpus = 0.0,
    device: Device = "auto",
    data_root: DataRoot = None,
    as_json: Json = False,
) -> int:
    """Train a GAN for each combination of settings or each preset, and compare them.

    \b
    Examples:
      fakelab sweep generate dcgan-64 --real photos/ --over lr=1e-4,2e-4 --out runs/rates
      fakelab sweep generate dcgan-64,modern-64 --real photos/ --epochs 5 --out runs/presets
      fakelab sweep generate dcgan-64 --real photos/ --over z_dim=32,64,128 --out runs/latents --engine ray --worker-cpus 4
    """
    of_engine = EngineOptions(engine, address, workers, worker_cpus, worker_gpus)
    of_engine.refuse_others({"--jobs": jobs != 1}, "Use --workers.")
    from fakecore.messages import counted
    from fakecore.runs.grid import parse_over
    from fakecore.settings import parse_assignments
    from fakegen.sweeps.sweep import sweep

    names = [name.strip() for name in presets.split(",") if name.strip()]
    changes = parse_assignments(sets or []) | ({} if epochs is None else {"epochs": str(epochs)})
    shared: dict[str, Any] = {"out": out, "real": real, "count": count, "jobs": jobs, "seed": seed}
    shared |= {"device": device, "data_root": data_root, "cluster": of_engine.cluster()}
    made = sweep(names, over=parse_over(over or []), changes=changes, **shared)
    columns = ("run", "frechet_best", "best_epoch", "frechet_last", "d_accuracy", "train_s")
    lines = [[row[name] for name in columns] for row in made.rows]
    legend = f"{counted(len(made.rows), 'run')}; frechet: distance to held-out real images, lower is better"
    return _print_result(made, columns, lines, legend, as_json)


@commands.command("detect-train", cls=ExamplesLast, short_help="Train a detector for each combination.")
def sweep_detect_train(
    out: Out,
    place: Annotated[
        Path | None, typer.Argument(metavar="SET|RUN", help="A set or a run. Default: the newest run.")
    ] = None,
    over: Over = None,
    real: Real = None,
    fake: Fake = None,
    jobs: Jobs = 1,
    seed: Seed = 0,
    sets: Sets = None,
    engine: Engine = None,
    address: Address = None,
    workers: Workers = None,
    worker_cpus: WorkerCpus = 1,
    worker_gpus: WorkerGpus = 0.0,
    device: Device = "auto",
    data_root: DataRoot = None,
    as_json: Json = False,
) -> int:
    """Train a detector for each combination of settings, and compare them.

    \b
    Examples:
      fakelab sweep detect-train runs/digits --over model=cnn,dct,spectrum --out runs/models
      fakelab sweep detect-train runs/digits --over blocks=1,2,3,4 --out runs/blocks
    """
    of_engine = EngineOptions(engine, address, workers, worker_cpus, worker_gpus)
    of_engine.refuse_others({"--jobs": jobs != 1}, "Use --workers.")
    from fakecore.runs.grid import parse_over
    from fakecore.settings import parse_assignments
    from fakedetect.training.sweep import sweep
    from fakedetect.training.sweep_report import LEGEND, format_row, table_columns

    if place is None and real is None and fake is None:
        place = newest_run()
    shared: dict[str, Any] = {"out": out, "real": real, "fake": fake, "jobs": jobs, "seed": seed}
    shared |= {"device": device, "data_root": data_root, "cluster": of_engine.cluster()}
    made = sweep(place, over=parse_over(over or []), changes=parse_assignments(sets or []), **shared)
    columns = table_columns(made.rows, narrow=True)
    return _print_result(made, columns, [format_row(row, columns) for row in made.rows], LEGEND, as_json)


def _print_result(made: Swept, columns, lines: list[list], legend: str, as_json: bool) -> int:
    """Print the results of a sweep; return the exit code, 1 if a training failed."""
    from fakecore.report.tables import table

    if as_json:
        print_json({"sweep": str(made.folder), "runs": made.rows, "failed": made.failed, "remarks": made.remarks})
    else:
        print(table(columns, lines))
        if len(made.failed) < len(made.rows):
            print(legend)
        for remark in made.remarks:
            print(f"  note      {remark}")
        print(f"  table     {made.table}")
        print(f"  report    {made.report}")
    for row in made.rows:
        if row["error"]:
            print(f"failed: {row['run']}: {row['error']}", file=sys.stderr)
    return 1 if made.failed else 0
