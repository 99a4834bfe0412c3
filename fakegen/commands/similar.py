"""The command `similar`: options and output."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from fakecore.commands.options import Device, Json, print_json
from fakecore.report.tables import paragraph, table


def similar(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="Run folder, made by `generate`.")],
    images: Annotated[list[Path], typer.Argument(metavar="IMAGE...", help="Photos or fakes.")],
    out: Annotated[Path, typer.Option(help="The page to write, .html.")] = Path("similar.html"),
    epoch: Annotated[int | None, typer.Option(help="Epoch of the checkpoint to use. Default: the last.")] = None,
    steps: Annotated[int, typer.Option(help="Steps of the search.")] = 200,
    seed: Annotated[int, typer.Option(help="Seed of the latents from which the search starts.")] = 0,
    device: Device = "auto",
    as_json: Json = False,
) -> int:
    """Find the fake of a GAN that is nearest to an image, and whether the GAN made the image.

    Projects the image, the GAN's own fakes and held-out real images onto its latents. Shows them on a page.

    \b
    Examples:
      fakelab similar runs/dogs photo.jpg
      fakelab similar runs/dogs suspect-1.png suspect-2.png --out from-dogs.html
    """
    import fakegen

    found = fakegen.similar(run, list(images), out, epoch=epoch, steps=steps, seed=seed, device=device)
    if as_json:
        facts = {"own": found.own, "reals": found.reals, "caution": found.caution}
        print_json({"page": str(found.page), "images": found.rows, **facts})
        return 0
    print(
        table(("image", "distance", ""), [[r["image"], f"{r['distance']:.3g}", r["verdict"] or ""] for r in found.rows])
    )
    for name, distances in (("its own fakes", found.own), ("held-out real images", found.reals)):
        if distances:
            print(f"  {name}: {min(distances):.3g} to {max(distances):.3g} ({len(distances)} of them)")
    for line in [found.caution] if found.caution else sorted({f"{r['verdict']}: {r['in_words']}" for r in found.rows}):
        print(paragraph(line))
    print(f"  page      {found.page}")
    return 0
