"""`report --out FILE.html`: one self-contained page about any number of rows."""

from __future__ import annotations

from pathlib import Path

from fakecore.messages import counted
from fakecore.report.pages import write_page
from fakedetect.engine.job import Progress
from fakedetect.engine.summary import VERDICTS, Summary
from fakedetect.scoring.columns import format_short, says_generated, visible_name


def write_report_page(
    path: Path, summary: Summary, name: str, where: str | None, progress: Progress | None = None
) -> None:
    """Write the page of a summary of the rows in `name`, a path or a URL without secrets, that meet the condition `where`;
    `progress` is that of a job.
    """
    bins = [sum(one.values()) for one in summary.histogram]
    write_page(
        path,
        "fakedetect.engine",
        "report.html.j2",
        title=f"Scores of {counted(summary.rows, 'file')}" if not summary.repeated_rows else f"{summary.rows:,} scores",
        name=name,
        where=where,
        progress=progress,
        summary=summary,
        verdicts=VERDICTS,
        lost=[(status, count) for status, count in summary.status.most_common() if status != "ok"],
        most=max(bins),
        most_fakes=max((one["fake"] for one in summary.folders), default=0),
        percent=_percent,
        format_short=format_short,
        says_generated=says_generated,
        visible_name=visible_name,
    )


def _percent(part: int, whole: int) -> str:
    """Return a share in percent: never 0 or 100 of something that is neither."""
    if not whole:
        return ""
    share = 100 * part / whole
    if 0 < share < 0.1:
        return "<0.1 %"
    if 99.9 < share < 100:
        return ">99.9 %"
    return f"{share:.1f} %"
