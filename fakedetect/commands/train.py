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
        list[Path] | None,
        typer.Argument(metavar="SET|RUN", help="Sets or runs to train on. Default: the newest run."),
    ] = None,
    real: Real = None,
    fake: Annotated[
        list[str] | None, typer.Option(metavar="DIR", help="Folder of fake images. Repeat it for several sources.")
    ] = None,
    recipe: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="Make the fakes from --real: photos trains four quick GANs on them."),
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
    import fakedetect
    from fakecore.settings import parse_assignments
    from fakedetect.commands.evaluate import print_left_out, print_metrics
    from fakedetect.training.choosing import AUTO, choose_model
    from fakedetect.training.recipes import get_recipe, require_reals_only

    changes = parse_assignments(sets or []) | {
        name: value for name, value in (("model", model), ("weights", weights)) if value is not None
    }
    if equalise:
        changes["equalise"] = "true"
    if leave_one_out:
        changes["leave_one_out"] = "true"
    if resume:
        folder = out or newest(RUNS, "training.json", "training to resume", "--out DET")
    else:
        if recipe is not None:
            make_fakes = get_recipe(recipe)
            reals = require_reals_only(places, real, fake)
            folder = out or RUNS / recipe
            sources = folder.with_name(f"{folder.name}-sources")
            places = make_fakes(reals, sources, seed=seed or 0, device=device, data_root=data_root)
            real = None
        if not places and real is None and not fake:
            places = [newest_run()]
        if changes.get("model", AUTO) == AUTO:
            changes["model"] = choose_model(
                {
                    "place": [str(place) for place in places] if places else None,
                    "real": real,
                    "fake": fake,
                    "data_root": None if data_root is None else str(data_root),
                },
                changes,
            )
        name = recipe or "-".join(place.absolute().name for place in places or []) or "detector"
        folder = fresh(out, RUNS / f"{name}-{_folder_part(changes['model'])}")
    shared: dict[str, Any] = {"device": device, "resume": resume, "data_root": data_root, "strict": strict}
    made = fakedetect.train(
        places or None, out=folder, real=real, fake=fake or None, changes=changes, seed=seed, **shared
    )
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


def _folder_part(model: str) -> str:
    """Return a model's name as used in folder names: "timm:vit_tiny" -> "timm-vit_tiny", "ensemble:a,b" -> "ensemble"."""
    name, _, rest = model.partition(":")
    return f"{name}-{rest}" if name == "timm" else name
