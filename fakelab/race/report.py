"""Write the results of a race: results.csv, plots and report.html."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from fakecore.files import write_bytes
from fakecore.report.pages import data_uri, write_page
from fakecore.report.tables import as_csv
from fakelab.race.baselines import BASELINES
from fakelab.race.numbers import ALL, COLUMNS, CROSS, FIXED, over_seeds, same_epoch, select_rows
from fakelab.race.plots import Track, cross_auroc, cross_plot, curves_plot, matrix_plot

if TYPE_CHECKING:
    from fakelab.race.contestants import Contestant
    from fakelab.race.results import Raced
    from fakelab.race.sets import RaceRun

_SHOWN = 9  # fakes of each epoch


def write_race(
    made: Raced, race_runs: list[RaceRun], runs: list[dict], contestants: list[Contestant], distances: dict, asked: dict
) -> None:
    """Write curves.png, snapshots.png, a matrix for each detector, cross.png for several runs, report.html and results.csv."""
    names = [one.name for one in contestants]
    tracks = [_track(one, distances[one.name]) for one in race_runs]
    figures = {
        "snapshots": curves_plot(made.rows, tracks, names, asked["degrades"], snapshots=True),
        "curves": curves_plot(made.rows, tracks, names, asked["degrades"], snapshots=False),
    }
    matrices = {f"matrix-{plain(name)}": matrix_plot(made.rows, tracks, name) for name in names}
    crosses = any(CROSS in row["run"] for row in made.rows)
    if crosses:
        figures["cross"] = cross_plot(made.rows, tracks, names, asked["degrades"])
    for name, png in (figures | matrices).items():
        write_bytes(made.out / f"{name}.png", png)
    write_page(
        made.out / "report.html",
        "fakelab.race",
        "race.html.j2",
        title=f"The race: {', '.join(run['name'] for run in runs)}",
        headline=made.headline,
        runs=runs,
        tables=[_table(made.rows, track, names, asked["degrades"]) for track in tracks],
        figures={name: data_uri(png) for name, png in figures.items()},
        matrices={name: data_uri(png) for name, png in matrices.items()},
        correlations=made.correlations,
        crossings=_crossings(made.rows, tracks, names, asked["degrades"]) if crosses else [],
        baselines=BASELINES,
        spaces={name: next(iter(own.values())) for name, own in distances.items()},
        detectors=[{**one.to_json(), **_cost(made.rows, one.name)} for one in contestants],
        problems=made.problems,
        seconds=made.seconds,
        fresh=made.fresh,
        asked=asked,
    )
    write_bytes(made.out / "results.csv", as_csv(COLUMNS, made.rows))  # last: where it exists, all files do


def plain(name: str) -> str:
    """Return a detector's name as part of a file name: "timm:vit_tiny" -> "timm-vit_tiny"."""
    return re.sub(r"[^\w.-]+", "-", name)


def format_auroc(found: dict | None) -> str:
    """Return a mean and its interval as "0.981 [0.95, 1.00]", or "-" for None."""
    return f"{found['mean']:.3f} [{found['low']:.2f}, {found['high']:.2f}]" if found else "-"


def _track(race_run: RaceRun, distances: dict[int, dict]) -> Track:
    fakes = {epoch: pool.images()[:_SHOWN] for epoch, pool in race_run.fakes.items()}
    return Track(race_run.name, sorted(race_run.fakes), distances, fakes)


def _table(rows: list[dict], track: Track, names: list[str], degrades: list[str]) -> dict:
    """Return the table of a run: by epoch, the distance of the fakes and the AUROC of detectors trained on that epoch."""
    lines = []
    for epoch in track.epochs:
        cells = [format_auroc(same_epoch(rows, track.run, name, epoch, "none")) for name in names]
        baselines = [same_epoch(rows, track.run, name, epoch, "none") for name in BASELINES]
        cells += [f"{one['mean']:.3f}" if one else "" for one in baselines]
        lines.append({"epoch": epoch, "distance": track.distances[epoch], "cells": cells})
    last = []
    for name in names:
        own = select_rows(rows, run=track.run, detector=name, test_epoch=track.epochs[-1])
        trainings = [(f"epoch {one}", one) for one in track.epochs] + [(ALL, ALL), (FIXED, FIXED)]
        for degrade in degrades:
            for label, trained in trainings:
                if found := over_seeds(select_rows(own, degrade=degrade, train_epoch=trained)):
                    last.append({"detector": name, "trained": label, "degrade": degrade, "found": format_auroc(found)})
    return {"run": track.run, "lines": lines, "last": last, "last_epoch": track.epochs[-1]}


def _crossings(rows: list[dict], tracks: list[Track], names: list[str], degrades: list[str]) -> list[dict]:
    lines = []
    for name in names:
        for degrade in degrades:
            for home in tracks:
                cells = [format_auroc(cross_auroc(rows, home, away, name, degrade)) for away in tracks]
                if any(cell != "-" for cell in cells):
                    lines.append({"detector": name, "degrade": degrade, "home": home.run, "cells": cells})
    return lines


def _cost(rows: list[dict], name: str) -> dict:
    """Return the number of trainings behind a detector's rows, their seconds in total, and the scoring speed."""
    own = select_rows(rows, detector=name)
    fits = {(row["run"].partition(CROSS)[0], row["train_epoch"], row["seed"]): row["fit_seconds"] for row in own}
    known = [seconds for seconds in fits.values() if seconds is not None]
    rate = own[0]["score_images_per_s"] if own else None
    return {"trainings": len(known), "fit_s": sum(known), "rate": rate}
