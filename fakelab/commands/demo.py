"""`demo`: options and output."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from fakecore.commands.options import RUNS, Device, fresh


def demo(
    out: Annotated[Path | None, typer.Option(help="Where to work. Default: runs/demo, or the next free name.")] = None,
    seed: Annotated[int, typer.Option(help="Same seed, same result.")] = 0,
    device: Device = "auto",
) -> int:
    """The whole loop on built-in digits, in minutes on a laptop."""
    from fakelab.demo import run_demo

    return run_demo(fresh(out, RUNS / "demo"), seed=seed, device=device)
