"""How fast GANs start, and how fast they train."""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from benchmarks.gpu.context import Context
from benchmarks.gpu.figures import Failed, Figure, last_json, run
from fakecore.files import read_jsonl

_LIMIT_S = 200.0


@dataclass(frozen=True)
class Timed:
    """Seconds from the start of the command to the first line of metrics, and to its end; images/s once it has settled."""

    first_s: float
    total_s: float
    rate: float


def measure_training(context: Context) -> list[Figure]:
    """Train `dcgan-64` on the large source, start it again, and train `modern-64` on the small one."""
    sizes, on_gpu = context.sizes, context.device == "cuda"
    batch = ("--set", f"batch={sizes.batch}")
    photos = f"{sizes.faces:,} photos"
    first = generate(context, "dcgan-64", context.faces, "dcgan", "--epochs", sizes.epochs, *batch)
    again = generate(context, "dcgan-64", context.faces, "again", "--set", "steps=50", *batch)
    modern = generate(context, "modern-64", context.some, "modern", "--set", f"steps={sizes.modern_steps}")
    workers = min(12, os.cpu_count() or 1)
    plain = last_json(run(["-m", "benchmarks.speed.plain", "train", context.some, 3, workers], limit_s=_LIMIT_S)[0])
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
    return watch([sys.executable, *map(str, command)], out)


def watch(command: list[str], out: Path) -> Timed:
    """Run a training until it ends, and look at its metrics. Raises Failed."""
    metrics, first = out / "metrics.jsonl", None
    began = time.perf_counter()
    with (out.parent / f"{out.name}.log").open("w+") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log)
        while process.poll() is None:
            if first is None and metrics.is_file() and metrics.stat().st_size:
                first = time.perf_counter() - began
            if time.perf_counter() - began > _LIMIT_S:
                process.kill()
                raise Failed(f"ran past {_LIMIT_S:.0f} s: {' '.join(command)}")
            time.sleep(0.02)
        total = time.perf_counter() - began
        if process.returncode:
            log.seek(0)
            raise Failed(f"{' '.join(command)}: {' | '.join(log.read().strip().splitlines()[-3:])}")
    lines = read_jsonl(metrics)
    settled = [line["images_per_s"] for line in lines[len(lines) // 2 :]]
    return Timed(first or total, total, statistics.median(settled))
