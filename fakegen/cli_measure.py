"""What `measure` prints."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

from fakecore.tables import paragraph, table
from fakegen.measure import Measured, measure


def run_measure(run: Path, as_json: bool, **options: Any) -> int:
    """Measure a run and print a line for every epoch; the exit code."""
    found = measure(run, **options)
    if as_json:
        facts = {"run": str(found.run), "epochs": [asdict(row) for row in found.rows], "best": asdict(found.best)}
        print(json.dumps({**facts, "collapse": found.collapse, "remarks": found.remarks, "fresh": found.fresh}))
    else:
        _print(found)
    return 0


def _print(found: Measured) -> None:
    best = found.best
    rows = [
        [
            f"{row.epoch}{' *' if row.epoch == best.epoch else ''}",
            f"{row.frechet:.4g}",
            f"{row.kernel:.4g} ± {row.kernel_se:.2g}",
            *(f"{share:.1%}" for share in (row.precision, row.recall, row.diversity, row.near_copies)),
        ]
        for row in found.rows
    ]
    print(f"{best.n_fake:,} fakes against {best.n_real:,} held-out reals, in the space {best.features} ({best.dims:,})")
    print(table(("epoch", "frechet", "kernel", "precision", "recall", "diversity", "near_copies"), rows))
    print(paragraph(f"* best: epoch {best.epoch}, {best.frechet:.4g}; as many training reals get {best.floor:.4g}"))
    print(paragraph("near copies: up to 1 % is chance"))
    for line in (*found.remarks, *filter(None, [found.collapse])):
        print(paragraph(line))
    print(f"  look at   {found.run}/plots/quality.png, nearest.png")
