"""The command `publish`: options and output."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from fakecore.commands.options import Json, print_json


def publish(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="Run folder, made by `generate`.")],
    out: Annotated[Path, typer.Option(help="The folder to write.")],
    epoch: Annotated[
        int | None, typer.Option(help="Epoch of the checkpoint. Default: the best that was measured, else the last.")
    ] = None,
    as_json: Json = False,
) -> int:
    """Write a generator as a folder that others can use with torch alone.

    The folder has weights, samples, a model card and a loader, in the layout of a model on Hugging Face.

    \b
    Examples:
      fakelab publish runs/digits --out digits-gan
    """
    import fakegen

    facts = fakegen.publish(run, out, epoch=epoch)
    if as_json:
        print_json({"folder": str(out), **facts})
    else:
        print(f"{out}: epoch {facts['epoch']}; read README.md, and try: python {out / 'load.py'} 16")
    return 0
