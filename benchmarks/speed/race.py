"""Measure the time of a race against its number of epochs: `python -m benchmarks.speed.race RUN [--detector dct]`.

Each race runs as its own command, `benchmark RUN --seeds 1`, in a new folder and with an empty cache. The table compares it
with the time of as many single trainings: races of one epoch, which train one detector once and test it once.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from fakecore.errors import UserError
from fakecore.messages import counted
from fakecore.progress import say
from fakecore.report.tables import table
from fakegen.runs.run import open_run

COLUMNS = ("epochs", "trainings", "tests", "elapsed s", "processor s", "fakes and distances s", "detector s")
COLUMNS += ("single trainings s", "ratio")


@dataclass(frozen=True)
class Cost:
    """Seconds that one race takes: elapsed and processor time in total, and their parts as elapsed time."""

    epochs: int
    elapsed: float
    processor: float
    shared: float  # drawing the fakes and measuring their distances, done once for all detectors
    detector: float  # its trainings and tests

    def row(self, one: Cost) -> list[str]:
        """Row of the table; `one` is the cost of the race of one epoch."""
        singles = self.epochs * one.detector
        trained = self.epochs + (self.epochs > 1)  # one more on all epochs together
        cells = [str(self.epochs), str(trained), str(trained * self.epochs)]
        cells += [f"{seconds:.1f}" for seconds in (self.elapsed, self.processor, self.shared, self.detector, singles)]
        return [*cells, f"{self.detector / singles:.2f}"]


def main() -> None:
    """Measure and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path, help="the folder of a run with many checkpoints")
    parser.add_argument("--detector", default="dct")
    parser.add_argument(
        "--epochs", default="5,10,20", help="numbers of epochs, one race each; at most all of the run's"
    )
    parser.add_argument("--per-epoch", type=int, default=2000)
    parser.add_argument("--set", action="append", default=[], help="field=value, as for benchmark")
    parser.add_argument(
        "--untrained",
        action="store_true",
        help="use a frozen backbone with random weights, which is as fast as a trained one",
    )
    options = parser.parse_args()
    try:
        on_disk = open_run(options.run, writes=False).epochs_on_disk()
    except UserError as error:
        sys.exit(str(error))
    counts = sorted({min(int(word), len(on_disk)) for word in options.epochs.split(",")} - {1})
    with tempfile.TemporaryDirectory(prefix="fakelab-speed-") as scratch:
        work = Path(scratch)
        words = [word for pair in options.set for word in ("--set", pair)]
        if options.untrained:
            words += ["--set", f"weights={_random_weights(options.detector, work)}"]
        words = ["--detectors", options.detector, "--per-epoch", str(options.per_epoch), *words]
        one = _cost(options.run, on_disk[-1:], words, work)
        rows = [one.row(one)]
        for count in counts:
            spread = [on_disk[position] for position in np.linspace(0, len(on_disk) - 1, count).round().astype(int)]
            rows.append(_cost(options.run, spread, words, work).row(one))
    print(table(COLUMNS, rows))


def _cost(run: Path, epochs: list[int], words: list[str], work: Path) -> Cost:
    out = work / f"race-{len(epochs)}"
    command = [sys.executable, "-m", "cli", "benchmark", str(run), "--epochs", ",".join(map(str, epochs))]
    command += ["--seeds", "1", "--out", str(out), "--json", *words]
    before, began = _processor_s(), time.perf_counter()
    environment = {**os.environ, "FAKELAB_CACHE": str(work / f"cache-{len(epochs)}")}
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    elapsed = time.perf_counter() - began
    if done.returncode:
        sys.exit(f"{' '.join(command)}\n{done.stderr}")
    seconds = json.loads(done.stdout)["seconds"]
    shared = seconds["drawing fakes, decoding reals"] + seconds["distances"]
    detector = seconds[words[words.index("--detectors") + 1]]
    say(f"{counted(len(epochs), 'epoch')}: {elapsed:.1f} s, parts: {seconds}")
    return Cost(len(epochs), elapsed, _processor_s() - before, shared, detector)


def _processor_s() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def _random_weights(detector: str, work: Path) -> Path:
    import timm
    import torch
    from safetensors.torch import save_file

    torch.manual_seed(0)
    path = work / "weights.safetensors"
    save_file(timm.create_model(detector.removeprefix("timm:"), num_classes=0).state_dict(), path)
    return path


if __name__ == "__main__":
    main()
