"""How fast GANs start, and how fast they train."""

from __future__ import annotations

import os
from pathlib import Path

from benchmarks.gpu.context import Context
from benchmarks.gpu.figures import Figure
from benchmarks.processes import Timed, last_json, run, watch

_LIMIT_S = 200.0


def measure_training(context: Context) -> list[Figure]:
    """Train `dcgan-64` on the large source, start it again, and train `modern-64` on the small one."""
    sizes, on_gpu = context.sizes, context.device == "cuda"
    batch = ("--set", f"batch={sizes.batch}")
    photos = f"{sizes.faces:,} photos"
    first = generate(context, "dcgan-64", context.faces, "dcgan", "--epochs", sizes.epochs, *batch)
    again = generate(context, "dcgan-64", context.faces, "again", "--set", f"steps={sizes.again_steps}", *batch)
    modern = generate(context, "modern-64", context.some, "modern", "--set", f"steps={sizes.modern_steps}")
    workers = min(12, os.cpu_count() or 1)
    plain = last_json(run(["-m", "benchmarks.speed.plain", "train", context.some, 2, workers], limit_s=_LIMIT_S)[0])
    ceiling = last_json(run(["-m", "benchmarks.gpu.ceiling", sizes.batch], limit_s=_LIMIT_S)[0])
    best = ceiling["graph"] or ceiling["eager"]

    def goal(value: float) -> float | None:
        return value if on_gpu else None

    return [
        Figure(f"first step, {photos}", first.first_s, "s", goal=goal(10), less_is_better=True),
        Figure(f"first step, {photos}, second start", again.first_s, "s", goal=goal(5), less_is_better=True),
        Figure(f"dcgan-64, {sizes.epochs} epochs of {photos}", first.total_s, "s", goal=goal(45), less_is_better=True),
        Figure("train dcgan-64", first.rate, "images/s", plain, best, goal(36_000)),
        Figure("train modern-64", modern.rate, "images/s", goal=goal(10_000)),
    ]


def generate(context: Context, preset: str, real: Path, name: str, *words: object, count: int = 8) -> Timed:
    """Train `preset` as a user would, in a process of its own. Raises Failed."""
    out = context.work / name
    command = ["-m", "fakelab", "generate", preset, "--real", real, "--out", out, "--count", count, *words]
    command += ["--device", context.device, "--set", "measure_every=0"]
    return watch(command, out, limit_s=_LIMIT_S)
