"""What `detect-train` and `evaluate` print: the headline, and every metric with its interval."""

from __future__ import annotations

import json

from fakecore.tables import table
from fakedetect.report import ROWS, headline
from fakedetect.train import Trained


def print_made(made: Trained, key: str, as_json: bool) -> None:
    """Print the metrics of a detector, under `key` in JSON, and where its report is."""
    if as_json:
        facts = {"detector": str(made.detector), "report": str(made.report), key: made.metrics}
        print(json.dumps(facts, allow_nan=False))
        return
    print(headline(made.metrics))
    rows = []
    for name, label, _ in ROWS:
        low, high = made.metrics.get(f"{name}_interval", (None, None))
        rows.append([label, f"{made.metrics[name]:.3f}", "" if low is None else f"[{low:.3f}, {high:.3f}]"])
    print(table(("metric", "value", "95 % interval"), rows))
    print(f"  report    {made.report}")
