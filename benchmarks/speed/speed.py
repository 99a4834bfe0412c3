"""Compare the speed of fakelab with textbook code: `python -m benchmarks.speed [--real FOLDER]`.

Each measurement runs in its own process, plain and ours in turn, `--repeat` times; the table shows medians and the spread of
the ratio. Machines differ and are shared, so only the ratios are comparable.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

from benchmarks.speed.detectors import compare_decoding, compare_head, compare_resnet50, flatness
from benchmarks.speed.families import families
from fakecore.report.tables import table

FORMATS = ("png", "jpeg", "webdataset")
TARGETS = {
    "train dcgan-64": 2.7,
    **{f"sample, {name}, 64x64": 5.0 for name in FORMATS},
    "score, cnn": None,
    "score, resnet50": 4.0,
}
TARGETS["head on resnet50, 12 epochs"] = 8.0  # trainings per hour
HELP_LIMIT_S = 0.4
ENLARGE = ("--set", "upscale=true")  # CIFAR-10's images are 32x32
CHOICES = ("train", "sample", "score", "help", "resnet50", "head", "families", "flat", "score-flat")


@dataclass(frozen=True)
class Comparison:
    """One row of the table: images per second as (plain, ours), one pair per repetition."""

    name: str
    pairs: list[tuple[float, float]]

    def row(self) -> tuple[str, ...]:
        plain_median, ours_median = (statistics.median(values) for values in zip(*self.pairs, strict=True))
        ratios = sorted(ours / plain for plain, ours in self.pairs)
        target = TARGETS[self.name]
        median = statistics.median(ratios)
        wanted = f"{target:g}x, {'reached' if median >= target else 'MISSED'}" if target else ""
        return (
            self.name,
            f"{plain_median:,.0f}",
            f"{ours_median:,.0f}",
            f"{median:.2f}x",
            f"{ratios[0]:.2f} – {ratios[-1]:.2f}",
            wanted,
        )


def main() -> None:
    """Measure and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--real", type=Path, help="folder with one sub-folder per class, such as cifar10-dog/train")
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--epochs", type=int, default=3, help="epochs of training, 2 or more; the first is not timed")
    parser.add_argument("--count", type=int, default=10_000, help="number of fakes to write")
    parser.add_argument("--counts", default="1000,10000,100000", help="set sizes for --only flat")
    parser.add_argument("--only", choices=CHOICES, action="append")
    parser.add_argument(
        "--record", metavar="MACHINE", help="with --only families: store the times for `presets`, with this description"
    )
    options = parser.parse_args()
    wanted = options.only or ["train", "sample", "score", "help"]  # the others take long
    if "train" in wanted and options.epochs < 2:  # the first is not timed
        parser.error(f"--epochs is too small (got {options.epochs}; expected 2 or more)")
    with tempfile.TemporaryDirectory(prefix="fakelab-speed-") as scratch:
        work = Path(scratch)
        os.environ["FAKELAB_CACHE"] = str(work / "cache")
        real = options.real or _made_up_images(work / "images")
        comparisons = []
        if "train" in wanted:
            comparisons.append(_compare_training(real, work, options))
        if "sample" in wanted:
            comparisons += _compare_sampling(real, work, options)
        if "score" in wanted:
            comparisons.append(_compare_scoring(real, work, options))
        if "resnet50" in wanted:
            pairs = compare_resnet50(work, _plain, _ours, options.repeat)
            comparisons.append(Comparison("score, resnet50", pairs))
        remarks = []
        if "head" in wanted:
            pairs, remark = compare_head(work, _plain, _ours, options.repeat)
            comparisons.append(Comparison("head on resnet50, 12 epochs", pairs))
            remarks.append(remark)
        if "score" in wanted:
            remarks.append(compare_decoding(real, work / "detector", _ours, options.repeat))
        _print(comparisons, real)
        print("\n".join(remarks))
        if "families" in wanted:
            print(families(real, work, _ours, options.record))
        if "score-flat" in wanted:
            print(flatness(real, work, _small_detector(real, work), _ours))
        if "flat" in wanted:
            _print_flatness(real, work, options)
        if "help" in wanted:
            _print_help_time()


def _compare_training(real: Path, work: Path, options) -> Comparison:
    pairs = []
    for turn in range(options.repeat):
        plain = _plain("train", real, options.epochs)
        run = work / f"run-{turn}"
        words = ("--real", real, "--epochs", options.epochs, "--count", 3, "--out", run)
        _cli("generate", "dcgan-64", *ENLARGE, *words)
        # From the first epoch's checkpoint to the last one's, so writing checkpoints and snapshots is included.
        stamps = [(run / "checkpoints" / f"epoch-{epoch:04d}.json").stat().st_mtime for epoch in (1, options.epochs)]
        steps = json.loads((run / "checkpoints" / f"epoch-{options.epochs:04d}.json").read_text())["step"]
        ours = steps / options.epochs * (options.epochs - 1) * 128 / (stamps[1] - stamps[0])
        pairs.append((plain, ours))
    return Comparison("train dcgan-64", pairs)


def _compare_sampling(real: Path, work: Path, options) -> list[Comparison]:
    run = work / "run-sample"
    _cli("generate", "dcgan-64", *ENLARGE, "--real", real, "--epochs", 1, "--count", 3, "--out", run)
    checkpoint = run / "checkpoints" / "epoch-0001.safetensors"
    pairs: dict[str, list[tuple[float, float]]] = {name: [] for name in FORMATS}
    for turn in range(options.repeat):
        plain = _plain("sample", checkpoint, work / f"plain-{turn}", options.count)
        for image_format, found in pairs.items():
            out = work / f"{image_format}-{turn}"
            found.append((plain, options.count / _sample(run, out, options.count, image_format)["wall_s"]))
    return [Comparison(f"sample, {name}, 64x64", found) for name, found in pairs.items()]


def _print_flatness(real: Path, work: Path, options) -> None:
    """Print the time per image and the peak memory of sampling, for small and large sets."""
    run = work / "run-flat"
    _cli("generate", "dcgan-64", *ENLARGE, "--real", real, "--epochs", 0, "--count", 3, "--out", run)
    rows = []
    for image_format in FORMATS:
        for count in map(int, options.counts.split(",")):
            found = _sample(run, work / f"flat-{image_format}-{count}", count, image_format)
            wall, cpu = (f"{found[name] / count * 1000:.2f}" for name in ("wall_s", "cpu_s"))
            rows.append([image_format, f"{count:,}", wall, cpu, f"{found['peak_mb']:,.0f}"])
    print(table(("sample, 64x64", "images", "ms per image", "CPU ms per image", "peak MB"), rows))


def _sample(run: Path, out: Path, count: int, image_format: str) -> dict[str, float]:
    """Sample in a new process: its elapsed seconds, processor seconds and peak memory. Its files are deleted only at the
    end of all measurements, since a file system that is still freeing files creates new ones slowly.
    """
    return _ours(
        "import json, resource, time, fakegen; from pathlib import Path; "
        "began = time.perf_counter(), time.process_time(); "
        f"fakegen.sample(Path({str(run)!r}), Path({str(out)!r}), count={count}, image_format={image_format!r}); "
        "peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024; "
        "wall, cpu = time.perf_counter() - began[0], time.process_time() - began[1]; "
        "print(json.dumps({'wall_s': wall, 'cpu_s': cpu, 'peak_mb': peak}))"
    )


def _compare_scoring(real: Path, work: Path, options) -> Comparison:
    detector = _small_detector(real, work)
    pairs = []
    for _ in range(options.repeat):
        plain = _plain("score", real, detector)
        ours = _ours(
            "import time, fakedetect; "
            f"d = fakedetect.Detector.load({str(detector)!r}); began = time.perf_counter(); "
            f"n = sum(len(rows) for rows in fakedetect.score_files(fakedetect.list_inputs([{str(real)!r}]), d)); "
            "print(n / (time.perf_counter() - began))"
        )
        pairs.append((plain, ours))
    return Comparison("score, cnn", pairs)


def _small_detector(real: Path, work: Path) -> Path:
    """Folder of a `cnn` detector at 32x32, trained for one epoch."""
    run, detector = work / "run-score", work / "detector"
    if not detector.exists():
        small = ("--set", "resolution=32")
        _cli("generate", "dcgan-64", *small, "--real", real, "--epochs", 0, "--out", run)
        _cli("detect-train", run, "--out", detector, "--set", "epochs=1")
    return detector


def _plain(what: str, *arguments: object) -> Any:
    return json.loads(_run([sys.executable, "-m", "benchmarks.speed.plain", what, *map(str, arguments)]))


def _ours(code: str) -> Any:
    return json.loads(_run([sys.executable, "-c", code]))


def _cli(*arguments: object) -> None:
    _run([sys.executable, "-m", "cli", *map(str, arguments)])


def _run(command: list[str]) -> str:
    """Run a command and return its last line of output. If it fails, exit with its errors."""
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(f"{' '.join(command)}\n{done.stderr}")
    return done.stdout.strip().splitlines()[-1]


def _made_up_images(folder: Path, count: int = 2000) -> Path:
    """Write smooth random colour images, 64x64 JPEG, for measurements without a data set."""
    import cv2
    import numpy as np

    (folder / "made-up").mkdir(parents=True)
    random = np.random.default_rng(0)
    for index in range(count):
        image = cv2.resize(random.integers(0, 256, (6, 6, 3), dtype=np.uint8), (64, 64), interpolation=cv2.INTER_CUBIC)
        cv2.imwrite(str(folder / "made-up" / f"{index:05d}.jpg"), image)
    return folder


def _print(comparisons: list[Comparison], real: Path) -> None:
    import torch

    machine = torch.cuda.get_device_name() if torch.cuda.is_available() else platform.processor() or platform.machine()
    print(f"{date.today()}, {os.cpu_count()} cores, {machine}, torch {torch.__version__}, {real.name}\n")
    if not comparisons:
        return
    columns = ("images per second", "plain", "fakelab", "ratio", "spread", "target")
    print(table(columns, [comparison.row() for comparison in comparisons]))


def _print_help_time() -> None:
    times = []
    for _ in range(5):
        began = time.perf_counter()
        _run([sys.executable, "-m", "cli", "--help"])
        times.append(time.perf_counter() - began)
    median = statistics.median(times)
    print(f"--help: {median:.2f} s (target {HELP_LIMIT_S} s, {'reached' if median < HELP_LIMIT_S else 'MISSED'})")


if __name__ == "__main__":
    main()
