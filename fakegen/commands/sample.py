"""`sample`: options and output."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from fakecore.commands.options import Device, Json, print_json
from fakecore.messages import counted


def sample(
    run: Annotated[Path, typer.Argument(help="The folder of a run.")],
    count: Annotated[int, typer.Option(help="How many fakes.")],
    out: Annotated[Path, typer.Option(help="The folder of the new set.")],
    epoch: Annotated[int | None, typer.Option(help="Which checkpoint. Default: the last.")] = None,
    only: Annotated[
        str | None,
        typer.Option("--class", help="Which class, of a conditional run. Default: all, as often as the reals."),
    ] = None,
    image_format: Annotated[str, typer.Option("--format", help="png, jpeg or webdataset.")] = "png",
    seed: Annotated[int | None, typer.Option(help="Seed of the latents. Default: the run's own plus 1.")] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with a set that was stopped.")] = False,
    device: Device = "auto",
    as_json: Json = False,
) -> int:
    """More fakes from any checkpoint of a run; needs no data set."""
    import fakegen

    facts = fakegen.sample(
        run,
        out,
        count=count,
        epoch=epoch,
        only=only,
        image_format=image_format,
        seed=seed,
        resume=resume,
        device=device,
    )
    if as_json:
        print_json({"set": str(out), **facts})
    else:
        fakes, origin = sum(part["fake"] for part in facts["counts"].values()), facts["origin"]
        print(f"{out}: {counted(fakes, 'fake')} of epoch {origin['epoch']}, latent seed {origin['latent_seed']}")
    return 0
