"""What `sweep generate` reads from the command line, and what it prints."""

from __future__ import annotations

import json
import sys
from typing import Any

from fakecore.errors import UserError
from fakecore.settings import parse_assignments
from fakecore.tables import table
from fakecore.wording import counted
from fakegen.sweep import sweep


def run_sweep(presets: str, over: list[str], sets: list[str], as_json: bool, **options: Any) -> int:
    """Run a sweep and print its table; the exit code, 1 when a run failed."""
    names = [name.strip() for name in presets.split(",") if name.strip()]
    made = sweep(names, over=parse_over(over), changes=parse_assignments(sets), **options)
    if as_json:
        print(json.dumps({"sweep": str(made.folder), "runs": made.rows, "failed": made.failed}))
    else:
        columns = ("run", "frechet_best", "best_epoch", "frechet_last", "d_accuracy", "train_s")
        print(table(columns, [[row[name] for name in columns] for row in made.rows]))
        print(f"{counted(len(made.rows), 'run')}; frechet: distance to held-out reals, lower is better")
        print(f"  table     {made.table}")
        print(f"  page      {made.report}")
    for row in made.rows:
        if row["error"]:
            print(f"failed: {row['run']}: {row['error']}", file=sys.stderr)
    return 1 if made.failed else 0


def parse_over(assignments: list[str]) -> dict[str, list[str]]:
    """`["lr=1e-4,2e-4", "batch=64,128"]` as a dict of lists. Raises UserError for a field without values, or named twice."""
    over: dict[str, list[str]] = {}
    for assignment in assignments:
        name, _, values = assignment.partition("=")
        name, chosen = name.strip(), [value.strip() for value in values.split(",") if value.strip()]
        if not name or not chosen:
            raise UserError("--over could not be read", got=repr(assignment), expected="field=value,value...")
        if name in over:
            raise UserError(f"--over names {name} twice", expected="all its values in one --over")
        over[name] = chosen
    return over
