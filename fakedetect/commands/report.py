"""`report`: options and output."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from fakecore.commands.options import Json, print_json
from fakecore.errors import UserError
from fakecore.messages import counted, printable
from fakecore.progress import say
from fakecore.report.tables import table
from fakedetect.commands.scorerows import VERDICTS, format_p_fake

if TYPE_CHECKING:
    from fakedetect.engine.summary import Summary

_BAR = 40  # characters of the longest bar
_FILES = 20  # of the most suspicious that are printed; the page has more


def report(
    path: Annotated[
        str,
        typer.Argument(metavar="PATH", help="Folder of a job, .parquet, .csv or .jsonl; a path or a URL."),
    ],
    where: Annotated[
        str | None,
        typer.Option(
            metavar="CONDITION", help="Only rows that meet this SQL condition: \"p_fake > 0.9 and kind = 'video'\"."
        ),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(help="Write a report, .html, or the rows, .csv, .jsonl or .parquet. No file is overwritten."),
    ] = None,
    as_json: Json = False,
) -> int:
    """Summarise the results of score: verdicts, detectors, folders, evidence and the most suspicious files.

    Reads any number of rows in memory of a fixed size. Needs `pip install 'fakelab[ray]'`.

    \b
    Examples:
      fakelab report job/ --out report.html
      fakelab report results.csv --where "verdict = 'fake'" --out fakes.csv
      fakelab report s3://bucket/job/ --where "path like '%/inbox/%'"
    """
    from fakecore.urls import refuse_url, shown
    from fakedetect.engine.page import write_report_page
    from fakedetect.engine.reading import Rows
    from fakedetect.engine.summary import summarise
    from fakedetect.engine.writing import refuse_output, write_rows

    refuse_url(out, "--out")
    page = out is not None and out.suffix.lower() == ".html"
    if out is not None and not page:
        refuse_output(out, folder=False)
    elif out is not None and out.exists():
        raise UserError(f"{out} already exists; existing files are never overwritten", remedy="Choose another --out.")
    with Rows([path], where) as rows:
        summary = summarise(rows)
        if out is not None and not page:
            detectors = {one["id"]: one["name"] or "" for one in summary.detectors if one["id"]}
            write_rows(rows, rows.all_in_order, out, detectors)
    if page and out is not None:
        write_report_page(out, summary, shown(path), where)
    if as_json:
        print_json(summary.to_json())
    else:
        print(_text(summary))
    if out is not None:
        say(f"{'report' if page else counted(summary.rows, 'row')}: {out}")
    return 0


def _text(summary: Summary) -> str:
    """Return the tables of a summary."""
    if not summary.rows:
        return "no rows"
    parts = [_counts(summary)]
    if summary.repeated_paths:
        parts.append(repeated_text(summary))
    lines = [
        [one["name"] or "", one["id"] or "", one["rows"], *(one[name] for name in VERDICTS)]
        for one in summary.detectors
    ]
    parts.append(table(("detector", "id", "rows", *VERDICTS), lines))
    if summary.verdicts:
        parts.append(_histogram(summary))
    if summary.domain_assessed:
        share = summary.outside_domain / summary.domain_assessed
        parts.append(f"out of domain: {summary.outside_domain:,} of {summary.domain_assessed:,} assessed ({share:.1%})")
    if summary.points_to:
        kinds = ", ".join(f"{count:,} {name}" for name, count in summary.points_to.most_common())
        text = f"evidence of their origin: {kinds}"
        if summary.generated_called_real:
            text += f"; {summary.generated_called_real:,} that say they are generated have the verdict real"
        parts.append(text)
    if summary.folders:
        folders = [[one["fake"], one["rows"], printable(one["folder"])] for one in summary.folders]
        parts.append(
            table(("fake", "rows", f"folder, {len(folders)} of {summary.folders_total:,} with the most fakes"), folders)
        )
    if summary.top:
        files = [[format_p_fake(one["p_fake"]), one["verdict"], printable(one["path"])] for one in summary.top[:_FILES]]
        parts.append(table(("p_fake", "verdict", "most suspicious files"), files))
    return "\n\n".join(parts)


def _counts(summary: Summary) -> str:
    text = (
        ", ".join(f"{summary.verdicts[name]:,} {name}" for name in VERDICTS if summary.verdicts[name]) or "none scored"
    )
    lost = ", ".join(f"{count:,} {name}" for name, count in summary.status.most_common() if name != "ok")
    return f"{counted(summary.rows, 'row')}: {text}" + (f"; not scored: {lost}" if lost else "")


def repeated_text(summary: Summary) -> str:
    """Return the sentence on paths that were judged more than once."""
    paths = "1 path has" if summary.repeated_paths == 1 else f"{summary.repeated_paths:,} paths have"
    return (
        f"{paths} more than one row, {summary.repeated_rows:,} beyond the first: all are counted here; "
        "merge keeps identical rows once"
    )


def _histogram(summary: Summary) -> str:
    """Return the rows in each range of p_fake, with a bar for each."""
    bins = [sum(one.values()) for one in summary.histogram]
    most = max(bins)
    step = 1 / len(bins)
    rows = [
        [f"{place * step:.2f} to {(place + 1) * step:.2f}", count, "#" * -(-count * _BAR // most)]
        for place, count in enumerate(bins)
    ]
    return table(("p_fake", "rows", ""), rows)
