"""The columns of the results of `score`."""

from __future__ import annotations

COLUMNS = (
    *("path", "status", "kind", "p_fake", "verdict", "threshold", "real_below", "outside_domain", "error", "note"),
    *("sha256", "detector"),
)  # of the file's bytes; of the detector's weights (first digits)
