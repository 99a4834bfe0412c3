"""How `score --engine ray` scales, and what kills cost: `python -m benchmarks.scale [--only rates,kills ...]`.

rates   photos of 256x256 pixels (--side), judged by `photos`: seconds until the first are judged, and photos a second then;
        beside `score`, a script for Ray Data and a pool of processes, which judge the same files
nodes   the same photos on a cluster of four nodes with one processor each, which Ray simulates on this machine
kills   SIGKILL for workers, for nodes of a simulated cluster and for the command, while `score`, `sample` and `sweep generate`
        run; then what they leave is compared with that of the same work undisturbed: rows, the SHA-256 of each file of a set,
        checkpoints; those of sets and sweeps with work of one machine, without Ray
small   many files of 32x32 pixels, hard links to 5,000, judged by a small detector: rows a second, bytes, memory, report, merge
large   files of 200 MB: memory
copies  a set at a URL whose store answers late, copied one file at a time, and several
"""

from __future__ import annotations

import argparse
import os
import tempfile
from argparse import Namespace
from collections.abc import Callable
from datetime import date
from pathlib import Path
from typing import Any

from benchmarks.material import write_faces
from benchmarks.scale import copies, others, processes, rates, volume
from benchmarks.scale.kills import KINDS
from benchmarks.scale.works import WORKS
from fakecore.report.tables import table


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default=",".join(_PARTS), help="parts, with commas between; default: all")
    parser.add_argument("--photos", type=int, default=3072, help="of rates and nodes")
    parser.add_argument("--ways", help="of rates, by their places in the table: 1,3,5; default: all")
    parser.add_argument("--side", type=int, default=256, help="of the photos of rates and nodes, pixels")
    parser.add_argument("--kills", type=int, default=30, help="of each kind")
    parser.add_argument("--works", default=",".join(WORKS), help="whose parts are killed")
    parser.add_argument("--kinds", default=",".join(KINDS), help="what of them is killed")
    parser.add_argument("--files", type=int, default=100_000, help="of small")
    parser.add_argument("--large", type=int, default=3, help="photos, and as many videos, of large")
    parser.add_argument("--copies", type=int, default=400, help="files of copies")
    options = parser.parse_args()
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    processes.mark()
    print(f"{date.today()}, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}", flush=True)
    for name in options.only.split(","):
        print(f"\n{name}", flush=True)
        with tempfile.TemporaryDirectory(prefix="fakelab-scale-") as scratch:
            _PARTS[name](Path(scratch), options)


def _rates(work: Path, options: Namespace) -> None:
    folder = write_faces(work / "photos", options.photos, options.side)
    files = sorted(folder.rglob("*.jpg"))
    ways = {
        "score, 1 processor": (rates.of_score, files, work / "one.jsonl", 1),
        "--engine ray, 1 worker": (rates.of_engine, files, work / "one", 1),
        "--engine ray, 2 workers": (rates.of_engine, files, work / "two", 2),
        "score, 2 processors": (rates.of_score, files, work / "two.jsonl", 2),
        "a Ray Data script, 2 actors": (others.of_ray_data, folder, work / "ray-data", 2),
        "a pool of 2 processes": (others.of_pool, files, work / "pool", 2),
    }
    chosen = options.ways.split(",") if options.ways else [str(number) for number in range(1, len(ways) + 1)]
    measured = {}
    for number, (name, way) in enumerate(ways.items(), 1):
        if str(number) in chosen:
            measured[name] = _watched(*way)
            print(f"{name}: {measured[name]}", flush=True)
    _print_rates(measured, len(files))


def _nodes(work: Path, options: Namespace) -> None:
    files = sorted(write_faces(work / "photos", options.photos, options.side).rglob("*.jpg"))
    count = os.cpu_count() or 1
    measured = {
        f"this machine, {count} workers": _watched(rates.of_engine, files, work / "one", count),
        "4 simulated nodes, 4 workers": _watched(rates.of_nodes, files, work / "four", 4),
    }
    _print_rates(measured, len(files))


def _watched(measure: Callable[[Any, Path, int], rates.Rate], *words: Any) -> tuple[rates.Rate, float]:
    """Return a rate, and the processor time that all of it took, in seconds: other work on the machine changes it less."""
    with processes.watched() as usage:
        return measure(*words), usage.cpu_s


def _print_rates(measured: dict[str, tuple[rates.Rate, float]], count: int) -> None:
    rows = [
        (name, f"{one.start_s:.0f}", f"{one.rate:.0f}", f"{one.total_s:.0f}", f"{cpu_s:.0f}")
        for name, (one, cpu_s) in measured.items()
    ]
    print(table(("", "first rows, s", "photos/s", f"{count:,} photos, s", "CPU, s"), rows), flush=True)


def _kills(scratch: Path, options: Namespace) -> None:
    rows = []
    for name in options.works.split(","):
        folder = scratch / name
        folder.mkdir()
        work = WORKS[name](folder, options.kills)
        for kind in options.kinds.split(","):
            one = KINDS[kind](work, folder, options.kills)
            rows.append((name, kind, *(f"{value:,.0f}" for value in vars(one).values())))
            print(f"{name}, {kind}: {one}", flush=True)
    heads = ("", "killed", "kills", "results", "missing", "doubled", "different", "left over", "seconds")
    print(table(heads, rows))


def _small(work: Path, options: Namespace) -> None:
    folder, detector = volume.small_files(work, options.files)
    job = work / "job"
    words = (folder, "--detector", detector, "--engine", "ray", "--out", job, "--device", "cpu")
    calls = {
        "score --engine ray": volume.command("score", *words),
        "report": volume.command("report", job),
        "report --out report.html": volume.command("report", job, "--out", work / "report.html"),
        "merge --out all.parquet": volume.command("merge", job, "--out", work / "all.parquet"),
    }
    _print_calls(calls)
    listing, rows = volume.bytes_of(job)
    each = f"{listing / options.files:.1f} bytes a path, {rows / options.files:.0f} bytes a row"
    print(f"{volume.rows_in(job):,} rows; {options.files / calls['score --engine ray'].seconds:,.0f} a second; {each}")


def _large(work: Path, options: Namespace) -> None:
    folder = volume.large_files(work, options.large)
    words = (folder, "--detector", rates.DETECTOR, "--engine", "ray", "--out", work / "job", "--device", "cpu")
    _print_calls({"score --engine ray": volume.command("score", *words, "--whole-frame", "--part-files", 1)})
    print(f"{volume.rows_in(work / 'job')} rows of {2 * options.large} files")


def _print_calls(calls: dict[str, volume.Call]) -> None:
    rows = []
    for name, call in calls.items():
        memory = ", ".join(f"{kind} {most:,.0f}" for kind, most in call.usage.most.items())
        store = f"{call.usage.store:,.0f}" if call.usage.store else ""
        rows.append((name, f"{call.seconds:.0f}", f"{call.usage.cpu_s:.0f}", memory, store))
    print(table(("", "s", "CPU, s", "MiB at most, of one", "object store, MiB"), rows), flush=True)


def _copies(work: Path, options: Namespace) -> None:
    late_s, size = 0.05, 20_000
    rows = [
        (transfers, f"{copies.seconds(options.copies, size, late_s, transfers):.1f}")
        for transfers in (1, 4, copies.mirror._TRANSFERS, 32)
    ]
    print(
        table(
            ("at a time", f"{options.copies:,} files of {size // 1000} KB, answers {late_s * 1000:.0f} ms late, s"),
            rows,
        )
    )


_PARTS = {"copies": _copies, "large": _large, "rates": _rates, "nodes": _nodes, "kills": _kills, "small": _small}

if __name__ == "__main__":
    main()
