"""What `benchmark` reads from the command line, and what it prints."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from benchmarks.race import DEFAULT_DETECTORS, Raced, race
from benchmarks.race_numbers import same_epoch
from fakecore.settings import parse_assignments
from fakecore.tables import paragraph, table
from fakecore.wording import counted


def run_benchmark(
    runs: list[Path], as_json: bool, *, detectors: str | None, degrade: str | None, sets: list[str], **options: Any
) -> Raced:
    """Run a race and print what it came to."""
    names = _words(detectors) if detectors is not None else DEFAULT_DETECTORS
    made = race(runs, detectors=names, degrade=_words(degrade or ""), changes=parse_assignments(sets), **options)
    if as_json:
        facts = {"bench": str(made.out), "results": str(made.out / "results.csv"), "rows": len(made.rows)}
        facts |= {"report": str(made.out / "report.html"), "headline": made.headline, "seconds": made.seconds}
        print(json.dumps({**facts, "correlations": made.correlations, "fresh": made.fresh, "problems": made.problems}))
    else:
        _print(made)
    return made


def _print(made: Raced) -> None:
    print(paragraph(made.headline) + "\n")
    own = [row for row in made.rows if " > " not in row["run"]]
    names = list(dict.fromkeys(row["detector"] for row in own))
    for run in dict.fromkeys(row["run"] for row in own):
        lines = []
        for epoch in sorted({row["test_epoch"] for row in own if row["run"] == run}):
            found = [same_epoch(own, run, name, epoch, "none") for name in names]
            lines.append([str(epoch), *(f"{one['mean']:.3f}" if one else "-" for one in found)])
        print(f"{run}: AUROC, trained and tested on the same epoch")
        print(table(("epoch", *names), lines) + "\n")
    print(f"{counted(len(made.rows), 'row')} in {sum(made.seconds.values()):.0f} s")
    print(f"  table     {made.out / 'results.csv'}")
    print(f"  page      {made.out / 'report.html'}")


def _words(text: str) -> list[str]:
    return [word.strip() for word in text.split(",") if word.strip()]
