"""`merge`: options and output."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from fakecore.commands.options import Json, print_json
from fakecore.errors import unknown_name
from fakecore.messages import counted
from fakecore.progress import say


def merge(
    paths: Annotated[
        list[str],
        typer.Argument(metavar="PATH", help="Folders of jobs, .parquet, .csv and .jsonl files; paths or URLs."),
    ],
    out: Annotated[
        Path, typer.Option(help="New .parquet, .csv or .jsonl file; a folder of .parquet files without a suffix.")
    ],
    keep: Annotated[
        str | None,
        typer.Option(metavar="last|all", help="Keep the last or all of different rows of one path by one detector."),
    ] = None,
    as_json: Json = False,
) -> int:
    """Merge results of score into one file or folder; identical rows are kept once.

    Reads any number of rows in memory of a fixed size. No file is overwritten. Needs `pip install 'fakelab[ray]'`.

    \b
    Examples:
      fakelab merge monday.csv tuesday.csv --out both.csv
      fakelab merge job-1/ job-2/ --out all/
      fakelab merge old.parquet new.parquet --keep last --out now.parquet
    """
    from fakecore.urls import refuse_url
    from fakedetect.engine.merging import KEEP
    from fakedetect.engine.merging import merge as merged
    from fakedetect.engine.reading import Rows
    from fakedetect.engine.writing import refuse_output, write_rows

    if keep is not None and keep not in KEEP:
        raise unknown_name("--keep", keep, KEEP)
    refuse_url(out, "--out")
    refuse_output(out, folder=True)
    with Rows(paths) as rows:
        found = merged(rows, keep)
        count = write_rows(rows, found.query, out, found.detectors)
    if as_json:
        facts = {"out": str(out), "rows": count, "identical": found.identical, "replaced": found.replaced}
        print_json(facts | {"detectors": found.detectors})
        return 0
    judged = ", ".join(f"{name} ({one})" if name else one for one, name in found.detectors.items())
    print(f"{out}: {counted(count, 'row')}, judged by {judged or 'no detector'}")
    if found.identical:
        say(f"{counted(found.identical, 'identical row')} left out")
    if found.replaced:
        say(f"{counted(found.replaced, 'row')} replaced by later ones")
    return 0
