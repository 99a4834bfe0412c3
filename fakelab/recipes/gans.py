"""Train the GANs of recipes: finished runs are kept, unfinished ones resumed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from fakecore.progress import say
from fakegen import resume, train


def train_gan(
    title: str,
    run: Path,
    preset: str,
    real: str,
    changes: dict[str, Any],
    *,
    count: int,
    seed: int,
    device: str,
    data_root: Path | None,
) -> Path:
    """Train `preset` on `real` in the folder `run`, with `count` fakes in its set, unless that is done; return `run`. Raises
    UserError, or Interrupted when stopped.
    """
    if (run / "set" / "imageset.json").is_file():
        return run
    say(title)
    if (run / "run.json").is_file():
        resume(run, device=device)
    else:
        train(preset, out=run, real=real, changes=changes, count=count, seed=seed, device=device, data_root=data_root)
    return run
