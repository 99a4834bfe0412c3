"""The command `walk`: options and output."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from fakecore.commands.options import Device, Json, print_json


def walk(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="Run folder, made by `generate`.")],
    out: Annotated[Path, typer.Option(help="The video to write: .mp4, .gif or .webp.")],
    epoch: Annotated[int | None, typer.Option(help="Epoch of the checkpoint to use. Default: the last.")] = None,
    seconds: Annotated[float, typer.Option(help="Length; the end joins the beginning.")] = 8.0,
    fps: Annotated[int, typer.Option(help="Frames per second.")] = 24,
    tiles: Annotated[int, typer.Option(help="Number of fakes side by side.")] = 16,
    truncation: Annotated[
        float, typer.Option(help="Scale of the latents: below 1, fakes are more alike and usually cleaner.")
    ] = 1.0,
    only: Annotated[
        str | None, typer.Option("--class", help="Conditional runs: show only this class. Default: all in turn.")
    ] = None,
    seed: Annotated[int | None, typer.Option(help="Seed of the latents. Default: the run's seed plus 1.")] = None,
    device: Device = "auto",
    as_json: Json = False,
) -> int:
    """Make a seamless video of fakes that change into others.

    \b
    Examples:
      fakelab walk runs/digits --out digits.mp4
      fakelab walk runs/dogs --out dogs.webp --tiles 1 --seconds 20 --truncation 0.7
    """
    import fakegen

    facts = fakegen.walk(
        run,
        out,
        epoch=epoch,
        seconds=seconds,
        fps=fps,
        tiles=tiles,
        truncation=truncation,
        only=only,
        seed=seed,
        device=device,
    )
    if as_json:
        print_json({"video": str(out), **facts})
    else:
        width, height = facts["size"]
        print(f"{out}: {facts['frames']:,} frames of {width}x{height} pixels, epoch {facts['epoch']}")
    return 0
