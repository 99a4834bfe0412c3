"""`detect-train`: options and output."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from fakecore.commands.options import (
    RUNS,
    DataRoot,
    Device,
    Json,
    Real,
    Sets,
    Stream,
    fresh,
    newest,
    newest_run,
    print_json,
    report_unused,
)
from fakecore.messages import command

Strict = Annotated[bool, typer.Option("--strict", help="Stop with an error if the audit finds a leak.")]


def detect_train(
    places: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="SET|RUN",
            help="Sets or runs to train on, or URLs of these. Default: the newest run.",
        ),
    ] = None,
    real: Real = None,
    fake: Annotated[
        list[str] | None, typer.Option(metavar="DIR", help="Folder of fake images. Repeat it for several sources.")
    ] = None,
    recipe: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="Make the fakes from --real: photos (four quick GANs) or faces (blends)."),
    ] = None,
    model: Annotated[
        str | None,
        typer.Option(
            help="Model: auto (default: lite for photographs, cnn for small grey images), lite, cnn, resnet50, timm:NAME, "
            "dct, spectrum, discriminator or ensemble:DET,DET."
        ),
    ] = None,
    weights: Annotated[
        str | None, typer.Option(help="Pretrained weights for resnet50 or timm: .safetensors or a torch file.")
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="Detector folder to write. Default: RUN-MODEL, or the next free name.")
    ] = None,
    seed: Annotated[int | None, typer.Option(help="Random seed. Default: 0.")] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Resume a training run that was interrupted.")] = False,
    equalise: Annotated[
        bool, typer.Option("--equalise", help="Compress real and fake images alike, in training and scoring.")
    ] = False,
    leave_one_out: Annotated[
        bool,
        typer.Option("--leave-one-out", help="Train without each source of fakes in turn, and report the results."),
    ] = False,
    strict: Strict = False,
    stream: Stream = None,
    sets: Sets = None,
    device: Device = "auto",
    data_root: DataRoot = None,
    as_json: Json = False,
) -> int:
    """Train a detector on sets, runs or folders of images.

    Saves the detector in its own folder, tests it on the test split, and writes a report. With several sources of fakes, the
    report also tells what to expect of a generator that was never seen.

    \b
    Examples:
      fakelab detect-train runs/digits
      fakelab detect-train --real photos/ --fake gan/ --fake diffusion/ --out runs/mine
      fakelab detect-train --recipe photos --real photos/ --out runs/photos
    """
    from fakecore.settings import parse_assignments

    changes = parse_assignments(sets or []) | {
        name: value for name, value in (("model", model), ("weights", weights)) if value is not None
    }
    if equalise:
        changes["equalise"] = "true"
    if leave_one_out:
        changes["leave_one_out"] = "true"
    if stream is not None:
        changes["stream"] = str(stream).lower()
    where: dict[str, Any] = {"device": device, "data_root": data_root}
    if recipe is not None and not resume:
        folder = out or RUNS / recipe
        places, wanted = _follow(recipe, folder, places, real, fake, seed=seed or 0, **where)
        real, changes = None, {**wanted, **changes}
    elif not resume and not places and real is None and not fake:
        places = [str(newest_run())]
    images: dict[str, Any] = {"place": places or None, "real": real, "fake": fake or None}
    if resume:
        folder = out or newest(RUNS, "training.json", "training to resume", "--out DET")
    else:
        folder = _new_folder(out, recipe, images, changes, data_root)
    return _train_and_print(folder, images, changes, as_json, seed=seed, resume=resume, strict=strict, **where)


def _follow(
    recipe: str, folder: Path, places: list[str] | None, real: str | None, fake: list[str] | None, **options: Any
) -> tuple[list[str], dict[str, Any]]:
    """Make the fakes of a recipe beside the detector's `folder`; return their sets or runs, and the recipe's settings."""
    from fakedetect.training.recipes import get_recipe, require_reals_only

    found = get_recipe(recipe)
    real = require_reals_only(places, real, fake)
    made = found.make_sources(real, folder.with_name(f"{folder.name}-sources"), **options)
    return [str(one) for one in made], dict(found.settings)


def _new_folder(
    out: Path | None, recipe: str | None, images: dict[str, Any], changes: dict[str, Any], data_root: Path | None
) -> Path:
    """Choose the model if none is given, add it to `changes`, and return the folder of the new detector."""
    from fakedetect.training.choosing import AUTO, choose_model

    places = images["place"] or []
    if changes.get("model", AUTO) == AUTO:
        root = None if data_root is None else str(data_root)
        changes["model"] = choose_model({**images, "place": places or None, "data_root": root}, changes)
    name = recipe or "-".join(map(_last_part, places)) or "detector"
    return fresh(out, RUNS / f"{name}-{_folder_part(changes['model'])}")


def _train_and_print(
    folder: Path, images: dict[str, Any], changes: dict[str, Any], as_json: bool, **options: Any
) -> int:
    """Train the detector and print its results; return 1 if some images could not be used, else 0."""
    import fakedetect
    from fakedetect.commands.evaluate import print_left_out, print_metrics

    made = fakedetect.train(**images, out=folder, changes=changes, **options)
    if as_json:
        print_json(
            {
                "detector": str(made.detector),
                "report": str(made.report),
                "test_metrics": made.metrics,
                "left_out": made.left_out,
            }
        )
    else:
        print_metrics(made)
        print_left_out(made)
        print(f"  next      {command('score', 'FOLDER', '--detector', made.detector)}")
    return report_unused(made.unused_by_option)


def _last_part(place: str) -> str:
    """Return the last part of a path or URL."""
    from fakecore.urls import base_name, is_url

    return base_name(place) if is_url(place) else Path(place).absolute().name


def _folder_part(model: str) -> str:
    """Return a model's name as used in folder names: "timm:vit_tiny" -> "timm-vit_tiny", "ensemble:a,b" -> "ensemble"."""
    name, _, rest = model.partition(":")
    return f"{name}-{rest}" if name == "timm" else name
