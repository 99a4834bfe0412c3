"""A race as a person meets it: results.csv, the plots, and one page that tells the story in a minute."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from fakecore.files import write_bytes
from fakecore.report.pages import picture, write_page
from fakecore.report.tables import as_csv
from fakelab.race.baselines import BASELINES
from fakelab.race.numbers import ALL, COLUMNS, FIXED, chosen, over_seeds, same_epoch
from fakelab.race.plots import Track, cross_plot, crossed, curves_plot, matrix_plot

if TYPE_CHECKING:
    from fakelab.race.contestants import Contestant
    from fakelab.race.results import Raced
    from fakelab.race.sets import Entrant

_SHOWN = 9  # fakes of each epoch


def write_race(
    made: Raced, entrants: list[Entrant], runs: list[dict], contestants: list[Contestant], distances: dict, asked: dict
) -> None:
    """Write curves.png, snapshots.png, a matrix for each detector, cross.png where there are several runs, report.html, and
    last results.csv.
    """
    names = [one.name for one in contestants]
    tracks = [_track(one, distances[one.name]) for one in entrants]
    figures = {
        "snapshots": curves_plot(made.rows, tracks, names, asked["degrades"], pictures=True),
        "curves": curves_plot(made.rows, tracks, names, asked["degrades"], pictures=False),
    }
    matrices = {f"matrix-{plain(name)}": matrix_plot(made.rows, tracks, name) for name in names}
    crosses = any(" > " in row["run"] for row in made.rows)
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
        figures={name: picture(png) for name, png in figures.items()},
        matrices={name: picture(png) for name, png in matrices.items()},
        correlations=made.correlations,
        crossings=_crossings(made.rows, tracks, names, asked["degrades"]) if crosses else [],
        baselines=BASELINES,
        spaces={name: next(iter(own.values())) for name, own in distances.items()},
        detectors=[{**one.told(), **_cost(made.rows, one.name)} for one in contestants],
        problems=made.problems,
        seconds=made.seconds,
        fresh=made.fresh,
        asked=asked,
    )
    write_bytes(made.out / "results.csv", as_csv(COLUMNS, made.rows))  # last: where it stands, all is there


def plain(name: str) -> str:
    """A detector's name as part of a file's: "timm:vit_tiny" -> "timm-vit_tiny"."""
    return re.sub(r"[^\w.-]+", "-", name)


def told(found: dict | None) -> str:
    """ "0.981 [0.95, 1.00]", or "-" where there is nothing."""
    return f"{found['mean']:.3f} [{found['low']:.2f}, {found['high']:.2f}]" if found else "-"


def _track(entrant: Entrant, distances: dict[int, dict]) -> Track:
    fakes = {epoch: pool.images()[:_SHOWN] for epoch, pool in entrant.fakes.items()}
    return Track(entrant.name, sorted(entrant.fakes), distances, fakes)


def _table(rows: list[dict], track: Track, names: list[str], degrades: list[str]) -> dict:
    """AUROC by epoch, of detectors trained on it, and beside it what the fakes are like."""
    lines = []
    for epoch in track.epochs:
        cells = [told(same_epoch(rows, track.run, name, epoch, "none")) for name in names]
        baselines = [same_epoch(rows, track.run, name, epoch, "none") for name in BASELINES]
        cells += [f"{one['mean']:.3f}" if one else "" for one in baselines]
        lines.append({"epoch": epoch, "distance": track.distances[epoch], "cells": cells})
    last = []
    for name in names:
        own = chosen(rows, run=track.run, detector=name, test_epoch=track.epochs[-1])
        line = [(f"epoch {one}", one) for one in track.epochs] + [(ALL, ALL), (FIXED, FIXED)]
        for degrade in degrades:
            for words, trained in line:
                if found := over_seeds(chosen(own, degrade=degrade, train_epoch=trained)):
                    last.append({"detector": name, "trained": words, "degrade": degrade, "found": told(found)})
    return {"run": track.run, "lines": lines, "last": last, "last_epoch": track.epochs[-1]}


def _crossings(rows: list[dict], tracks: list[Track], names: list[str], degrades: list[str]) -> list[dict]:
    lines = []
    for name in names:
        for degrade in degrades:
            for home in tracks:
                cells = [told(crossed(rows, home, away, name, degrade)) for away in tracks]
                if any(cell != "-" for cell in cells):
                    lines.append({"detector": name, "degrade": degrade, "home": home.run, "cells": cells})
    return lines


def _cost(rows: list[dict], name: str) -> dict:
    """Seconds of training that all of a detector's rows rest on, and its speed."""
    own = chosen(rows, detector=name)
    fits = {(row["run"].partition(" > ")[0], row["train_epoch"], row["seed"]): row["fit_seconds"] for row in own}
    known = [seconds for seconds in fits.values() if seconds is not None]
    rate = own[0]["score_images_per_s"] if own else None
    return {"trainings": len(known), "fit_s": sum(known), "rate": rate}
