"""The columns of the results of `score`, and how their numbers are shown."""

from __future__ import annotations

COLUMNS = (
    *("path", "status", "kind", "p_fake", "verdict", "threshold", "real_below", "outside_domain", "error", "note"),
    *("sha256", "detector"),
)  # of the file's bytes; of the detector's weights (first digits)


def format_short(p_fake: float) -> str:
    """Format p_fake with two decimals, but never as 0 or 1: no detector is certain."""
    return "<0.01" if p_fake < 0.01 else ">0.99" if p_fake > 0.99 else f"{p_fake:.2f}"
