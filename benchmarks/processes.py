"""Run commands in processes of their own, and time them."""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fakecore.files import read_jsonl


class Failed(Exception):
    """A command failed or ran past its time; the text is the end of its output."""


@dataclass(frozen=True)
class Timed:
    """Seconds from the start of the command to the first line of metrics, and to its end; images/s once it has settled."""

    first_s: float
    total_s: float
    rate: float


def run(words: list[object], *, limit_s: float, cwd: Path | None = None) -> tuple[str, float]:
    """Run this Python with `words`; return its output and its seconds. Raises Failed."""
    began = time.perf_counter()
    command = [sys.executable, *map(str, words)]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=limit_s, cwd=cwd)
    except subprocess.TimeoutExpired as late:
        raise Failed(f"ran past {limit_s:.0f} s: {' '.join(map(str, words))} {_end(late.stderr)}") from None
    if done.returncode:
        raise Failed(f"{' '.join(map(str, words))}: {_end(done.stderr) or _end(done.stdout)}")
    return done.stdout, time.perf_counter() - began


def last_json(output: str) -> Any:
    """Return the JSON of the last line of an output."""
    return json.loads(output.strip().splitlines()[-1])


def _end(output: str | bytes | None) -> str:
    text = output.decode(errors="replace") if isinstance(output, bytes) else output or ""
    return " | ".join(text.strip().splitlines()[-3:])


def watch(words: list[object], out: Path, *, limit_s: float) -> Timed:
    """Run this Python with `words`, a training into the folder `out`, and look at its metrics. Raises Failed."""
    command = [sys.executable, *map(str, words)]
    metrics, first = out / "metrics.jsonl", None
    began = time.perf_counter()
    with (out.parent / f"{out.name}.log").open("w+") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log)
        while process.poll() is None:
            if first is None and metrics.is_file() and metrics.stat().st_size:
                first = time.perf_counter() - began
            if time.perf_counter() - began > limit_s:
                process.kill()
                raise Failed(f"ran past {limit_s:.0f} s: {' '.join(command)}")
            time.sleep(0.02)
        total = time.perf_counter() - began
        if process.returncode:
            log.seek(0)
            raise Failed(f"{' '.join(command)}: {' | '.join(log.read().strip().splitlines()[-3:])}")
    lines = read_jsonl(metrics)
    settled = [line["images_per_s"] for line in lines[len(lines) // 2 :]]
    return Timed(first or total, total, statistics.median(settled))
