"""The plots of `measure`: quality over epochs, and the fakes nearest to a training real."""

from __future__ import annotations

import numpy as np

from fakecore.files import write_bytes
from fakecore.report.figures import figure_style, logarithmic_y, png_bytes
from fakegen.quality.records import Quality, best_of
from fakegen.runs.run import Run

_BLUE, _ORANGE, _GREEN, _RED = "#4C72B0", "#DD8452", "#55A868", "#C44E52"


def plot_quality(run: Run, rows: list[Quality]) -> None:
    """Draw RUN/plots/quality.png from rows with the same settings, ascending by epoch; each panel marks the best epoch."""
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator, PercentFormatter

    with figure_style(font_scale=0.9):
        figure = Figure(figsize=(11, 7.4), layout="constrained")
        ((frechet, kernel), (sides, warning)) = figure.subplots(2, 2, sharex=True)
    epochs = [row.epoch for row in rows]
    best, last = best_of(rows), rows[-1]
    values = {name: np.array([getattr(row, name) for row in rows], dtype=float) for name in _DRAWN}

    frechet.errorbar(epochs, values["frechet"], yerr=2 * values["frechet_se"], fmt="o-", color=_BLUE, capsize=3,
                     label="fakes, ± 2 standard errors")  # fmt: skip
    frechet.axhline(last.floor, color="0.35", linestyle="--", linewidth=1, label=f"training reals: {last.floor:.3g}")
    frechet.set(title="Frechet distance (lower is better)", ylabel="to held-out reals")
    logarithmic_y(frechet)
    kernel.errorbar(epochs, values["kernel"], yerr=2 * values["kernel_se"], fmt="o-", color=_ORANGE, capsize=3,
                    label="fakes, ± 2 standard errors")  # fmt: skip
    kernel.axhline(0, color="0.35", linestyle="--", linewidth=1, label="the same distribution")
    kernel.set(title="Kernel distance (lower is better)", ylabel="to held-out reals")
    sides.plot(epochs, values["precision"], "o-", color=_BLUE, label="precision: fakes near reals")
    sides.plot(epochs, values["recall"], "o-", color=_GREEN, label="recall: reals near fakes")
    sides.plot(epochs, values["coverage"], "o-", color=_ORANGE, label="coverage: reals with a fake near them")
    sides.set(title="Precision, recall and coverage (higher is better)", xlabel="epoch", ylim=(-0.03, 1.03))
    warning.plot(epochs, values["diversity"], "o-", color=_GREEN, label="diversity, relative to the reals")
    warning.plot(
        epochs, values["near_copies"], "o-", color=_RED, label="near copies of training reals (up to 1 % by chance)"
    )
    warning.set(title="Collapse and copying", xlabel="epoch", ylim=(-0.03, max(1.03, values["diversity"].max() * 1.05)))
    for axes in (sides, warning):
        axes.yaxis.set_major_formatter(PercentFormatter(1.0))
        axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    for axes in (frechet, kernel, sides, warning):
        axes.axvline(best.epoch, color="0.55", linestyle=":", linewidth=1.4, label=f"best: epoch {best.epoch}")
        axes.legend(fontsize=8.5, frameon=True)
    figure.suptitle(
        f"{run.preset.name} on {run.facts['source']['spec']}\n{last.n_fake:,} fakes against {last.n_real:,} held-out "
        f"reals in the space {last.features} ({last.dims:,} dimensions)",
        fontsize=12,
    )
    write_bytes(run.path / "plots" / "quality.png", png_bytes(figure, dpi=120))


def plot_nearest(
    run: Run, epoch: int, fakes: np.ndarray, reals: np.ndarray, ratios: np.ndarray, threshold: float
) -> None:
    """Draw RUN/plots/nearest.png: each fake above its nearest training real, both uint8 (n, C, R, R), nearest first.

    `ratios` (n,) say how near each pair is (see `Neighbours`); those below `threshold` are marked as copies.
    """
    from matplotlib.figure import Figure

    columns = 8
    lines = -(-len(fakes) // columns)
    figure = Figure(figsize=(11, 3.0 * lines + 0.5), layout="constrained")
    grid = figure.subplots(lines, columns, squeeze=False)
    for axes in grid.flat:
        axes.axis("off")
    gap = np.full((*fakes.shape[1:2], 1, fakes.shape[3]), 255, np.uint8)
    for axes, fake, real, ratio in zip(grid.flat, fakes, reals, ratios, strict=False):
        pair = np.concatenate([fake, gap, real], axis=1)
        axes.imshow(pair.transpose(1, 2, 0), cmap="gray", vmin=0, vmax=255, interpolation="nearest")
        copied = ratio < threshold
        axes.set_title(f"{ratio:.2f}{' copy' if copied else ''}", fontsize=10, color=_RED if copied else "0.25", pad=3)
    figure.suptitle(
        f"Epoch {epoch}: the fakes (above) nearest to a training real (below); near copies are below {threshold:.2f}",
        fontsize=11,
    )
    write_bytes(run.path / "plots" / "nearest.png", png_bytes(figure, dpi=110))


_DRAWN = ("frechet", "frechet_se", "kernel", "kernel_se", "precision", "recall", "coverage", "diversity", "near_copies")
