"""`demo`: options and output."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from fakecore.commands.options import RUNS, Device, fresh


def demo(
    out: Annotated[Path | None, typer.Option(help="Output folder. Default: runs/demo, or the next free name.")] = None,
    seed: Annotated[int, typer.Option(help="Random seed: same seed, machine and threads, same result.")] = 0,
    device: Device = "auto",
) -> int:
    """Run the whole loop on built-in digits: a GAN, a detector and their race.

    \b
    Examples:
      fakelab demo
      fakelab demo --out runs/first --seed 1
    """
    from fakelab.demo import run_demo

    return run_demo(fresh(out, RUNS / "demo"), seed=seed, device=device)
