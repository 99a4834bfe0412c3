"""Measure fakelab on a GPU: `python -m benchmarks.gpu [--out FILE.json] [--only PART]`; 8 minutes on an H100 with 16 cores.

It draws its own photos, runs the commands of fakelab beside textbook scripts, checks that results are reproducible, and runs
the tests that need a GPU. `--dry-run` does all of it on a few images on the CPU. A part that fails is named, and costs no
other.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from datetime import date
from importlib.util import find_spec
from pathlib import Path
from threading import Event
from typing import Any

from benchmarks.gpu.context import FULL, TINY, Context
from benchmarks.gpu.detectors import measure_detectors
from benchmarks.gpu.figures import Check, Figure, print_table
from benchmarks.gpu.sampling import measure_sampling
from benchmarks.gpu.training import measure_training
from benchmarks.processes import Failed, run
from fakecore.files import write_json

OPTIONAL = ("av", "captum", "datasets", "facenet_pytorch", "onnxruntime", "pytest", "webdataset", "xdist")
ROOT = Path(__file__).parents[2]


def main() -> None:
    """Run all parts; the exit status is 1 if a part failed or a check does not hold."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, help="also write the results as JSON, after each part")
    parser.add_argument("--only", choices=tuple(PARTS), action="append", help="one part; repeat it for several")
    parser.add_argument("--dry-run", action="store_true", help="a few images, on the CPU")
    options = parser.parse_args()
    import torch

    if not (options.dry_run or torch.cuda.is_available()):
        parser.exit(2, "error: PyTorch finds no GPU on this machine (expected one; --dry-run runs on the CPU)\n")
    out = options.out.absolute() if options.out else None
    os.chdir(ROOT)
    if options.dry_run:
        os.environ["CUDA_VISIBLE_DEVICES"] = ""
        os.environ["OMP_NUM_THREADS"] = "1"  # two parts run at a time, and threads of each would wait for one another
    facts = describe_machine(on_gpu=not options.dry_run)
    print(", ".join(f"{name} {value}" for name, value in facts.items()))
    figures: list[Figure] = []
    checks: list[Check] = []
    failures: dict[str, str] = {}
    with tempfile.TemporaryDirectory(prefix="fakelab-gpu-") as scratch:
        os.environ["FAKELAB_CACHE"] = str(Path(scratch) / "cache")
        context = Context(Path(scratch), "cpu" if options.dry_run else "cuda", TINY if options.dry_run else FULL)
        names = [name for name in PARTS if name in (options.only or PARTS)]
        for name, answer in run_parts(names, context, at_once=2 if options.dry_run else 1):
            if isinstance(answer, str):
                failures[name] = answer
            else:
                figures += [one for one in answer if isinstance(one, Figure)]
                checks += [one for one in answer if isinstance(one, Check)]
            if out:
                results = {"figures": [one.to_json() for one in figures], "checks": [asdict(one) for one in checks]}
                write_json(out, {"machine": facts, **results, "failures": failures})
    print()
    print_table(figures)
    for check in checks:
        print(
            f"{'holds' if check.holds else 'DOES NOT HOLD'}: {check.name}{f' ({check.detail})' if check.detail else ''}"
        )
    for name, why in failures.items():
        print(f"FAILED: {name}: {why}")
    sys.exit(1 if failures or not all(check.holds for check in checks) else 0)


def run_parts(names: Sequence[str], context: Context, at_once: int) -> Iterator[tuple[str, list[Any] | str]]:
    """Run parts, in the order of PARTS, and yield each with what it found, or why it failed: a part that fails costs no other.
    `at_once` are run at a time, for a trial in which their speed does not matter; `sampling` comes after `training`, whose run
    it needs.
    """
    if at_once > 1:
        _ = context.faces, context.some  # made before two threads ask for them
    done = {name: Event() for name in names}

    def run_one(name: str) -> list[Any] | str:
        if name == "sampling" and "training" in done:
            done["training"].wait()
        began = time.perf_counter()
        try:
            return list(PARTS[name](context))
        except Exception as error:
            return str(error) if isinstance(error, Failed) else f"{type(error).__name__}: {error}"
        finally:
            print(f"{name}: {time.perf_counter() - began:.0f} s", file=sys.stderr, flush=True)
            done[name].set()

    with ThreadPoolExecutor(at_once) as pool:
        yield from zip(names, pool.map(run_one, names), strict=True)


def describe_machine(*, on_gpu: bool) -> dict[str, str]:
    """Return what figures depend on, and the optional packages that are missing."""
    import torch

    missing = [name for name in OPTIONAL if find_spec(name) is None]
    return {
        "date": str(date.today()),
        "device": torch.cuda.get_device_name() if on_gpu else platform.processor() or platform.machine(),
        "cores": str(os.cpu_count()),
        "torch": torch.__version__,
        "python": platform.python_version(),
        "missing packages": ", ".join(missing) or "none",
    }


def check_all(context: Context) -> list[Check]:
    """Run the checks in a process of their own."""
    output, _ = run(["-m", "benchmarks.gpu.checks", context.device, context.work], limit_s=200)
    return [Check(**json.loads(line)) for line in output.splitlines() if line.startswith("{")]


def run_tests(context: Context) -> list[Check]:
    """Run the tests that are marked `gpu`; without a GPU they are only collected."""
    if find_spec("pytest") is None or find_spec("xdist") is None:
        return [Check("tests marked gpu", False, "pytest and pytest-xdist are not installed")]
    how = ["-n", "2"] if context.device == "cuda" else ["-n", "0", "--collect-only"]
    try:
        output, _ = run(["-m", "pytest", "-m", "gpu", *how, "tests/fakegen"], limit_s=200)
    except Failed as error:
        return [Check("tests marked gpu", False, str(error))]
    counts = output.strip().splitlines()[-1]
    if context.device == "cpu":
        return []
    return [Check("tests marked gpu", "passed" in counts and "skipped" not in counts, counts)]


PARTS: dict[str, Callable[[Context], list[Figure] | list[Check]]] = {
    "training": measure_training,
    "checks": check_all,
    "detectors": measure_detectors,
    "sampling": measure_sampling,
    "tests": run_tests,
}

if __name__ == "__main__":
    main()
