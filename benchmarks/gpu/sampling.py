"""How fast fakes are made and written."""

from __future__ import annotations

import shutil

from benchmarks.gpu.context import Context
from benchmarks.gpu.figures import Figure
from benchmarks.processes import last_json, run

_LIMIT_S = 150.0


def measure_sampling(context: Context) -> list[Figure]:
    """Sample from the run of `measure_training`, start-up included, as shards and as PNG files."""
    sizes, made = context.sizes, context.work / "dcgan"
    seconds = {}
    for name, count in (("webdataset", sizes.shards), ("png", sizes.png)):
        out = context.work / f"fakes-{name}"
        words = ["-m", "fakelab", "sample", made, "--count", count, "--format", name, "--out", out]
        _, seconds[name] = run([*words, "--device", context.device], limit_s=_LIMIT_S)
        shutil.rmtree(out)
    checkpoint = max(made.glob("checkpoints/*.safetensors"))
    words = ["-m", "benchmarks.speed.plain", "sample", checkpoint, context.work / "plain", sizes.plain]
    plain = last_json(run(words, limit_s=_LIMIT_S)[0])
    in_shards, as_png = sizes.shards / seconds["webdataset"], sizes.png / seconds["png"]
    goal = 1_000_000 / 60 if context.device == "cuda" else None
    return [
        Figure(f"sample, {sizes.shards:,} fakes in shards", in_shards, "images/s", plain, goal=goal),
        Figure(f"sample, {sizes.png:,} PNG files", as_png, "images/s", plain),
    ]
