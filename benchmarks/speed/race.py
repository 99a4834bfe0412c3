"""What a race costs, and how that grows with its epochs: `python -m benchmarks.speed.race RUN [--detector dct]`.

Each race is a command of its own, `benchmark RUN --seeds 1`, in a new folder and with an empty cache. Beside it stands what
as many single trainings cost: races of one epoch, whose detector is trained once and tested once.
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
    """Of one race: elapsed seconds and those of processors, of everything; `detector` is what its trainings and tests took."""

    epochs: int
    elapsed: float
    processor: float
    shared: float  # drawing the fakes and measuring their distances, which every detector profits from
    detector: float

    def row(self, one: Cost) -> list[str]:
        """A line of the table, beside the race of one epoch."""
        singles = self.epochs * one.detector
        trained = self.epochs + (self.epochs > 1)  # and one on all epochs together
        cells = [str(self.epochs), str(trained), str(trained * self.epochs)]
        cells += [f"{seconds:.1f}" for seconds in (self.elapsed, self.processor, self.shared, self.detector, singles)]
        return [*cells, f"{self.detector / singles:.2f}"]


def main() -> None:
    """Measure and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path, help="the folder of a run with many checkpoints")
    parser.add_argument("--detector", default="dct")
    parser.add_argument("--epochs", default="5,10,20", help="how many; as many as there are, where that is fewer")
    parser.add_argument("--per-epoch", type=int, default=2000)
    parser.add_argument("--set", action="append", default=[], help="field=value, as for benchmark")
    parser.add_argument(
        "--untrained", action="store_true", help="a frozen backbone of random weights: as fast as others"
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
            spread = [on_disk[place] for place in np.linspace(0, len(on_disk) - 1, count).round().astype(int)]
            rows.append(_cost(options.run, spread, words, work).row(one))
    print(table(COLUMNS, rows))


def _cost(run: Path, epochs: list[int], words: list[str], work: Path) -> Cost:
    out = work / f"race-{len(epochs)}"
    command = [sys.executable, "-m", "cli", "benchmark", str(run), "--epochs", ",".join(map(str, epochs))]
    command += ["--seeds", "1", "--out", str(out), "--json", *words]
    before, began = _processor_s(), time.perf_counter()
    surroundings = {**os.environ, "FAKELAB_CACHE": str(work / f"cache-{len(epochs)}")}
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=surroundings)
    elapsed = time.perf_counter() - began
    if done.returncode:
        sys.exit(f"{' '.join(command)}\n{done.stderr}")
    seconds = json.loads(done.stdout)["seconds"]
    shared = seconds["drawing fakes, decoding reals"] + seconds["distances"]
    detector = seconds[words[words.index("--detectors") + 1]]
    say(f"{counted(len(epochs), 'epoch')}: {elapsed:.1f} s, by what was done {seconds}")
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
