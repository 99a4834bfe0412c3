"""`verify`: options and output."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from fakecore.commands.options import Json

SHOWN = 20


def verify(
    place: Annotated[Path, typer.Argument(metavar="SET|RUN", help="A set with fakes, or a run.")],
    count: Annotated[int, typer.Option(help="How many fakes to make again.")] = 100,
    seed: Annotated[int, typer.Option(help="Which ones: same seed, same sample.")] = 0,
    run: Annotated[Path | None, typer.Option(help="The run that made them. Default: found near the set.")] = None,
    device: Annotated[str, typer.Option(help="auto (the kind that made the set), cpu, cuda or cuda:N.")] = "auto",
    as_json: Json = False,
) -> int:
    """Make some fakes of a set again from its manifest alone, and compare them with what is on disk."""

    return run_verify(place, as_json, count=count, seed=seed, run=run, device=device)


def run_verify(place: Path, as_json: bool, **options: Any) -> int:
    """Verify a set and print what differs; the exit code, 1 when something does."""
    from fakegen.sampling.verify import verify

    found = verify(place, **options)
    if as_json:
        print(json.dumps({**vars(found), "set": str(found.set), "run": str(found.run), "as_made": found.as_made}))
        return 0 if found.as_made else 1
    print(f"{found.set}: {found.checked - len(found.different)} of {found.checked} fakes made again are the same")
    lines = [f"different: {line['file_name']!r}: {line['reason']}" for line in found.different]
    lines += [f"missing: {name!r}" for name in found.missing] + [f"not listed: {name!r}" for name in found.surplus]
    for line in lines[:SHOWN]:
        print(f"  {line}")
    if len(lines) > SHOWN:
        print(f"  and {len(lines) - SHOWN:,} more: see --json")
    for note in found.notes:
        print(f"  note: {note}")
    return 0 if found.as_made else 1
