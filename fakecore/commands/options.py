"""What the commands of cli.py and its parts share: options, names of folders, and how results are told. Imports typer
alone, as --help must.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Annotated

import typer

from fakecore.errors import UserError

RUNS = Path("runs")
UNUSED_SHOWN = 10

Real = Annotated[
    str | None, typer.Option(help="Real images: a folder[:class], digits[:3], mnist[:3], cifar10[:dog] ...")
]
Fake = Annotated[str | None, typer.Option(help="A folder of fakes.")]
Sets = Annotated[list[str] | None, typer.Option("--set", help="field=value; any field, any number of times.")]
DataRoot = Annotated[Path | None, typer.Option(help="Where data sets are downloaded to (also: FAKELAB_DATA).")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON instead of text.")]
Device = Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:N.")]


def fresh(out: Path | None, default: Path) -> Path:
    """Return `out`, or `default` with a number behind it if that name is taken."""
    from fakecore.runs.runfolder import free_name

    return out if out is not None else free_name(default)


def newest(root: Path, marker: str, what: str, remedy: str) -> Path:
    """Return the folder in `root` whose `marker` file is newest. Raises UserError where there is none."""
    from fakecore.progress import say
    from fakecore.runs import runfolder

    found = runfolder.newest(root, marker)
    if found is None:
        raise UserError(f"there is no {what} in {root}/", remedy=f"Give {remedy}.")
    say(f"using {found}")
    return found


def newest_run() -> Path:
    """The run that finished last: what detectors are trained on where nothing is named."""
    return newest(RUNS, "set/imageset.json", "finished run", "SET or --real DIR --fake DIR").parent


def print_json(value: object) -> None:
    """Print `value` as one line of JSON."""
    print(json.dumps(value, allow_nan=False))


def report_unused(unused: list[dict], listed_in: Path | None = None) -> int:
    """Exit code 1, and a line each on stderr for the first, when inputs could not be used; `listed_in` has them all."""
    lines = list(dict.fromkeys(f"not used: {line['path']!r}: {line['status']}: {line['error']}" for line in unused))
    if len(lines) > UNUSED_SHOWN:
        where = f" (all are in {listed_in})" if listed_in else ""
        lines[UNUSED_SHOWN:] = [f"not used: {len(lines) - UNUSED_SHOWN:,} more{where}"]
    for line in lines:
        print(line, file=sys.stderr)
    return 1 if unused else 0
