"""`audit`: options and output."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from fakecore.commands.options import DataRoot, Fake, Json, Real, Stream, report_unused
from fakecore.progress import say
from fakecore.report.tables import paragraph, table

if TYPE_CHECKING:
    from fakedetect.audits.findings import Audit
    from fakedetect.audits.leaks import Cue, Strength

Strict = Annotated[bool, typer.Option("--strict", help="Stop with an error if the audit finds a leak.")]
DUPLICATES_SHOWN = 10


def audit(
    place: Annotated[
        str | None,
        typer.Argument(metavar="SET|RUN", help="Set folder or run folder, or the URL of one."),
    ] = None,
    real: Real = None,
    fake: Fake = None,
    out: Annotated[Path | None, typer.Option(help="Write a report with the images found: FILE.html.")] = None,
    strict: Strict = False,
    stream: Stream = None,
    data_root: DataRoot = None,
    as_json: Json = False,
) -> int:
    """Check a data set for leaks: differences between real and fake that are not the content.

    A detector can pass a test by such a difference alone. Checks file formats, image sizes and compression, duplicate
    images, and groups (images of one person or video) in more than one split.

    \b
    Examples:
      fakelab audit runs/digits
      fakelab audit --real photos/ --fake generated/ --out audit.html
      fakelab audit runs/digits --strict
    """

    shared: dict[str, Any] = {"real": real, "fake": fake, "out": out, "strict": strict, "data_root": data_root}
    shared["stream"] = stream
    return run_audit(place, as_json, report_unused, **shared)


def run_audit(
    place: Path | str | None,
    as_json: bool,
    report_unused: Callable[[list[dict]], int],
    *,
    out: Path | None,
    strict: bool,
    **where,
) -> int:
    """Audit, print, and return 1 if some files could not be read. Raises UserError on a leak if `strict`."""
    from fakedetect.audits.audit import audit
    from fakedetect.audits.findings import leak_error

    found = audit(place, out=out, **where)
    if as_json:
        print(json.dumps({**found.to_json(), "page": str(out) if out else None}, allow_nan=False))
    else:
        _print(found)
        if out is not None:
            print(f"  report    {out}")
    code = report_unused(found.unused_by_option)
    if strict and found.leaks:
        raise leak_error(found.leaks, "Fix the data, or omit --strict.")
    return code


def _print(found: Audit) -> None:
    from fakedetect.audits.findings import describe_duplicates
    from fakedetect.audits.leaks import CONFIDENCE, LEVEL

    for note in found.notes:
        say(f"note: {note}")
    print(found.headline)
    for finding in found.leaks:
        print(paragraph(f"LEAK: {finding.text}", 2))
    for finding in found.warnings:
        print(paragraph(f"warning: {finding.text}", 2))
    columns = ("cue", "AUROC", f"{100 * CONFIDENCE:g} % interval", "", "real / fake")
    if found.cues:
        print(f"\nContainers and encoding: a leak above {LEVEL}, if the interval excludes 0.5")
        print(
            table(
                columns,
                [("all together", *_numbers(found.metadata), ""), *(_row(cue) for cue in found.cues if cue.varies)],
            )
        )
        if found.alike:
            print(paragraph(f"equal in all files: {found.alike}"))
        if found.metadata.auroc is None:
            print(paragraph(f"No AUROC: {found.too_few}.", 2))
    print("\nCues that also depend on the image content: check them, they are not leaks by themselves")
    print(table(columns, [_row(cue) for cue in found.pixel_cues]))
    offending = [one for one in found.duplicates if one.leaks or one.warns]
    offending.sort(key=lambda one: not one.leaks)
    if offending:
        print("\nDuplicate images, and groups in more than one split")
    for one in offending[:DUPLICATES_SHOWN]:
        print(paragraph(f"{describe_duplicates(one)}, {one.count} files: {', '.join(one.files)}", 2))
    if len(offending) > DUPLICATES_SHOWN:
        print(f"  and {len(offending) - DUPLICATES_SHOWN:,} more; --json lists them all")


def _row(cue: Cue) -> tuple:
    value = cue.real if cue.real == cue.fake else f"{cue.real} / {cue.fake}"
    return cue.name, *_numbers(cue.strength), value


def _numbers(strength: Strength) -> tuple[str, str, str]:
    if strength.auroc is None or strength.interval is None:
        return "-", "", ""
    low, high = strength.interval
    return f"{strength.auroc:.3f}", f"{low:.3f} to {high:.3f}", "<--" if strength.alarming else ""
