"""The four plots of a run: losses, D's outputs, D's accuracy, and reals beside fakes."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from fakecore.files import read_jsonl, write_bytes
from fakecore.media.pixels import enlarge, mosaic, read_image
from fakecore.report.figures import figure_style, png_bytes
from fakegen.runs.reals import Reals
from fakegen.runs.run import Run
from fakegen.training.losses import FORMULAS

COLOURS = {"d": "#4C72B0", "g": "#DD8452", "real": "#55A868", "fake": "#C44E52", "fake_after": "#E5A5A7"}


def plot_run(run: Run, reals: Reals) -> None:
    """Draw RUN/plots from metrics.jsonl and the last snapshot; no curves for a run without a logged step."""
    lines = read_jsonl(run.path / "metrics.jsonl")
    if lines:
        columns = {name: np.array([line[name] for line in lines], dtype=float) for name in lines[0]}
        _plot_curves(run, columns)
    _plot_real_vs_fake(run, reals)


def _plot_curves(run: Run, log: dict[str, np.ndarray]) -> None:
    title = f"{run.preset.name} on {run.facts['source']['spec']}"
    formula_d, formula_g = FORMULAS[run.preset.loss]
    losses = [("loss_d", formula_d, "d"), ("loss_g", formula_g, "g")]
    outputs = [
        ("d_real", "D(x), reals", "real"),
        ("d_fake_1", "D(G(z)), before D's update", "fake"),
        ("d_fake_2", "D(G(z)), after D's update", "fake_after"),
    ]
    accuracy = [("acc_real", "reals classified as real", "real"), ("acc_fake", "fakes classified as fake", "fake")]
    plots = run.path / "plots"
    _curves(plots / "losses.png", log, losses, f"Losses: {title}", "loss (nats)", None)
    _curves(plots / "d-outputs.png", log, outputs, f"D's outputs: {title}", "mean probability of real", 0.5)
    _curves(plots / "accuracy.png", log, accuracy, f"D's accuracy: {title}", "fraction of the batch", 0.5)


def _curves(path: Path, log: dict[str, np.ndarray], curves, title: str, ylabel: str, guide: float | None) -> None:
    from matplotlib.figure import Figure

    with figure_style():
        figure = Figure(figsize=(9, 4.5), layout="constrained")
        axes = figure.subplots()
    steps = log["step"]
    width = max(1, len(steps) // 100)
    for name, label, colour in curves:
        values = log[name]
        axes.plot(steps, values, color=COLOURS[colour], alpha=0.22, linewidth=0.8)
        axes.plot(steps[width - 1 :], _rolling_mean(values, width), color=COLOURS[colour], linewidth=2, label=label)
    if guide is not None:
        axes.axhline(guide, color="0.35", linestyle="--", linewidth=1)
        axes.annotate("chance", (1, guide), xycoords=("axes fraction", "data"), xytext=(-4, 3),
                      textcoords="offset points", ha="right", color="0.35", fontsize=9)  # fmt: skip
        axes.set_ylim(-0.02, 1.02)
    else:
        tops = [np.quantile(log[name], 0.995) for name, *_ in curves]
        bottoms = [np.quantile(log[name], 0.005) for name, *_ in curves]
        axes.set_ylim(min(0, *bottoms) * 1.1, max(tops) * 1.1 + 1e-6)  # hinge's G goes below 0
    axes.set(title=title, xlabel="step", ylabel=ylabel)
    figure.legend(frameon=False, loc="outside lower center", ncols=len(curves), fontsize=9)
    _add_epoch_axis(axes, log)
    write_bytes(path, png_bytes(figure, dpi=120))


def _add_epoch_axis(axes, log: dict[str, np.ndarray]) -> None:
    steps_per_epoch = log["step"][-1] / max(log["epoch"][-1], 1)
    top = axes.secondary_xaxis(
        -0.22, functions=(lambda step: step / steps_per_epoch, lambda epoch: epoch * steps_per_epoch)
    )
    top.set_xlabel("epoch")


def _rolling_mean(values: np.ndarray, width: int) -> np.ndarray:
    return np.convolve(values, np.ones(width) / width, mode="valid")


def _plot_real_vs_fake(run: Run, reals: Reals) -> None:
    from matplotlib.figure import Figure

    snapshots = sorted((run.path / "snapshots").glob("epoch-*.png"))
    if not snapshots:
        return
    sample = reals.images[reals.train_rows()[:64]]
    sheet = enlarge(mosaic(sample, columns=8), max(1, 64 // sample.shape[-1]))
    epoch = int(snapshots[-1].stem.removeprefix("epoch-"))
    with figure_style(grid=False):
        figure = Figure(figsize=(11, 5.8), layout="constrained")
        left, right = figure.subplots(1, 2)
    for axes, image, title in (
        (left, sheet.transpose(1, 2, 0), f"Real: {run.facts['source']['spec']}"),
        (right, read_image(snapshots[-1]), f"Fake: {run.preset.name}, epoch {epoch}"),
    ):
        axes.imshow(image, cmap="gray", vmin=0, vmax=255)
        axes.set_title(title)
        axes.axis("off")
    write_bytes(run.path / "plots" / "real-vs-fake.png", png_bytes(figure, dpi=120))
