"""The command `sample`: options and output."""

from __future__ import annotations

from typing import Annotated

import typer

from fakecore.commands.engine import Address, Engine, EngineOptions, WorkerCpus, WorkerGpus, Workers
from fakecore.commands.options import Device, Json, print_json
from fakecore.messages import counted


def sample(
    run: Annotated[str, typer.Argument(metavar="RUN", help="Run folder, made by `generate`, or the URL of one.")],
    count: Annotated[int, typer.Option(help="Number of fakes to write.")],
    out: Annotated[str, typer.Option(help="Folder for the new set, or the URL of one, such as s3://bucket/set.")],
    epoch: Annotated[int | None, typer.Option(help="Epoch of the checkpoint to use. Default: the last.")] = None,
    only: Annotated[
        str | None,
        typer.Option(
            "--class", help="Conditional runs: make only this class. Default: all, in the proportions of the reals."
        ),
    ] = None,
    truncation: Annotated[
        float, typer.Option(help="Scale of the latents: below 1, fakes are more alike and usually cleaner.")
    ] = 1.0,
    image_format: Annotated[str, typer.Option("--format", help="Output format: png, jpeg or webdataset.")] = "png",
    seed: Annotated[int | None, typer.Option(help="Seed of the latents. Default: the run's seed plus 1.")] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Resume a set that was stopped.")] = False,
    engine: Engine = None,
    address: Address = None,
    workers: Workers = None,
    worker_cpus: WorkerCpus = 1,
    worker_gpus: WorkerGpus = 0.0,
    device: Device = "auto",
    as_json: Json = False,
) -> int:
    """Generate more fakes from a checkpoint of a run.

    Needs no real images: the run folder is enough.

    \b
    Examples:
      fakelab sample runs/digits --count 1000 --out more-digits
      fakelab sample runs/dogs --count 500 --out early-dogs --epoch 20 --format jpeg
      fakelab sample runs/conditional-32 --count 100 --out cats --class cat
      fakelab sample runs/dogs --count 1000000 --out s3://bucket/many --format webdataset --engine ray
    """
    import fakegen
    from fakecore.urls import shown

    of_engine = EngineOptions(engine, address, workers, worker_cpus, worker_gpus)
    facts = fakegen.sample(
        run,
        out,
        count=count,
        epoch=epoch,
        only=only,
        truncation=truncation,
        image_format=image_format,
        seed=seed,
        resume=resume,
        device=device,
        cluster=of_engine.cluster(),
    )
    if as_json:
        print_json({"set": shown(out), **facts})
    else:
        fakes, origin = sum(part["fake"] for part in facts["counts"].values()), facts["origin"]
        print(f"{shown(out)}: {counted(fakes, 'fake')} of epoch {origin['epoch']}, latent seed {origin['latent_seed']}")
    return 0
