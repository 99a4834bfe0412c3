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


@detector_commands.command()
def explain(
    images: Annotated[list[str], typer.Argument(metavar="IMAGE...", help="Images and folders, mixed.")],
    detector: Annotated[Path, typer.Option(help="The folder of a detector.")],
    out: Annotated[
        Path | None,
        typer.Option(metavar="DIR|FILE.html", help="Default: DETECTOR/explanations, or the next free name."),
    ] = None,
    device: Device = "auto",
    as_json: Json = False,
) -> int:
    """Where in each image a detector's answer is most sensitive: heat maps, as pictures and on one page."""
    from fakedetect.cli_explain import run_explain

    return run_explain(images, detector, as_json, out=out, device=device)
