"""`adopt`: options and output."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from fakecore.commands.options import RUNS, DataRoot, Device, Fake, Json, Real, fresh, print_json, report_unused
from fakecore.messages import command
from fakecore.report.tables import table

_SHOWN = 5  # of the inputs that were tried


def adopt(
    model: Annotated[
        Path,
        typer.Argument(
            metavar="MODEL", help="An .onnx, .safetensors, .pth or .h5 file, or a folder of timm or transformers."
        ),
    ],
    on: Annotated[
        Path | None, typer.Option("--on", metavar="SET|RUN", help="Labelled images to calibrate and test on.")
    ] = None,
    real: Real = None,
    fake: Fake = None,
    out: Annotated[Path | None, typer.Option(help="Detector folder to write. Default: runs/NAME-adopted.")] = None,
    arch: Annotated[
        str | None, typer.Option(metavar="KIND:NAME", help="Network of a checkpoint: timm:NAME or torchvision:NAME.")
    ] = None,
    weights: Annotated[Path | None, typer.Option(help="Weights of the CLIP encoder that a linear probe needs.")] = None,
    size: Annotated[int | None, typer.Option(metavar="PX", help="Side of its input. Default: found out.")] = None,
    label_of: Annotated[
        str | None, typer.Option(metavar="fake=INDEX", help="Which output is that of fakes, or of reals (real=INDEX).")
    ] = None,
    expect: Annotated[
        Path | None, typer.Option(metavar="CSV", help="Scores of the original program, to be reproduced.")
    ] = None,
    seed: Annotated[int, typer.Option(help="Random seed.")] = 0,
    device: Device = "auto",
    data_root: DataRoot = None,
    as_json: Json = False,
) -> int:
    """Make a detector of one that others trained.

    Finds out which pixels it expects and which output means fake, where its file does not say it, with labelled images; one
    half of them calibrates it, the other half tests it. The result is an ordinary detector folder.

    \b
    Examples:
      fakelab adopt detector.onnx --on runs/faces --out runs/theirs
      fakelab adopt xception.pth --real photos/ --fake fakes/
    """
    import fakedetect
    from fakedetect.commands.evaluate import print_metrics

    folder = fresh(out, RUNS / f"{model.stem}-adopted")
    made = fakedetect.adopt(
        model,
        on,
        out=folder,
        real=real,
        fake=fake,
        architecture=arch,
        weights=weights,
        size=size,
        label_of=label_of,
        expect=expect,
        seed=seed,
        device=device,
        data_root=data_root,
    )
    best = made.candidates[0]
    if as_json:
        print_json(
            {
                "detector": str(made.detector),
                "report": str(made.report),
                "input": best.pixels.to_json(),
                "output": best.reading.to_json(),
                "known_from": made.known_from or None,
                "candidates": [one.to_json() for one in made.candidates],
                "agreement": made.agreement,
                "test_metrics": made.metrics,
            }
        )
        return report_unused(made.unused_by_option)
    if len(made.candidates) > 1:
        rows = [(f"{one.auroc:.3f}", str(one.images), str(one.pixels)) for one in made.candidates[:_SHOWN]]
        print(table(("AUROC", "images", f"input, best of {len(made.candidates)}"), rows))
    print(f"  input     {best.pixels}" + (f" (from {made.known_from})" if made.known_from else " (found by trial)"))
    print(f"  output    {best.reading}")
    if made.agreement:
        same = made.agreement
        print(
            f"  original  {same['form']} differs from the expected scores by {same['mean']:.2g} on average, "
            f"{same['max']:.2g} at most ({same['images']:,} images)"
        )
    print_metrics(made)
    print(f"  next      {command('score', 'FOLDER', '--detector', made.detector)}")
    return report_unused(made.unused_by_option)
