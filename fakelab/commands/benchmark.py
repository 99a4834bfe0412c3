"""`benchmark`: options and output."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from fakecore.commands.options import RUNS, DataRoot, Device, Json, Sets, report_unused
from fakecore.messages import command, counted
from fakecore.report.tables import paragraph, table
from fakecore.settings import parse_assignments

if TYPE_CHECKING:
    from fakelab.race.results import Raced


def benchmark(
    runs: Annotated[
        list[Path],
        typer.Argument(metavar="RUN", help="Folders of runs. Several: detectors are also tested across runs."),
    ],
    detectors: Annotated[
        str | None,
        typer.Option(
            help="Models to train, and folders of trained detectors. Default: cnn,dct,spectrum,discriminator."
        ),
    ] = None,
    epochs: Annotated[
        str | None,
        typer.Option(help="Checkpoints: all, or a list such as 0,5,last. Default: six, spread over the run."),
    ] = None,
    per_epoch: Annotated[
        int, typer.Option(help="Fakes of each epoch, and as many real images; 30 % of them are for testing.")
    ] = 2000,
    seeds: Annotated[int, typer.Option(help="Repetitions, each with other samples and weights.")] = 3,
    real: Annotated[
        list[str] | None,
        typer.Option(help="Where the runs' real images are now, if they moved; repeat for each place."),
    ] = None,
    degrade: Annotated[str | None, typer.Option(help="Also test on degraded images: jpeg75, blur1 ...")] = None,
    jobs: Annotated[int | None, typer.Option(help="Detectors to train in parallel. Default: one per core.")] = None,
    out: Annotated[
        Path | None, typer.Option(help="Output folder; an unfinished race in it is resumed. Default: runs/RUN-race.")
    ] = None,
    sets: Sets = None,
    device: Device = "auto",
    data_root: DataRoot = None,
    as_json: Json = False,
) -> int:
    """Test detectors against the epochs of a GAN: train on each, test on all.

    Writes results.csv, plots and report.html.

    \b
    Examples:
      fakelab benchmark runs/digits
      fakelab benchmark runs/digits --detectors cnn,dct --epochs 0,5,last
      fakelab benchmark runs/a runs/b --degrade jpeg75
    """
    folder = out or RUNS / f"{'-'.join(run.absolute().name for run in runs)}-race"
    asked: dict[str, Any] = {"epochs": epochs, "per_epoch": per_epoch, "seeds": seeds, "degrade": degrade, "jobs": jobs}
    shared: dict[str, Any] = {"sets": sets or [], "device": device, "data_root": data_root, "real": real or ()}
    again = command(*sys.argv[1:])
    made = run_benchmark(runs, as_json, detectors=detectors, out=folder, resume_command=again, **asked, **shared)
    return report_unused(made.problems)


def run_benchmark(
    runs: list[Path], as_json: bool, *, detectors: str | None, degrade: str | None, sets: list[str], **options: Any
) -> Raced:
    """Run a race and print its results."""
    from fakelab.race.race import DEFAULT_DETECTORS, run_race

    names = _words(detectors) if detectors is not None else DEFAULT_DETECTORS
    made = run_race(runs, detectors=names, degrade=_words(degrade or ""), changes=parse_assignments(sets), **options)
    if as_json:
        facts = {"bench": str(made.out), "results": str(made.out / "results.csv"), "rows": len(made.rows)}
        facts |= {"report": str(made.out / "report.html"), "headline": made.headline, "seconds": made.seconds}
        print(json.dumps({**facts, "correlations": made.correlations, "fresh": made.fresh, "problems": made.problems}))
    else:
        _print(made)
    return made


def _print(made: Raced) -> None:
    from fakelab.race.numbers import same_epoch

    print(paragraph(made.headline) + "\n")
    own = [row for row in made.rows if " > " not in row["run"]]
    names = list(dict.fromkeys(row["detector"] for row in own))
    for run in dict.fromkeys(row["run"] for row in own):
        lines = []
        for epoch in sorted({row["test_epoch"] for row in own if row["run"] == run}):
            found = [same_epoch(own, run, name, epoch, "none") for name in names]
            lines.append([str(epoch), *(f"{one['mean']:.3f}" if one else "-" for one in found)])
        print(f"{run}: AUROC, trained and tested on the same epoch")
        print(table(("epoch", *names), lines) + "\n")
    print(f"{counted(len(made.rows), 'row')} in {sum(made.seconds.values()):.0f} s")
    print(f"  table     {made.out / 'results.csv'}")
    print(f"  report    {made.out / 'report.html'}")


def _words(text: str) -> list[str]:
    return [word.strip() for word in text.split(",") if word.strip()]
