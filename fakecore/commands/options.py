"""Options, folder names and printing that the commands share. Imports only typer, so that --help is fast."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Annotated

import typer
from typer.core import TyperCommand

from fakecore.errors import UserError

RUNS = Path("runs")
UNUSED_SHOWN = 10

Real = Annotated[
    str | None,
    typer.Option(help="Real images: FOLDER[:class], digits[:3], mnist[:3], cifar10[:dog], svhn, lfw or celeba."),
]
Fake = Annotated[str | None, typer.Option(help="Folder of fake images.")]
Sets = Annotated[list[str] | None, typer.Option("--set", metavar="FIELD=VALUE", help="Override one field. Repeatable.")]
DataRoot = Annotated[
    Path | None, typer.Option(help="Folder for downloaded data sets. Environment variable: FAKELAB_DATA.")
]
Stream = Annotated[
    bool | None,
    typer.Option(
        "--stream/--no-stream",
        help="Read WebDataset shards where they are, without a copy. Default: if a set exceeds the cache.",
    ),
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON instead of text.")]
Device = Annotated[str, typer.Option(help="Compute device: auto, cpu, cuda or cuda:N.")]


class ExamplesLast(TyperCommand):
    """A command whose examples, the last paragraph of its docstring, stand at the end of its help, after the options."""

    def __init__(self, *arguments, **named):
        text, mark, examples = (named.get("help") or "").partition("\b\nExamples:")
        super().__init__(*arguments, **named | {"help": text, "epilog": mark + examples})


def fresh(out: Path | None, default: Path) -> Path:
    """Return `out`, or `default` with a number appended if that name is taken."""
    from fakecore.runs.runfolder import free_name

    return out if out is not None else free_name(default)


def newest(root: Path, marker: str, what: str, remedy: str) -> Path:
    """Return the folder in `root` whose `marker` file is newest. Raises UserError if there is none."""
    from fakecore.progress import say
    from fakecore.runs import runfolder

    found = runfolder.newest(root, marker)
    if found is None:
        raise UserError(f"there is no {what} in {root}/", remedy=f"Give {remedy}.")
    say(f"using {found}")
    return found


def newest_run() -> Path:
    """Return the run that finished last, the default training set of detectors."""
    return newest(RUNS, "set/imageset.json", "finished run", "SET or --real DIR --fake DIR").parent


def print_json(value: object) -> None:
    """Print `value` as one line of JSON."""
    print(json.dumps(value, allow_nan=False))


def report_unused(unused: list[dict], listed_in: Path | None = None) -> int:
    """Print the first unused inputs to stderr and return the exit code, 1 if there are any; `listed_in` lists them all."""
    lines = list(dict.fromkeys(f"not used: {line['path']!r}: {line['status']}: {line['error']}" for line in unused))
    if len(lines) > UNUSED_SHOWN:
        where = f" (all of them: {listed_in})" if listed_in else ""
        lines[UNUSED_SHOWN:] = [f"not used: {len(lines) - UNUSED_SHOWN:,} more{where}"]
    for line in lines:
        print(line, file=sys.stderr)
    return 1 if unused else 0
