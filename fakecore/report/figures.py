"""The style of figures of runs: seaborn's, from the copy that matplotlib has, since importing seaborn takes seconds."""

from __future__ import annotations

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
