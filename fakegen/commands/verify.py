"""The command `verify`: options and output."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from fakecore.commands.options import Json

SHOWN = 20  # differences to print


def verify(
    place: Annotated[Path, typer.Argument(metavar="SET|RUN", help="Folder of a set with fakes, or run folder.")],
    count: Annotated[int, typer.Option(help="Number of fakes to regenerate.")] = 100,
    seed: Annotated[int, typer.Option(help="Seed that chooses which fakes to check.")] = 0,
    run: Annotated[Path | None, typer.Option(help="Run folder that made the set. Default: found near the set.")] = None,
    device: Annotated[
        str, typer.Option(help="Compute device: auto (the kind that made the set), cpu, cuda or cuda:N.")
    ] = "auto",
    as_json: Json = False,
) -> int:
    """Regenerate fakes of a set and compare them with its files.

    Uses only the manifest and the run's checkpoint. Exits with code 1 if a file differs, is missing or is not listed.

    \b
    Examples:
      fakelab verify runs/digits
      fakelab verify more-digits --run runs/digits --count 500
    """
    return run_verify(place, as_json, count=count, seed=seed, run=run, device=device)


def run_verify(place: Path, as_json: bool, **options: Any) -> int:
    """Verify a set, print the differences, and return the exit code: 1 if there are any."""
    from fakegen.sampling.verify import verify

    found = verify(place, **options)
    if as_json:
        print(json.dumps({**vars(found), "set": str(found.set), "run": str(found.run), "as_made": found.as_made}))
        return 0 if found.as_made else 1
    print(f"{found.set}: {found.checked - len(found.different)} of {found.checked} regenerated fakes are identical")
    lines = [f"different: {line['file_name']!r}: {line['reason']}" for line in found.different]
    lines += [f"missing: {name!r}" for name in found.missing] + [f"not listed: {name!r}" for name in found.surplus]
    for line in lines[:SHOWN]:
        print(f"  {line}")
    if len(lines) > SHOWN:
        print(f"  and {len(lines) - SHOWN:,} more; --json lists all")
    for note in found.notes:
        print(f"  note: {note}")
    return 0 if found.as_made else 1
