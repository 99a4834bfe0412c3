"""What must hold on every machine: equal bytes, resumption, and scores that agree with those of a CPU.

`python -m benchmarks.gpu.checks DEVICE WORK` runs them in a process of its own, and prints a line of JSON for each.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import redirect_stdout
from dataclasses import asdict
from functools import partial
from pathlib import Path

import numpy as np
import torch

import fakegen
from benchmarks.gpu.figures import Check
from benchmarks.material import draw_face, write_faces
from fakecore.files import read_jsonl
from fakedetect import Detector
from fakegen.runs.run import open_run
from fakegen.training.graphs import VARIABLE

_CHANGES = {"batch": 16, "epochs": 4, "g_width": 16, "d_width": 16, "measure_every": 0, "checkpoint_every": 1}
_LIMIT_S = 120.0


def main() -> None:
    """Run all checks; a check that fails with an error does not hold."""
    device, work = sys.argv[1], Path(sys.argv[2])
    real = write_faces(work / "check-faces", 128, 64)
    checks: dict[str, Callable[[], str]] = {
        "steps in graphs give the weights of single operations": partial(_graphs, device, real, work),
        "the same seed gives the same bytes": partial(_same_seed, device, real, work),
        "a killed run resumes to the same bytes": partial(_killed, device, real, work),
        "scores agree with those of the CPU in fp32": partial(_scores, device),
    }
    if device == "cpu":
        del checks["steps in graphs give the weights of single operations"]  # there are no graphs
    for name, check in checks.items():
        try:
            with redirect_stdout(sys.stderr):
                difference = check()
            found = Check(name, not difference, difference)
        except Exception as error:  # the others are still of use
            found = Check(name, False, f"{type(error).__name__}: {error}")
        print(json.dumps(asdict(found)), flush=True)


def _train(device: str, real: Path, out: Path, preset: str = "dcgan-64", **changes: object) -> dict[str, torch.Tensor]:
    fakegen.train(preset, out=out, real=str(real), changes={**_CHANGES, **changes}, count=8, seed=5, device=device)
    return _state(out)


def _state(run: Path) -> dict[str, torch.Tensor]:
    saved = open_run(run).load_state()
    assert saved, "a finished run has a state"
    return saved[1]


def _graphs(device: str, real: Path, work: Path) -> str:
    for preset, changes in (("dcgan-64", {}), ("modern-64", {"r1": 1.0, "r1_every": 4})):
        states = []
        for wish in ("1", "0"):
            os.environ[VARIABLE] = wish
            states.append(_train(device, real, work / f"{preset}-{wish}", preset, **changes))
        del os.environ[VARIABLE]
        if found := _difference(*states):
            return f"{preset}: {found}"
    return ""


def _same_seed(device: str, real: Path, work: Path) -> str:
    return _difference(_train(device, real, work / "one"), _train(device, real, work / "two"))


def _killed(device: str, real: Path, work: Path) -> str:
    """Kill a run in its second epoch or later, resume it, and compare it with one that was not stopped."""
    out = work / "killed"
    words = [sys.executable, "-m", "fakelab", "generate", "dcgan-64", "--real", real, "--out", out, "--seed", 5]
    words += ["--count", 8, "--device", device]
    epochs = 6 if device == "cpu" else 300  # a GPU makes 12 before one looks
    words += [word for name, value in (_CHANGES | {"epochs": epochs}).items() for word in ("--set", f"{name}={value}")]
    process = subprocess.Popen(list(map(str, words)), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    began = time.perf_counter()
    while process.poll() is None and not any(line["epoch"] > 1 for line in read_jsonl(out / "metrics.jsonl")):
        if time.perf_counter() - began > _LIMIT_S:
            process.kill()
            return f"no second epoch after {_LIMIT_S:.0f} s"
        time.sleep(0.02)
    if process.poll() is not None:
        return "it ended before it could be killed"
    process.send_signal(signal.SIGKILL)
    process.wait()
    fakegen.resume(out, device=device)
    return _difference(_state(out), _train(device, real, work / "whole", epochs=epochs))


def _scores(device: str) -> str:
    random = np.random.default_rng(3)
    photos = [np.ascontiguousarray(draw_face(random, 128)[..., ::-1]) for _ in range(64)]
    here, there = (
        np.array([one.p_fake for one in Detector.load("photos", place).score(photos)]) for place in (device, "cpu")
    )
    apart = float(np.abs(here - there).max())
    return "" if apart <= 1e-2 else f"p_fake differs by {apart:.4f}"


def _difference(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> str:
    """Return how two states differ; empty if they are equal to the last bit."""
    if one.keys() != other.keys():
        return "other tensors"
    apart = [name for name in one if not torch.equal(one[name].cpu(), other[name].cpu())]
    if not apart:
        return ""
    largest = max(float((one[name].float() - other[name].float()).abs().max()) for name in apart)
    return f"{len(apart)} of {len(one)} tensors differ, by {largest:.2g} at most"


if __name__ == "__main__":
    main()
