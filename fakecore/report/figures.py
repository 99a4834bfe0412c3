"""The style of figures: seaborn's, from the copy that matplotlib has, since importing seaborn takes seconds."""

from __future__ import annotations

import io
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any

_CATEGORIES = 10  # colours of tab10


def figure_style(*, grid: bool = True, font_scale: float = 1.0) -> AbstractContextManager[Any]:
    """Return the context in which a figure and its axes are created."""
    import matplotlib.style

    sizes = {
        "axes.labelsize": 12,
        "axes.titlesize": 12,
        "legend.fontsize": 11,
        "xtick.labelsize": 11,
        "ytick.labelsize": 11,
    }
    fonts = {name: size * font_scale for name, size in sizes.items()}
    return matplotlib.style.context(
        [f"seaborn-v0_8-{'whitegrid' if grid else 'white'}", "seaborn-v0_8-notebook", fonts]
    )


def png_bytes(figure, dpi: int) -> bytes:
    """Return a figure as PNG."""
    file = io.BytesIO()
    figure.savefig(file, dpi=dpi, format="png")
    return file.getvalue()


def heat_map(
    axes,
    values,
    text: Callable[[int, int], str],
    *,
    colours: str = "RdBu",
    low: float = 0.5,
    high: float = 1.0,
    square: bool = False,
    fontsize: float = 10,
):
    """Draw `values`, float (rows, columns), as cells, the first at the top left; NaN is a cell without a value. `text` gives
    the words in a cell. Return what a colour bar is made of.

    The default colours are safe for the colour-blind: from 0.5, chance, in red, over 0.75, pale, to 1 in blue.
    """
    import numpy as np

    mesh = axes.pcolormesh(
        np.ma.masked_invalid(values), cmap=colours, vmin=low, vmax=high, edgecolors="white", linewidth=2
    )
    axes.invert_yaxis()
    axes.set_facecolor("0.9")  # of cells without a value
    axes.grid(visible=False)
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
    if square:
        axes.set_aspect("equal")
    for (row, column), value in np.ndenumerate(values):
        red, green, blue, _ = mesh.to_rgba(value)
        dark = np.isfinite(value) and 0.299 * red + 0.587 * green + 0.114 * blue < 0.55
        place = {"ha": "center", "va": "center", "fontsize": fontsize, "color": "white" if dark else "0.15"}
        axes.text(column + 0.5, row + 0.5, text(row, column), **place)
    return mesh


def line_colours(count: int) -> list[Any]:
    """Return a colour for each of `count` lines."""
    from matplotlib import colormaps

    if count <= _CATEGORIES:
        return list(colormaps["tab10"].colors[:count])  # type: ignore[attr-defined]
    return [colormaps["turbo"]((number + 0.5) / count) for number in range(count)]


def logarithmic_y(axes) -> None:
    """Scale the y axis of a matplotlib plot logarithmically, with plain numbers at 1, 2 and 5 of each decade; where
    it spans less than that, at round steps.
    """
    from matplotlib.ticker import LogLocator, NullFormatter, StrMethodFormatter

    axes.set_yscale("log")
    axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.yaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
    axes.yaxis.set_minor_formatter(NullFormatter())
