"""What is killed: commands with `--engine ray`, and what must be the same afterwards."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from benchmarks.material import write_faces
from benchmarks.scale.rates import DETECTOR
from fakedetect.engine.job import Job

Result = tuple[str, object]  # what it is of, and its value

_PROGRAM = [sys.executable, "-m", "fakelab"]


@dataclass(frozen=True)
class Work:
    """A command, and what it leaves. `words(out)` are those of the command without an engine, `again` those that resume it;
    `quiet(out)` does the same work undisturbed; `done(out)` counts what is finished, and `results(out)` has what must be equal.
    """

    words: Callable[[Path], list[object]]
    again: tuple[str, ...]
    quiet: Callable[[Path], list[object]]
    done: Callable[[Path], int]
    results: Callable[[Path], list[Result]]
    pause_s: tuple[float, float]  # before each kill

    def command(self, out: Path, *more: object) -> list[str]:
        """Return the command line with the engine."""
        again = self.again if out.exists() else ()
        return [*_PROGRAM, *map(str, [*self.words(out), *again, "--engine", "ray", *more])]

    def run_quiet(self, out: Path) -> None:
        """Do the work once, undisturbed, on one processor of each process."""
        if not out.exists():
            words = [*_PROGRAM, *map(str, self.quiet(out))]
            one_thread = {**os.environ, "OMP_NUM_THREADS": "1"}
            subprocess.run(words, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=one_thread)


def score(work: Path, kills: int) -> Work:
    """200 photos of 64 pixels for each kill, in parts of 16; their rows."""
    photos = write_faces(work / "small", 200 * kills, 64)

    def words(out: Path) -> list[object]:
        return ["score", photos, "--detector", DETECTOR, "--part-files", 16, "--device", "cpu", "--out", out]

    def done(out: Path) -> int:
        return len(list((out / "parts").glob("part-*.parquet")))

    def results(out: Path) -> list[Result]:
        job = Job.open(str(out))
        parts = (job.rows_of(part, ["path", "p_fake"]) for part in sorted(job.finished()))
        return [(row["path"], row["p_fake"]) for rows in parts for row in rows]

    return Work(words, (), lambda out: [*words(out), "--engine", "ray"], done, results, (1.0, 4.0))


def sample(work: Path, kills: int) -> Work:
    """400 fakes of 64 pixels for each kill; every file of the set, and every line of its manifest."""
    run = work / "gan"
    if not run.exists():
        made = ["generate", "dcgan-64", "--real", "digits", "--epochs", 0, "--count", 3, "--set", "upscale=true"]
        subprocess.run(
            [*_PROGRAM, *map(str, [*made, "--device", "cpu", "--out", run])], check=True, stdout=subprocess.DEVNULL
        )

    def words(out: Path) -> list[object]:
        return ["sample", run, "--count", 400 * kills, "--device", "cpu", "--out", out]

    def done(out: Path) -> int:
        manifest = out / "metadata.jsonl"
        return manifest.read_bytes().count(b"\n") if manifest.exists() else 0

    def results(out: Path) -> list[Result]:
        lines = (out / "metadata.jsonl").read_text().splitlines()
        return [*_files(out, out), *((f"line {json.loads(line)['file_name']}", line) for line in lines)]

    return Work(words, ("--resume",), words, done, results, (1.0, 4.0))


def sweep(work: Path, kills: int) -> Work:
    """Four trainings of a small GAN; their checkpoints and sets."""
    small = {
        "resolution": 16,
        "g_width": 16,
        "d_width": 16,
        "checkpoint_every": 1,
        "measure_every": 0,
        "snapshot_every": 100,
    }

    def words(out: Path) -> list[object]:
        changed = [word for name, value in small.items() for word in ("--set", f"{name}={value}")]
        grid = ["--over", "lr=1e-3,1e-4", "--over", "batch=16,32", "--epochs", 20 * kills, *changed]
        return ["sweep", "generate", "digits-32", "--real", "digits:3", *grid, "--device", "cpu", "--out", out]

    def done(out: Path) -> int:
        return len(list(out.glob("runs/*/checkpoints/*.safetensors")))

    def results(out: Path) -> list[Result]:
        folders = [path for path in sorted(out.glob("runs/*/*")) if path.name in ("checkpoints", "set")]
        return [one for folder in folders for one in _files(out, folder)]

    return Work(words, (), words, done, results, (0.0, 5.0))


WORKS = {"score": score, "sample": sample, "sweep": sweep}


def _files(out: Path, folder: Path) -> Iterator[Result]:
    """Yield (path in `out`, SHA-256) of every file below a folder, hidden ones too, but for locks."""
    for path in sorted(folder.rglob("*")):
        if path.is_file() and path.name != ".lock":
            yield str(path.relative_to(out)), hashlib.sha256(path.read_bytes()).hexdigest()
