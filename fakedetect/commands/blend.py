"""`blend`: options and output."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from fakecore.commands.options import DataRoot, Device, Json, print_json, report_unused
from fakecore.messages import command


def blend(
    real: Annotated[
        list[str],
        typer.Option(
            metavar="SOURCE",
            help="Photos of real faces: a folder, a set of `faces`, or a named source such as lfw. Repeat it for several.",
        ),
    ],
    out: Annotated[Path, typer.Option(metavar="DIR", help="Folder of the new set.")],
    size: Annotated[int, typer.Option(help="Resolution of the crops, in pixels.")] = 128,
    copies: Annotated[int, typer.Option(help="Pairs of each face, a real crop and a blend each.")] = 1,
    margin: Annotated[float, typer.Option(help="Margin around a face, as a fraction of its side.")] = 0.2,
    render: Annotated[
        bool, typer.Option("--render", help="Also train small autoencoders, for minutes, that render faces anew.")
    ] = False,
    generated: Annotated[
        str | None, typer.Option(metavar="SOURCE", help="Faces that a GAN made: paste them too, and show them whole.")
    ] = None,
    seed: Annotated[int, typer.Option(help="Random seed: the same seed and photos give the same set.")] = 0,
    device: Device = "auto",
    data_root: DataRoot = None,
    as_json: Json = False,
) -> int:
    """Make fake faces from real photos, without a generator, by blending.

    Of each photo, the largest face is cropped; its fake replaces the face, the eyes or the mouth by a changed version of
    itself, by another person's, by one that moves, or by a rendered one. The set holds pairs of a real crop and a blend,
    with all parameters.

    \b
    Examples:
      fakelab blend --real photos/ --out sets/blends
      fakelab blend --real photos/ --out sets/blends --copies 3 --size 192
    """
    from fakedetect.blends.dataset import blend as make

    options: dict[str, Any] = {"size": size, "copies": copies, "margin": margin, "render": render, "seed": seed}
    made = make(real, out, **options, generated=generated, device=device, data_root=data_root)
    if as_json:
        print_json({"set": str(made.set), "counts": made.counts, "unused": made.unused})
    else:
        n_real, n_fake = (sum(own[name] for own in made.counts.values()) for name in ("real", "fake"))
        print(f"{made.set}: {n_fake:,} blends and {n_real:,} real faces")
        print(f"  next      {command('detect-train', made.set, '--model', 'lite')}")
    return report_unused(made.unused)
