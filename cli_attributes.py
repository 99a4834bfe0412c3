"""The commands on attributes, as a part of cli.py's face: parse, call, exit code. Imports typer alone, as --help must."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from cli_common import RUNS, DataRoot, Device, Json, Sets, fresh, report_unused

attribute_commands = typer.Typer(
    help="Which reals should a GAN learn? A classifier of their attributes, and a choice.", no_args_is_help=True
)


@attribute_commands.command("train")
def attributes_train(
    data: Annotated[str, typer.Option(help="Real images: a folder, or a named source such as celeba.")],
    labels: Annotated[
        Path, typer.Option(metavar="FILE", help="A CSV with a column of image names, or CelebA's list_attr_celeba.txt.")
    ],
    targets: Annotated[
        str, typer.Option(help="Smiling,Male or emotion=happiness or emotion=happiness:neutral (against each other).")
    ],
    model: Annotated[str | None, typer.Option(help="cnn (default), resnet50 or timm:NAME.")] = None,
    out: Annotated[
        Path | None,
        typer.Option(help="The classifier's folder. Default: runs/attributes-MODEL, or the next free name."),
    ] = None,
    split: Annotated[str | None, typer.Option(help="Per cents of train, val, test. Default: 60,20,20.")] = None,
    group: Annotated[
        str | None, typer.Option(metavar="COLUMN", help="Images of one value share a split. Default: identity.")
    ] = None,
    sets: Sets = None,
    seed: Annotated[int, typer.Option(help="Same seed, same result.")] = 0,
    device: Device = "auto",
    data_root: DataRoot = None,
    as_json: Json = False,
) -> int:
    """Train a classifier of attributes on labelled images, and write its report."""
    from fakedetect.cli_attributes import run_train

    how = {"model": model, "group": group, "seed": seed, "device": device, "data_root": data_root}
    folder = fresh(out, RUNS / f"attributes-{(model or 'cnn').replace(':', '-')}")
    return run_train(data, labels, targets, folder, sets or [], as_json, report_unused, split=split, **how)


@attribute_commands.command("select")
def attributes_select(
    source: Annotated[str, typer.Argument(metavar="SRC", help="Real images: a folder, or a named source.")],
    model: Annotated[Path, typer.Option(help="The folder of a classifier.")],
    out: Annotated[Path, typer.Option(help="The new folder.")],
    attribute: Annotated[str | None, typer.Option(help="Which one, of a model that knows several.")] = None,
    min_p: Annotated[float, typer.Option(help="The least probability of --value with which an image is taken.")] = 0.8,
    value: Annotated[str, typer.Option(help="yes: those that have the attribute; no: those that lack it.")] = "yes",
    device: Device = "auto",
    data_root: DataRoot = None,
    as_json: Json = False,
) -> int:
    """Copy the images that have an attribute to a new folder, for `generate --real`."""
    from fakedetect.cli_attributes import run_select

    how = {"min_p": min_p, "value": value, "device": device, "data_root": data_root}
    return run_select(model, attribute, source, out, as_json, report_unused, **how)


@attribute_commands.command("compare")
def attributes_compare(
    models: Annotated[list[Path], typer.Argument(metavar="DIR DIR...", help="Folders of classifiers.")],
    out: Annotated[Path, typer.Option(metavar="FILE.png|DIR", help="The plot alone, or a folder with a page too.")],
    as_json: Json = False,
) -> int:
    """Learning curves of several classifiers in one plot, and a table."""
    from fakedetect.cli_attributes import run_compare

    return run_compare(models, out, as_json)
