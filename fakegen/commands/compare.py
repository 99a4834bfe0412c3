"""The command `compare`: options and output."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from fakecore.commands.options import Device, Json, print_json
from fakecore.report.tables import paragraph, table


def compare(
    runs: Annotated[list[Path], typer.Argument(metavar="RUN...", help="Two run folders or more, made by `generate`.")],
    out: Annotated[Path, typer.Option(help="The page to write, .html.")] = Path("compare.html"),
    count: Annotated[int, typer.Option(help="Number of fakes of each run.")] = 32,
    device: Device = "auto",
    as_json: Json = False,
) -> int:
    """Show GANs side by side: fakes of the same latents, distances and curves.

    Measure the runs first, in the same feature space: `fakelab measure RUN`.

    \b
    Examples:
      fakelab compare runs/a runs/b --out a-or-b.html
    """
    import fakegen

    found = fakegen.compare(list(runs), out, count=count, device=device)
    if as_json:
        print_json({"page": str(found.page), "runs": found.rows, "caution": found.caution})
        return 0
    lines = [
        [
            row["run"],
            row["preset"],
            row["epoch"],
            f"{row['images']:,}",
            _distance(row, "frechet"),
            _distance(row, "kernel"),
        ]
        for row in found.rows
    ]
    print(table(("run", "preset", "epoch", "images", "frechet", "kernel"), lines))
    if found.caution:
        print(paragraph(found.caution))
    print(f"  page      {found.page}")
    return 0


def _distance(row: dict, name: str) -> str:
    return "not measured" if row[name] is None else f"{row[name]:.4g} ± {row[f'{name}_se']:.2g}"
