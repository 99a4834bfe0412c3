"""`measure`: the quality of a run's checkpoints; earlier measurements are reused."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from fakecore.errors import Interrupted, UserError
from fakecore.files import read_json
from fakecore.interrupt import StopRequest
from fakecore.progress import progress_bar
from fakecore.runs.runfolder import locked
from fakegen.quality.nearcopies import Neighbours
from fakegen.quality.plots import plot_nearest, plot_quality
from fakegen.quality.records import (
    DEFAULT_COUNT,
    MIN_COUNT,
    Collapse,
    Quality,
    Reference,
    best_of,
    measure_checkpoint,
    open_reference,
    read_quality,
    record,
    remarks,
    settings_of,
)
from fakegen.runs.reals import load_reals
from fakegen.runs.run import Run, check_same_settings, open_run
from fakegen.sampling.requests import note_unfinished


@dataclass(frozen=True)
class Measured:
    """The result of `measure`: the rows of the requested epochs, and the best of all rows with the same settings."""

    run: Path
    rows: list[Quality]
    best: Quality
    collapse: str | None
    remarks: list[str]
    fresh: list[int] = field(default_factory=list)  # epochs that this call measured


def measure(
    run: Path | str,
    *,
    epochs: str = "all",
    count: int = DEFAULT_COUNT,
    features: str = "auto",
    weights: Path | str | None = None,
    classes_from: str | None = None,
    real: str | None = None,
    device: str = "auto",
    data_root: Path | None = None,
) -> Measured:
    """Measure checkpoints of a run against its held-out reals; append to RUN/quality.jsonl, draw RUN/plots/quality.png.

    `epochs` is "all", or a list such as "0,5,last"; `features` and `weights` choose the feature space (see
    fakegen.quality.features); `classes_from` is a source of real images whose classes the features learn; `real` is the
    current place of the run's source, if it moved. Raises UserError for an epoch without checkpoint, reals that are not
    the run's own, or an unavailable feature space; Interrupted when stopped: repeat the call to resume.
    """
    opened = open_run(Path(run))
    wanted = parse_epochs(epochs, opened.epochs_on_disk())
    if count < MIN_COUNT:
        raise UserError(
            "--count is out of range", got=count, expected=f"{MIN_COUNT} or more; some hundreds for reliable numbers"
        )
    note_unfinished(opened, wanted)
    with locked(opened.path):
        shared: dict[str, Any] = {
            "resolution": opened.preset.resolution,
            "shares": tuple(opened.facts["split"]),
            "data_root": data_root,
        }
        reals = load_reals(real or opened.facts["source"]["spec"], seed=opened.facts["seed"], **shared)
        check_same_settings(opened, opened.preset, reals, {})
        class_reals = load_reals(classes_from, seed=0, **shared) if classes_from else None
        reference = open_reference(
            reals, features, count=count, weights=weights, classes_from=class_reals, device=device
        )
        fresh = _measure_missing(opened, wanted, reference, count, device)
        rows = read_quality(opened, settings_of(reference, count))
        plot_quality(opened, rows)
    return Measured(
        run=opened.path,
        rows=[row for row in rows if row.epoch in wanted],
        best=best_of(rows),
        collapse=Collapse().notice(rows),
        remarks=remarks(rows[-1]),
        fresh=fresh,
    )


def parse_epochs(text: str, on_disk: list[int]) -> list[int]:
    """Parse a list such as "0,5,last", or "all", into epochs, ascending. Raises UserError for one not in `on_disk`."""
    if not on_disk:
        raise UserError("the run has no checkpoint yet")
    if text.strip() == "all":
        return on_disk
    chosen = set()
    for part in text.split(","):
        word = part.strip()
        if word != "last" and not word.isdecimal():
            raise UserError("--epochs could not be read", got=repr(text), expected="all, or numbers such as 0,5,last")
        epoch = on_disk[-1] if word == "last" else int(word)
        if epoch not in on_disk:
            near = min(on_disk, key=lambda other: abs(other - epoch))
            shown = (
                ", ".join(map(str, on_disk)) if len(on_disk) <= 12 else f"{on_disk[0]}, {on_disk[1]} ... {on_disk[-1]}"
            )
            what = f"the run has no checkpoint of epoch {epoch}"
            raise UserError(what, expected=f"one of {shown}", remedy=f"The nearest is {near}.")
        chosen.add(epoch)
    return sorted(chosen)


def _measure_missing(run: Run, wanted: list[int], reference: Reference, count: int, device: str) -> list[int]:
    """Measure and record each wanted epoch that has no line with the same weights and settings; return these epochs."""
    done = {(row.epoch, row.checkpoint) for row in read_quality(run, settings_of(reference, count))}
    missing = [epoch for epoch in wanted if (epoch, _checkpoint(run, epoch)) not in done]
    with StopRequest() as stop, progress_bar("measuring", len(missing), "epochs") as bar:
        for epoch in missing:
            quality, fakes, nearest = measure_checkpoint(run, epoch, reference, count=count, device=device)
            record(run, quality)
            bar.advance()
            if epoch == missing[-1]:
                _draw_nearest(run, epoch, reference, fakes, nearest)
            elif stop.asked:
                raise Interrupted(f"stopped after epoch {epoch}; repeat the command to resume")
    return missing


def _draw_nearest(run: Run, epoch: int, reference: Reference, fakes: np.ndarray, nearest: Neighbours) -> None:
    closest = np.argsort(nearest.ratios, kind="stable")[:16]
    pairs = fakes[closest], reference.images.images[nearest.rows[closest]]
    plot_nearest(run, epoch, *pairs, nearest.ratios[closest], reference.copies_below)


def _checkpoint(run: Run, epoch: int) -> str:
    path = run.checkpoint(epoch)
    return read_json(path.with_name(path.name + ".json")).get("sha256", "")[:12]
