"""`merge`: options and output."""

from __future__ import annotations

from typing import Annotated

import typer

from fakecore.commands.options import Json, print_json
from fakecore.errors import unknown_name
from fakecore.messages import counted
from fakecore.progress import say
from fakedetect.commands.report import job_progress, progress_text


def merge(
    paths: Annotated[
        list[str],
        typer.Argument(metavar="PATH", help="Folders of jobs, .parquet, .csv and .jsonl files; paths or URLs."),
    ],
    out: Annotated[
        str,
        typer.Option(
            metavar="FILE",
            help="New .parquet, .csv or .jsonl file, or its URL; a folder of .parquet files without a suffix.",
        ),
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
    from fakecore.urls import scheme_of, shown
    from fakedetect.engine.merging import KEEP
    from fakedetect.engine.merging import merge as merged
    from fakedetect.engine.reading import Rows
    from fakedetect.engine.writing import refuse_output, write_rows
    from fakedetect.scoring.places import written

    if keep is not None and keep not in KEEP:
        raise unknown_name("--keep", keep, KEEP)
    out_name = shown(out)
    with written(out) as target:
        # A folder at a URL would be seen while it is incomplete.
        refuse_output(target, folder=scheme_of(out) in (None, "file"))
        jobs = {shown(path): job for path in paths if (job := job_progress(path))}  # before their rows are listed
        with Rows(paths) as rows:
            found = merged(rows, keep)
            count = write_rows(rows, found.query, target, found.detectors)
    unfinished = {path: job for path, job in jobs.items() if not job.is_complete}
    for path, job in unfinished.items():
        say(f"note: {path}: {progress_text(job)}")
    if as_json:
        facts = {"out": out_name, "rows": count, "identical": found.identical, "replaced": found.replaced}
        more = {"detectors": found.detectors, "unfinished": {path: vars(job) for path, job in unfinished.items()}}
        print_json(facts | more)
        return 0
    judged = ", ".join(f"{name} ({one})" if name else one for one, name in found.detectors.items())
    print(f"{out_name}: {counted(count, 'row')}, judged by {judged or 'no detector'}")
    if found.identical:
        say(f"{counted(found.identical, 'identical row')} left out")
    if found.replaced:
        say(f"{counted(found.replaced, 'row')} replaced by later ones")
    return 0
