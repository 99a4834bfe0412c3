"""`compare`: a page that shows runs side by side: fakes of the same latents, distances, and how they fell with training."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from fakecore.errors import UserError
from fakecore.files import read_json
from fakecore.media.pixels import encode_png, enlarge, mosaic
from fakecore.report.figures import figure_style, line_colours, logarithmic_y, png_bytes
from fakecore.report.pages import data_uri, write_page
from fakegen.quality.records import Quality, best_of, read_quality
from fakegen.runs.run import Run, open_run
from fakegen.sampling.requests import choose_epoch, load_epoch, note_unfinished
from fakegen.sampling.sampling import Generator

_COLUMNS, _SEED = 8, 1
_MOST_RUNS = 8
_WIDE = 64  # pixels: smaller images are enlarged by a whole factor


@dataclass(frozen=True)
class Compared:
    """The result of `compare`: the page, and a row of numbers for each run."""

    page: Path
    rows: list[dict[str, Any]]
    caution: str | None  # why the distances cannot be compared, if so


@dataclass(frozen=True)
class _Shown:
    run: Run
    name: str
    generator: Generator
    quality: list[Quality]  # of all measured epochs, ascending; with the settings of the last measurement
    row: dict[str, Any]


def compare(runs: list[Path | str], out: Path | str, *, count: int = 32, device: str = "auto") -> Compared:
    """Write the page `out` (.html), and return its numbers: of each run, the epoch with the lowest measured distance, else the
    last, with `count` fakes of the latents that all runs of one size of latent share.

    Raises UserError for fewer than two runs or more than 8, an existing or unusual `out`, or a run without checkpoint.
    """
    out = Path(out)
    if not 2 <= len(runs) <= _MOST_RUNS:
        raise UserError("the number of runs cannot be compared", got=len(runs), expected=f"2 to {_MOST_RUNS}")
    if out.suffix.lower() != ".html" or out.exists():
        what, got = "--out cannot be written", "an existing file" if out.exists() else out.suffix or "no suffix"
        raise UserError(what, got=got, expected="a new .html file")
    if not 1 <= count <= 256:
        raise UserError("--count is out of range", got=count, expected="1 to 256")
    names = _names([Path(run) for run in runs])
    shown = [_open(Path(run), name, device) for run, name in zip(runs, names, strict=True)]
    caution = _caution(shown)
    sheets = [
        {"name": one.name, "row": one.row, "src": _sheet(one, count), "classes": one.generator.classes} for one in shown
    ]
    measured = [one for one in shown if one.quality]
    write_page(
        out,
        "fakegen.quality",
        "compare.html.j2",
        title=" or ".join(names) + "?",
        rows=[one.row for one in shown],
        best=min(measured, key=lambda one: one.row["frechet"]).row
        if len(measured) == len(shown) and not caution
        else None,
        comparable=measured[0].quality[-1].comparable if measured else None,
        caution=caution,
        curves=_curves(measured) if measured else None,
        sheets=sheets,
    )
    return Compared(out, [one.row for one in shown], caution)


def _names(paths: list[Path]) -> list[str]:
    """Return the names of the folders, with as much of their paths as tells them apart."""
    for parts in range(1, max(len(path.absolute().parts) for path in paths) + 1):
        names = ["/".join(path.absolute().parts[-parts:]) for path in paths]
        if len(set(names)) == len(names):
            return names
    raise UserError("a run is given twice", got=", ".join(map(str, paths)), expected="different runs")


def _open(path: Path, name: str, device: str) -> _Shown:
    run = open_run(path)
    quality = [row for row in read_quality(run) if row.epoch in run.epochs_on_disk()]
    best = best_of(quality) if quality else None
    epoch = choose_epoch(run, best.epoch if best else None)
    note_unfinished(run, [epoch])
    row: dict[str, Any] = {
        "run": name,
        "preset": run.preset.name,
        "epoch": epoch,
        "images": _images_seen(run, epoch),
        "minutes": run.facts["timings"]["train_s"] / 60,
        **dict.fromkeys(("frechet", "frechet_se", "kernel", "kernel_se", "precision", "recall", "coverage")),
    }
    if best:
        row |= {key: getattr(best, key) for key in row.keys() & vars(best).keys()}
    return _Shown(run, name, load_epoch(run, epoch, device), quality, row)


def _images_seen(run: Run, epoch: int) -> int:
    """Return the number of training images that D had seen at a checkpoint, each time that it saw one."""
    path = run.checkpoint(epoch)
    return read_json(path.with_name(path.name + ".json")).get("step", 0) * run.preset.batch


def _caution(shown: list[_Shown]) -> str | None:
    without = [one.name for one in shown if not one.quality]
    if without:
        return f"Not measured: {', '.join(without)}. `fakelab measure RUN` does it."
    spaces = {(one.quality[-1].features, one.quality[-1].n_fake, one.quality[-1].n_real) for one in shown}
    sources = {one.run.facts["source"]["fingerprint"] for one in shown}
    if len(spaces) > 1:
        return (
            "The distances are not comparable: they are in different feature spaces, or of different numbers of images."
        )
    if len(sources) > 1 or len({one.generator.resolution for one in shown}) > 1:
        return "The distances are not comparable: they are to different real images."
    return None


def _sheet(one: _Shown, count: int) -> str:
    """Return a sheet of fakes as the source of an image; all runs with latents of one kind and size have the same latents. A
    conditional generator gets a row for each class, and the same latents in each row.
    """
    conditional = bool(one.generator.classes)
    images = one.generator.matrix(_SEED, _COLUMNS) if conditional else one.generator.batch(_SEED, range(count))
    sheet = mosaic(images, columns=_COLUMNS)
    return data_uri(encode_png(enlarge(sheet, max(1, _WIDE // one.generator.resolution)), "fake"))


def _curves(measured: list[_Shown]) -> str:
    """Plot the distance over training images, as the source of an image."""
    from matplotlib.figure import Figure

    with figure_style():
        figure = Figure(figsize=(10, 4.6), layout="constrained")
        axes = figure.subplots()
    for one, colour in zip(measured, line_colours(len(measured)), strict=True):
        rows = [row for row in one.quality if row.epoch > 0]
        seen = [_images_seen(one.run, row.epoch) for row in rows]
        values, errors = np.array([row.frechet for row in rows]), np.array([2 * row.frechet_se for row in rows])
        axes.errorbar(seen, values, yerr=errors, fmt="o-", ms=4, capsize=3, color=colour, label=one.name)
    axes.set(title="Frechet distance to held-out reals (lower is better)", xlabel="training images that D has seen")
    logarithmic_y(axes)
    axes.legend(frameon=True)
    return data_uri(png_bytes(figure, dpi=110))
