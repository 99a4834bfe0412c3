"""The plots of reports; each function draws one figure and returns its PNG bytes."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from fakecore.labels import FAKE
from fakecore.report.figures import figure_style, heat_map, line_colours, png_bytes
from fakedetect.models.calibration import Thresholds, reliability

REAL_COLOUR, FAKE_COLOUR, NEUTRAL = "#55A868", "#C44E52", "#4C72B0"
_SQUARE = (5.2, 4.8)


def roc_plot(labels: np.ndarray, p_fake: np.ndarray, metrics: dict) -> bytes:
    """Plot the ROC curve with AUROC and its interval; the dot is the chosen threshold."""
    from sklearn.metrics import roc_curve

    fpr, tpr, _ = roc_curve(labels, p_fake, pos_label=FAKE)
    figure, axes = _figure(_SQUARE)
    axes.plot([0, 1], [0, 1], color="0.6", linestyle="--", linewidth=1, label="chance")
    axes.plot(fpr, tpr, color=NEUTRAL, linewidth=2.2, label=f"AUROC {_with_interval(metrics, 'auroc')}")
    axes.plot(metrics["fpr"], metrics["tpr"], "o", color=FAKE_COLOUR, markersize=8, label="chosen threshold", zorder=5)
    axes.set(title="ROC", xlabel="reals called fake (FPR)", ylabel="fakes called fake (TPR)")
    axes.set(xlim=(-0.02, 1.02), ylim=(-0.02, 1.02))
    axes.legend(loc="lower right", frameon=True)
    return png_bytes(figure, dpi=130)


def pr_plot(labels: np.ndarray, p_fake: np.ndarray, metrics: dict) -> bytes:
    """Plot precision against recall of `fake`, and the fraction of fakes, which is the precision of chance."""
    from sklearn.metrics import precision_recall_curve

    precision, recall, _ = precision_recall_curve(labels, p_fake, pos_label=FAKE)
    figure, axes = _figure(_SQUARE)
    axes.axhline(float((labels == FAKE).mean()), color="0.6", linestyle="--", linewidth=1, label="chance")
    axes.plot(recall, precision, color=NEUTRAL, linewidth=2.2, label=f"AP {_with_interval(metrics, 'ap')}")
    axes.set(title="Precision and recall of “fake”", xlabel="recall", ylabel="precision")
    axes.set(xlim=(-0.02, 1.02), ylim=(-0.02, 1.04))
    axes.legend(loc="lower left", frameon=True)
    return png_bytes(figure, dpi=130)


def confusion_plot(metrics: dict, thresholds: Thresholds) -> bytes:
    """Plot the counts of each verdict for reals and fakes."""
    order = ("real", "unsure", "fake")
    counts = np.array([[metrics["verdicts"][truth][verdict] for verdict in order] for truth in ("real", "fake")])
    fractions = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    figure, axes = _figure(_SQUARE)

    def text(row: int, column: int) -> str:
        return f"{counts[row, column]:,}\n{fractions[row, column]:.1%}"

    heat_map(axes, fractions, text, colours="Blues", low=0, high=1, fontsize=12)
    axes.set_xticks(np.arange(3) + 0.5, order)
    axes.set_yticks(np.arange(2) + 0.5, ("real", "fake"))
    axes.set(xlabel="verdict", ylabel="truth")
    axes.set_title(
        f"Verdicts: fake from p ≥ {thresholds.fake_from:.3f}, real below {thresholds.real_below:.3f}", fontsize=11
    )
    return png_bytes(figure, dpi=130)


def calibration_plot(labels: np.ndarray, p_fake: np.ndarray, metrics: dict) -> bytes:
    """Plot p_fake against the observed fraction of fakes; the bars below show the number of images per bin."""
    table = reliability(labels, p_fake)
    figure, (axes, below) = _figure(_SQUARE, rows=2, height_ratios=(4, 1), sharex=True)
    axes.plot([0, 1], [0, 1], color="0.6", linestyle="--", linewidth=1, label="perfect calibration")
    stated, found = [row["mean_p"] for row in table], [row["share_fake"] for row in table]
    axes.plot(stated, found, "o-", color=NEUTRAL, linewidth=2, label=f"ECE {metrics['ece']:.3f}")
    axes.set(title="Calibration", ylabel="observed fraction of fakes", ylim=(-0.03, 1.03))
    axes.legend(loc="upper left", frameon=True)
    edges = np.linspace(0, 1, 21)
    below.hist(p_fake[labels != FAKE], bins=edges, color=REAL_COLOUR, alpha=0.7, label="real")
    below.hist(p_fake[labels == FAKE], bins=edges, color=FAKE_COLOUR, alpha=0.6, label="fake")
    below.set(xlabel="p_fake", ylabel="images", xlim=(-0.02, 1.02))
    below.set_yscale("symlog", linthresh=10)
    below.legend(loc="upper center", fontsize=8, ncols=2, frameon=True)
    return png_bytes(figure, dpi=130)


def history_plot(
    history: list[dict],
    best_epoch: int,
    *,
    training: str = "training (augmented)",
    validation: str = "Validation",
    accuracy: str = "accuracy at logit 0",
) -> bytes:
    """Plot learning curves: losses on the left, validation AUROC and accuracy on the right; the selected epoch is marked. The
    text arguments are the labels of a curve, the right plot and the accuracy.
    """
    epochs = [line["epoch"] for line in history]
    figure, (left, right) = _figure((10.4, 4.0), columns=2)
    left.plot(epochs, [line["train_loss"] for line in history], "o-", color=NEUTRAL, label=training)
    left.plot(epochs, [line["val_loss"] for line in history], "o-", color=FAKE_COLOUR, label="validation")
    left.set(title="Loss", xlabel="epoch", ylabel="cross-entropy (nats)", ylim=(0, None))
    right.plot(epochs, [line["val_auroc"] for line in history], "o-", color=NEUTRAL, label="AUROC")
    right.plot(epochs, [line["val_accuracy"] for line in history], "o-", color=REAL_COLOUR, label=accuracy)
    right.set(title=validation, xlabel="epoch", ylabel="AUROC, accuracy")
    right.set_ylim(min(0.5, *(line["val_accuracy"] for line in history)) - 0.02, 1.02)
    for axes in (left, right):
        axes.axvline(best_epoch, color="0.5", linestyle=":", linewidth=1.4, label=f"best epoch: {best_epoch}")
        axes.legend(frameon=True, fontsize=9)
        axes.xaxis.get_major_locator().set_params(integer=True)
    return png_bytes(figure, dpi=130)


@dataclass(frozen=True, eq=False)
class Learned:
    """The data of one network in a comparison: `history` is history.jsonl, empty if it was not trained in epochs; `test` is
    labels (N,) real 0 / fake 1 and scores (N,), high for fake, if its ROC is drawn.
    """

    name: str
    history: list[dict]
    best_epoch: int | None
    test: tuple[np.ndarray, np.ndarray] | None = None


def comparison_plot(learned: list[Learned]) -> bytes:
    """Plot the learning curves of several networks (validation loss, accuracy and AUROC, with a dot at the selected epoch),
    and the ROC curves of those that have one. Each network has its own colour.
    """
    from matplotlib.lines import Line2D

    curves = [
        ("val_loss", "Validation loss"),
        ("val_accuracy", "Validation accuracy"),
        ("val_auroc", "Validation AUROC"),
    ]
    curves = curves if any(one.history for one in learned) else []
    with_roc = [one for one in learned if one.test is not None]
    count = len(curves) + bool(with_roc)
    rows, columns = (2, 2) if count == 4 else (1, count)
    figure, panels = _figure((4.4 * columns + 1.6 * (columns == 2), 4.4 * rows), rows, columns, squeeze=False)
    panels = list(panels.flat)
    colours = dict(zip(learned, line_colours(len(learned)), strict=True))
    for axes, (field, title) in zip(panels, curves, strict=False):
        for one in filter(lambda one: one.history, learned):
            epochs, values = [line["epoch"] for line in one.history], [line[field] for line in one.history]
            axes.plot(epochs, values, "-", color=colours[one], linewidth=1.8)
            if one.best_epoch is not None:
                axes.plot(one.best_epoch, values[epochs.index(one.best_epoch)], "o", color=colours[one], markersize=7)
        axes.set(title=title, xlabel="epoch")
        axes.xaxis.get_major_locator().set_params(integer=True)
    if with_roc:
        _draw_rocs(panels[-1], with_roc, colours)
    handles = [Line2D([], [], color=colours[one], linewidth=2, label=one.name) for one in learned]
    figure.legend(handles=handles, loc="outside lower center", ncols=min(4, len(learned)), frameon=False, fontsize=9)
    return png_bytes(figure, dpi=130)


def _draw_rocs(axes, learned: list[Learned], colours: dict) -> None:
    from sklearn.metrics import roc_curve

    axes.plot([0, 1], [0, 1], color="0.6", linestyle="--", linewidth=1)
    for one in learned:
        if one.test is None:
            continue
        labels, scores = one.test
        fpr, tpr, _ = roc_curve(labels, scores, pos_label=FAKE)
        axes.plot(fpr, tpr, color=colours[one], linewidth=1.8)
    axes.set(title="ROC on the test split", xlabel="reals called fake (FPR)", ylabel="fakes called fake (TPR)")
    axes.set(xlim=(-0.02, 1.02), ylim=(-0.02, 1.02))


def robustness_plot(cells: list[dict]) -> bytes:
    """Plot a heat map of the robustness results; columns: degradations, rows: AUROC, TPR and FPR. Blue is good."""
    values = np.array([[cell[name] for cell in cells] for name in ("auroc", "tpr", "fpr")])
    goodness = np.array([values[0], values[1], 1 - values[2]])
    figure, axes = _figure((10.4, 2.9))
    # No colour bar: the last row has reversed colours.
    heat_map(axes, goodness, lambda row, column: f"{values[row, column]:.2f}")
    axes.set_yticks(np.arange(3) + 0.5, ("AUROC", "fakes called fake", "reals called fake"))
    names = [cell["degradation"] for cell in cells]
    axes.set_xticks(np.arange(len(names)) + 0.5, names, rotation=40, ha="right", rotation_mode="anchor")
    axes.set_title("Degraded images: blue is good, pale is doubtful, red is chance or worse", fontsize=11)
    return png_bytes(figure, dpi=130)


def matrix_plot(auroc: np.ndarray, texts: list[list[str]], trained: list[str], tested: list[str], title: str) -> bytes:
    """Plot a heat map of AUROC (rows, columns), NaN for no result; rows: detectors, columns: test sets."""
    rows, columns = auroc.shape
    figure, axes = _figure((3.6 + 1.55 * columns, 2.1 + 0.85 * rows))
    mesh = heat_map(axes, auroc, lambda row, column: texts[row][column])
    figure.colorbar(mesh, ax=axes, label="AUROC")
    axes.set_xticks(
        np.arange(columns) + 0.5, tested, rotation=30 if columns > 3 else 0, ha="right" if columns > 3 else "center"
    )
    axes.set_yticks(np.arange(rows) + 0.5, trained)
    axes.set(xlabel="tested on", ylabel="detector")
    axes.set_title(title, fontsize=11)
    return png_bytes(figure, dpi=130)


def timeline_plot(tracks: list[tuple[int, list[float], list[float]]], threshold: float, real_below: float) -> bytes:
    """Plot p_fake over the time of a video. `tracks` are (number, times in s, p_fakes); the first, drawn bold, decides."""
    figure, axes = _figure((10.4, 3.6))
    axes.axhspan(threshold, 1.1, color=FAKE_COLOUR, alpha=0.07, linewidth=0)
    axes.axhline(threshold, color=FAKE_COLOUR, linestyle="--", linewidth=1.4, label=f"fake from {threshold:.3g}")
    if real_below < threshold:
        axes.axhline(real_below, color=REAL_COLOUR, linestyle="--", linewidth=1.4, label=f"real below {real_below:.3g}")
    for place, (number, times, p_fakes) in enumerate(tracks):
        style = {"linewidth": 2.6, "zorder": 4} if place == 0 else {"linewidth": 1.2, "alpha": 0.8, "zorder": 3}
        name = f"track {number}{' (decides)' if place == 0 else ''}" if len(tracks) > 1 else None
        axes.plot(times, p_fakes, "o-", color=f"C{place % 10}", markersize=4, label=name, **style)
    axes.set(xlabel="time in the video (s)", ylabel="p_fake", ylim=(-0.03, 1.03))
    first, last = min(times[0] for _, times, _ in tracks), max(times[-1] for _, times, _ in tracks)
    margin = 0.02 * max(last - first, 0.1)
    axes.set_xlim(first - margin, last + margin)
    axes.legend(loc="center left", bbox_to_anchor=(1.0, 0.5), frameon=False, fontsize=9)
    return png_bytes(figure, dpi=130)


def _figure(size: tuple[float, float], rows: int = 1, columns: int = 1, **subplots):
    from matplotlib.figure import Figure

    with figure_style(font_scale=0.95):
        figure = Figure(figsize=size, layout="constrained")
        return figure, figure.subplots(rows, columns, **subplots)


def _with_interval(metrics: dict, name: str) -> str:
    low, high = metrics[f"{name}_interval"]
    return f"{metrics[name]:.3f} [{low:.3f}, {high:.3f}]"
