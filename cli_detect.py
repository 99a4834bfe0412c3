"""Commands on a finished detector, as a part of cli.py's face: parse, call, exit code. Imports typer alone, as --help must."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

detector_commands = typer.Typer()
Json = Annotated[bool, typer.Option("--json", help="Print JSON instead of text.")]
Device = Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:N.")]


@detector_commands.command()
def export(
    detector: Annotated[Path, typer.Argument(help="The folder of a detector.")],
    onnx: Annotated[Path, typer.Option(metavar="FILE.onnx", help="The file to write.")],
    check: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Images to check it on. Default: the detector's own test split.")
    ] = None,
    as_json: Json = False,
) -> int:
    """A detector as one .onnx file, preprocessing and temperature inside, kept only if its answers are the same."""
    from fakedetect.cli_export import run_export

    return run_export(detector, onnx, as_json, check=check)
