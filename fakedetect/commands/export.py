"""`export`: options and output."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from fakecore.commands.options import Json
from fakecore.messages import command
from fakecore.progress import say
from fakecore.report.tables import paragraph


def export(
    detector: Annotated[Path, typer.Argument(metavar="DET", help="Detector folder.")],
    onnx: Annotated[Path, typer.Option(metavar="FILE.onnx", help="ONNX file to write.")],
    check: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Images to check the export on. Default: the detector's own test split."),
    ] = None,
    as_json: Json = False,
) -> int:
    """Export a detector as one .onnx file and check its scores.

    The file contains preprocessing and calibration. It is kept only if its p_fake agrees with the detector's on test
    images.

    \b
    Examples:
      fakelab export runs/digits-cnn --onnx detector.onnx
      fakelab export runs/digits-cnn --onnx detector.onnx --check photos/
    """

    return run_export(detector, onnx, as_json, check=check)


def run_export(detector: Path, onnx: Path, as_json: bool, *, check: Path | None) -> int:
    """Export a detector, print the file's facts and the result of the check, and return 0."""
    from fakedetect.export.onnx import IN_WORDS, OUT_WORDS, export_onnx

    say(f"exporting {detector} and checking the graph; this can take a minute")
    made = export_onnx(detector, onnx, check)
    if as_json:
        print(json.dumps({**vars(made), "onnx": str(made.onnx), "input": IN_WORDS, "outputs": OUT_WORDS}))
        return 0
    print(f"{made.onnx}: {made.bytes / 1e6:,.1f} MB, ONNX opset {made.opset}")
    print(paragraph(f"checked: p_fake differs by at most {made.max_dp:.1g} on {made.checked_on}", indent=2))
    print(paragraph(IN_WORDS, indent=2))
    print(paragraph(OUT_WORDS, indent=2))
    print(f"  next      {command('score', 'FOLDER', '--detector', made.onnx)}")
    return 0
