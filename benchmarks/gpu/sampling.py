"""How fast fakes are made and written."""

from __future__ import annotations

import shutil

from benchmarks.gpu.context import Context
from benchmarks.gpu.figures import Figure
from benchmarks.processes import last_json, run

_LIMIT_S = 150.0
_MILLION = 1_000_000


def measure_sampling(context: Context) -> list[Figure]:
    """Sample from the run of `measure_training`, start-up included, as shards and as PNG files."""
    sizes, made = context.sizes, context.work / "dcgan"

    def seconds(image_format: str, count: int) -> float:
        out = context.work / "fakes"
        words = ["-m", "fakelab", "sample", made, "--count", count, "--format", image_format, "--out", out]
        _, found = run([*words, "--device", context.device], limit_s=_LIMIT_S)
        shutil.rmtree(out)
        return found

    few, many = sizes.shards
    began, ended, as_png = seconds("webdataset", few), seconds("webdataset", many), seconds("png", sizes.png)
    each = max(ended - began, 1e-9) / (many - few)
    checkpoint = max(made.glob("checkpoints/*.safetensors"))
    words = ["-m", "benchmarks.speed.plain", "sample", checkpoint, context.work / "plain", sizes.plain]
    plain = last_json(run(words, limit_s=_LIMIT_S)[0])
    million = began + each * (_MILLION - few)
    goal = 60.0 if context.device == "cuda" else None
    return [
        Figure(f"sample, shards, beyond {few:,}", 1 / each, "images/s", plain),
        Figure("a million fakes in shards, from that", million, "s", _MILLION / plain, goal=goal, less_is_better=True),
        Figure(f"sample, {sizes.png:,} PNG files", sizes.png / as_png, "images/s", plain),
    ]
