"""Measure the training speed of each family of presets at its own size. There is no textbook code to compare with.

Only fakelab's training loop is timed. It writes nothing but its log, since a checkpoint of the largest preset takes three
gigabytes. Large presets train for few steps and with a smaller batch than their own; the table shows both.
"""

from __future__ import annotations

import resource
from collections.abc import Callable
from datetime import date
from pathlib import Path

from fakecore.device import choose_device, choose_precision, default_threads
from fakecore.files import read_jsonl, write_json
from fakecore.report.tables import table
from fakecore.sets.splits import DEFAULT_SPLIT
from fakegen.presets.table import PRESETS, get_preset
from fakegen.presets.times import FILE
from fakegen.runs.reals import load_reals
from fakegen.runs.run import create_run
from fakegen.training.loop import train_gan

# Steps that are timed, after as many warm-up steps; and the batch size, or None for the preset's own. Presets that differ from
# another one in numbers that cost no time are not timed themselves.
FAMILIES: dict[str, tuple[int, int | None]] = {
    "digits": (30, None),
    "digits-32": (10, None),
    "dcgan-64": (5, None),
    "dog-baseline": (10, None),
    "dog-lr3e-4": (10, None),
    "mnist-digit": (2, None),
    "svhn-digit": (2, None),
    "dense-1": (1, None),
    "dense-2": (1, None),
    "dense-3": (1, None),
    "upsample-faces": (1, 8),
    "celeba-128": (1, 2),
    "conditional-32": (10, None),
    "modern-32": (10, None),
    "modern-64": (10, None),
    "modern-128": (2, None),
    "projected-64": (2, None),
    "projected-128": (2, None),
    "projected-256": (1, None),
    "r3-64": (3, None),
}
_SAME_COST = {"dog-lr2e-4": "dog-lr3e-4", "dense-4": "dense-1", "dense-5": "dense-2", "dense-6": "dense-3"}


def families(real: Path, work: Path, ours: Callable, machine: str | None = None) -> str:
    """Table of the training speed of all families on the images of `real`; `ours` times each in its own process.

    With the description of a `machine`, the seconds of 1,000 steps are stored too, for the command `presets`.
    """
    rows, seconds = [], {}
    for name, (steps, batch) in FAMILIES.items():
        preset, asked = PRESETS[name], (name, str(real), str(work / f"family-{name}"), steps, batch)
        found = ours(
            f"import json; from benchmarks.speed.families import time_one; print(json.dumps(time_one{asked!r}))"
        )
        images = found["images_per_s"]
        seconds[name] = float(f"{1000 * preset.batch / images:.3g}")
        size = f"{preset.resolution}x{preset.resolution}"
        shown = f"{batch} of {preset.batch}" if batch else str(preset.batch)
        step = f"{1000 * (batch or preset.batch) / images:,.0f}"
        rows.append(
            (
                name,
                size,
                shown,
                str(steps),
                step,
                f"{images:,.0f}" if images >= 10 else f"{images:.2f}",
                f"{found['peak_mb']:,.0f}",
            )
        )
    if machine is not None:
        seconds |= {name: seconds[measured] for name, measured in _SAME_COST.items()}
        write_json(FILE, {"machine": machine, "date": str(date.today()), "seconds": seconds})
    return table(("training", "pixels", "batch", "steps", "ms per step", "images per second", "peak MB"), rows)


def time_one(name: str, real: str, folder: str, steps: int, batch: int | None) -> dict[str, float]:
    """Train a preset on the images of `real` for 2 x `steps` steps: images per second of the second half, and peak MB."""
    changes = {"epoch_steps": steps, "epochs": 2, "measure_every": 0, "upscale": True}
    preset = get_preset(name, {**changes, "batch": batch} if batch else changes)
    reals = load_reals(real, resolution=preset.resolution, shares=DEFAULT_SPLIT, seed=0)
    Path(folder).mkdir()
    device = choose_device("auto")
    asked = {"seed": 0, "split": list(DEFAULT_SPLIT), "count": 3, "device": device.type, "threads": default_threads()}
    asked["precision"] = choose_precision(preset.precision, device)
    run = create_run(Path(folder), preset, reals, asked)
    run.writes = False
    train_gan(run, reals)
    rate = read_jsonl(run.path / "metrics.jsonl")[-1]["images_per_s"]
    return {"images_per_s": rate, "peak_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024}
