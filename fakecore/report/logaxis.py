"""A readable logarithmic axis: 0.5, 1, 2, 5 instead of powers of ten."""

from __future__ import annotations


def logarithmic_y(axes) -> None:
    """Scale the y axis of a matplotlib plot logarithmically, with plain numbers at 1, 2 and 5 of each decade; where
    it spans less than that, at round steps.
    """
    from matplotlib.ticker import LogLocator, NullFormatter, StrMethodFormatter

    axes.set_yscale("log")
    axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.yaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
    axes.yaxis.set_minor_formatter(NullFormatter())
