"""Draw the plots of attribute reports; each function returns one figure as PNG bytes."""

from __future__ import annotations

import numpy as np

from fakedetect.evaluation.plots import NEUTRAL, _figure, png_bytes

_MOST_BARS = 60
_MOST_NAMED = 8  # attributes with a curve of their own; more would hide one another
_GREY = "#B8C0CA"


def histogram_plot(label_counts: dict[str, dict[str, int]], wanted: set[str], images: int, title: str) -> bytes:
    """Draw the image count of each attribute as bars, most frequent first; trained attributes are coloured.

    `label_counts` is LabelTable.value_counts(); `wanted` holds names of bars, such as: "Smiling", "emotion = happiness".
    """
    bars = [
        (column if value == "yes" else f"{column} = {value}", n)
        for column, own in label_counts.items()
        for value, n in own.items()
    ]
    bars = sorted(bars, key=lambda bar: -bar[1])[:_MOST_BARS]
    figure, axes = _figure((5.6, 1.4 + 0.3 * max(len(bars), 6)))
    names, counts = [name for name, _ in bars], np.array([n for _, n in bars])
    axes.barh(names, counts, color=[NEUTRAL if name in wanted else _GREY for name in names], height=0.72)
    for place, n in enumerate(counts):
        axes.text(n, place, f" {n:,} ({n / images:.1%})", va="center", fontsize=9)
    axes.set(title=title, xlabel="images", xlim=(0, counts.max() * 1.35), ylim=(len(bars) - 0.4, -0.6))
    axes.grid(visible=False, axis="y")
    return png_bytes(figure, dpi=130)


def roc_plot(curves: list[tuple[str, np.ndarray, np.ndarray, float]]) -> bytes:
    """Draw a ROC curve for each attribute, given as (name, truth (N,), p (N,), AUROC)."""
    from sklearn.metrics import roc_curve

    figure, axes = _figure((5.6, 5.0))
    axes.plot([0, 1], [0, 1], color="0.6", linestyle="--", linewidth=1, label="a coin")
    for place, (name, truth, p, auroc) in enumerate(curves):
        fpr, tpr, _ = roc_curve(truth, p)
        alone = len(curves) == 1
        look = {"color": NEUTRAL if alone else f"C{place}"} if place < _MOST_NAMED else {"color": "0.8", "zorder": 1}
        label = f"{name}: AUROC {auroc:.3f}" if place < _MOST_NAMED else None
        axes.plot(fpr, tpr, linewidth=2, label=label, **look)
    axes.set(title="ROC on the test split", xlabel="share of true no called yes", ylabel="share of true yes called yes")
    axes.set(xlim=(-0.02, 1.02), ylim=(-0.02, 1.02))
    axes.legend(loc="lower right", frameon=True, fontsize=9)
    return png_bytes(figure, dpi=130)
