"""Plots of a race: curves over epochs, and matrices of training against test epochs and of generators."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from fakecore.media.pixels import mosaic
from fakecore.report.figures import figure_style, heat_map, line_colours, logarithmic_y, png_bytes
from fakelab.race.baselines import PIXEL
from fakelab.race.numbers import ALL, CROSS, FIXED, cross_name, over_seeds, same_epoch, select_rows

_DISTANCE, _PRECISION, _RECALL = "0.25", "#8172B3", "#CCB974"
_MOST_NUMBERS = 12  # epochs up to which a matrix has room for a number in each cell


@dataclass(frozen=True)
class Track:
    """Data of one run to plot: its epochs in order, distances by epoch, and a few fakes of each, uint8 (n, C, R, R)."""

    run: str
    epochs: list[int]
    distances: dict[int, dict]
    fakes: dict[int, np.ndarray]


def curves_plot(
    rows: Sequence[dict], tracks: Sequence[Track], detectors: Sequence[str], degrades, snapshots: bool
) -> bytes:
    """Return a PNG with a column for each run: AUROC of detectors trained on the same epoch, AUROC of those trained on all
    epochs or before the race, and the distance of fakes to reals. With `snapshots`, fakes of every epoch are shown above.
    """
    from matplotlib.figure import Figure

    colours = dict(zip(detectors, line_colours(len(detectors)), strict=True))
    broad = [max(6.4, min(11.0, 0.62 * len(track.epochs) + 2.0)) for track in tracks]
    tall = max(0.8 * (broad[0] - 1.0) / max(len(track.epochs) for track in tracks), 0.5)
    heights = ([tall] if snapshots else []) + [3.3, 2.7, 2.2]
    with figure_style(font_scale=0.9):
        figure = Figure(figsize=(sum(broad), sum(heights) + 1.6), layout="constrained")
        axes = figure.subplots(len(heights), len(tracks), squeeze=False, height_ratios=heights, width_ratios=broad)
    for place, track in enumerate(tracks):
        column = list(axes[:, place])
        if snapshots:
            _mosaics(column.pop(0), track)
        same, other, far = column
        _same_epoch(same, rows, track, colours, degrades)
        _other(other, rows, track, colours)
        _distance(far, track)
        far.set_xlabel("epoch of the GAN (not to scale)", fontsize=10)
        for one in (same, other):
            one.axhline(0.5, color="0.5", linestyle="--", linewidth=1)
        for one in column:
            one.set_xlim(-0.5, len(track.epochs) - 0.5)
            one.set_xticks(range(len(track.epochs)), [str(epoch) for epoch in track.epochs])
        axes[0, place].set_title(track.run, fontweight="bold")
    for line in axes[-3:-1]:  # plots of one row have the same scale
        lowest = min(0.48, *(one.dataLim.y0 for one in line))
        for one in line:
            one.set_ylim(lowest - 0.02, 1.02)
    _legend(figure, axes[1 if snapshots else 0, 0], axes[2 if snapshots else 1, 0])
    return png_bytes(figure, dpi=110)


def matrix_plot(rows: Sequence[dict], tracks: Sequence[Track], detector: str) -> bytes:
    """Return a PNG with the AUROC of one detector, a panel for each run: rows are training epochs, columns are test epochs."""
    from matplotlib.figure import Figure

    most = max(len(track.epochs) for track in tracks)
    side = max(2.6, (0.62 if most <= _MOST_NUMBERS else 0.4) * most)
    alone = {row["train_epoch"] for row in rows if row["detector"] == detector} == {FIXED}
    size = ((side + 1.5) * len(tracks), (1.0 if alone else side) + 1.6)
    figure = Figure(figsize=size, layout="constrained")
    panels = figure.subplots(1, len(tracks), squeeze=False)[0]
    for axes, track in zip(panels, tracks, strict=True):
        own = select_rows(rows, run=track.run, detector=detector, degrade="none")
        trained = [one for one in (*track.epochs, ALL, FIXED) if any(row["train_epoch"] == one for row in own)]
        values = np.full((len(trained), len(track.epochs)), np.nan)
        for (down, across), _ in np.ndenumerate(values):
            found = over_seeds(select_rows(own, train_epoch=trained[down], test_epoch=track.epochs[across]))
            values[down, across] = found["mean"] if found else np.nan
        numbers = most <= _MOST_NUMBERS
        _heat(axes, values, numbers=numbers)
        axes.set_xticks(np.arange(len(track.epochs)) + 0.5, track.epochs)
        axes.set_yticks(np.arange(len(trained)) + 0.5, trained)
        axes.set(xlabel="tested on epoch", ylabel="trained on epoch")
        axes.set_title(track.run, fontsize=11)
    figure.suptitle(f"{detector}: AUROC, mean over seeds", fontsize=12, fontweight="bold")
    _colour_bar(figure, panels)
    return png_bytes(figure, dpi=110)


def cross_plot(
    rows: Sequence[dict], tracks: Sequence[Track], detectors: Sequence[str], degrades: Sequence[str]
) -> bytes:
    """Return a PNG with the AUROC across runs at each run's last epoch: rows are the runs trained on, columns those tested on;
    a panel for each detector and a row of panels for each degradation.
    """
    from matplotlib.figure import Figure

    shown = [name for name in detectors if any(row["detector"] == name and CROSS in row["run"] for row in rows)]
    side = max(2.3, 1.15 * len(tracks))
    size = ((side + 0.5) * len(shown) + 2.2, (side + 0.8) * len(degrades) + 0.9)
    figure = Figure(figsize=size, layout="constrained")
    panels = figure.subplots(len(degrades), len(shown), squeeze=False)
    for (line, place), axes in np.ndenumerate(panels):
        values = np.full((len(tracks), len(tracks)), np.nan)
        for (down, across), _ in np.ndenumerate(values):
            found = cross_auroc(rows, tracks[down], tracks[across], shown[place], degrades[line])
            values[down, across] = found["mean"] if found else np.nan
        _heat(axes, values, numbers=True)
        names = [f"{track.run}\n{track.epochs[-1]}" for track in tracks]
        axes.set_xticks(np.arange(len(tracks)) + 0.5, names if line == len(degrades) - 1 else [])
        axes.set_yticks(np.arange(len(tracks)) + 0.5, names if place == 0 else [])
        axes.tick_params(length=0)
        axes.set_title(shown[place] + ("" if degrades[line] == "none" else f", {degrades[line]}"), fontsize=10)
    figure.supylabel("trained on (run, epoch)", fontsize=10)
    figure.supxlabel("tested on (run, epoch)", fontsize=10)
    figure.suptitle("Across generators: AUROC at each run's last epoch", fontsize=12, fontweight="bold")
    _colour_bar(figure, panels)
    return png_bytes(figure, dpi=110)


def cross_auroc(rows: Sequence[dict], home: Track, away: Track, detector: str, degrade: str) -> dict | None:
    """Return the AUROC, over seeds, of a detector trained on the last epoch of `home` and tested on that of `away`."""
    run = home.run if home.run == away.run else cross_name(home.run, away.run)
    last = {"train_epoch": home.epochs[-1], "test_epoch": away.epochs[-1]}
    return over_seeds(select_rows(rows, run=run, detector=detector, degrade=degrade, **last))


def _mosaics(axes, track: Track) -> None:
    columns = 3 if len(track.epochs) <= 8 else 2
    for place, epoch in enumerate(track.epochs):
        sheet = mosaic(track.fakes[epoch][: columns**2], columns, gap=1).transpose(1, 2, 0)
        grey = sheet.shape[2] == 1
        image = sheet[..., 0] if grey else sheet
        extent = (place - 0.46, place + 0.46, 0, 1)
        axes.imshow(image, extent=extent, aspect="auto", cmap="gray" if grey else None, interpolation="nearest")
    axes.set(xlim=(-0.5, len(track.epochs) - 0.5), ylim=(0, 1), xticks=[], yticks=[])
    axes.grid(visible=False)
    for spine in axes.spines.values():
        spine.set_visible(False)


def _same_epoch(axes, rows, track: Track, colours: dict, degrades: Sequence[str]) -> None:
    trained_here = [row for row in rows if row["train_epoch"] != FIXED]
    for degrade in degrades:
        for name, colour in colours.items():
            found = {k: same_epoch(trained_here, track.run, name, e, degrade) for k, e in enumerate(track.epochs)}
            if degrade == "none":
                _band(axes, found, colour, "o-", name, wide=_width(colours, name))
            else:
                _band(axes, found, colour, ":", None, band=False)
        if degrade != "none":
            axes.plot([], [], ":", color="0.3", label=f"dotted: tested after {degrade}")
    pixel = {k: same_epoch(rows, track.run, PIXEL, epoch, "none") for k, epoch in enumerate(track.epochs)}
    _band(axes, pixel, "0.6", "x--", "one pixel", band=False)
    axes.set_ylabel("AUROC, trained on\nthe same epoch")


def _other(axes, rows, track: Track, colours: dict) -> None:
    early = track.epochs[1] if len(track.epochs) > 2 else None
    for name, colour in colours.items():
        own = select_rows(rows, run=track.run, detector=name, degrade="none")
        for trained, style in ((ALL, "s-"), (early, "v:"), (FIXED, "P-.")):
            tested = {
                k: over_seeds(select_rows(own, train_epoch=trained, test_epoch=e)) for k, e in enumerate(track.epochs)
            }
            label = f"{name}, trained before" if trained == FIXED else None
            _band(axes, tested, colour, style, label, band=trained != early, wide=_width(colours, name))
    for style, label in (("s-", "trained on all epochs"), ("v:", f"on epoch {early} alone")):
        if early is not None:
            axes.plot([], [], style, color="0.3", markersize=4, label=label)
    axes.set_ylabel("AUROC, trained on all,\nearly, or before")


def _width(colours: dict, name: str) -> float:
    """Return a line width that decreases with each detector, so that overlapping lines are all visible."""
    below = len(colours) - 1 - list(colours).index(name)
    return 1.8 + below * min(1.6, 4.8 / max(len(colours) - 1, 1))


def _band(
    axes, found: dict[int, dict | None], colour, style: str, label: str | None, band: bool = True, wide: float = 1.8
) -> None:
    known = {place: one for place, one in found.items() if one}
    if not known:
        return
    places = list(known)
    means = [known[place]["mean"] for place in places]
    axes.plot(places, means, style, color=colour, linewidth=wide, markersize=3.5 + wide / 2, label=label)
    if band:
        low, high = ([known[place][end] for place in places] for end in ("low", "high"))
        axes.fill_between(places, low, high, color=colour, alpha=0.18, linewidth=0)


def _distance(axes, track: Track) -> None:
    places = range(len(track.epochs))
    far = [track.distances[epoch]["frechet"] for epoch in track.epochs]
    axes.plot(places, far, "o-", color=_DISTANCE, markersize=4.5, label="Frechet distance (left)")
    axes.axhline(track.distances[track.epochs[0]]["floor"], color=_DISTANCE, linestyle=":", linewidth=1)
    logarithmic_y(axes)
    axes.set_ylabel("distance of the\nfakes to the reals")
    fractions = axes.twinx()
    for name, colour in (("precision", _PRECISION), ("recall", _RECALL)):
        values = [track.distances[epoch][name] for epoch in track.epochs]
        fractions.plot(places, values, "D-", color=colour, markersize=3.5, linewidth=1.3, label=f"{name} (right)")
    fractions.set(ylim=(-0.04, 1.04), ylabel="fraction")
    fractions.grid(visible=False)
    for spine in fractions.spines.values():
        spine.set_color("0.8")
    for one in (axes, fractions):
        one.tick_params(which="both", length=0)
    handles = axes.get_legend_handles_labels(), fractions.get_legend_handles_labels()
    axes.legend(
        handles[0][0] + handles[1][0], handles[0][1] + handles[1][1], fontsize=8, ncols=3, frameon=False,
        loc="lower center", bbox_to_anchor=(0.5, 0.98),
    )  # fmt: skip


def _legend(figure, same, other) -> None:
    handles, labels = same.get_legend_handles_labels()
    more, names = other.get_legend_handles_labels()
    columns = max(2, int(figure.get_figwidth() // 2.1))
    figure.legend(handles + more, labels + names, loc="outside lower center", ncols=columns, frameon=False, fontsize=9)


def _heat(axes, values: np.ndarray, *, numbers: bool) -> None:
    def text(row: int, column: int) -> str:
        value = values[row, column]
        if not numbers or not np.isfinite(value):
            return ""
        return f"{value:.2f}" if value < 0.995 else f"{value:.3f}"

    heat_map(axes, values, text, square=True, fontsize=9)


def _colour_bar(figure, panels) -> None:
    bar = figure.colorbar(panels.flat[0].collections[0], ax=list(panels.flat), shrink=0.8, pad=0.02)
    bar.set_label("AUROC (0.5: chance)")
