"""How `score --engine ray` scales, and what kills cost: `python -m benchmarks.scale [--photos 3000] [--kills 30]`.

Rates: photos of 256x256 pixels, judged by `photos`; seconds until the first are judged, and photos a second then. Beside
`score`, a plain script for Ray Data and a pool of processes judge the same files. Kills: SIGKILL for workers, for the command,
and for nodes of a cluster that Ray simulates; then the rows are compared with those of a job that nothing disturbed.
"""

from __future__ import annotations

import argparse
import os
import tempfile
from contextlib import redirect_stdout
from datetime import date
from pathlib import Path

from benchmarks.material import write_faces
from benchmarks.scale import kills, rates
from fakecore.report.tables import table
from fakedetect.engine.cluster import RayNotes
from fakedetect.engine.request import Request
from fakedetect.models.detector import Detector

_SIDE, _SMALL = 256, 64


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--photos", type=int, default=3000, help="0: no rates")
    parser.add_argument("--kills", type=int, default=30, help="of each kind; 0: none")
    options = parser.parse_args()
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    print(f"{date.today()}, {os.cpu_count()} cores\n", flush=True)
    with tempfile.TemporaryDirectory(prefix="fakelab-scale-") as scratch:
        if options.photos:
            _print_rates(Path(scratch), options.photos)
        if options.kills:
            _print_kills(Path(scratch), options.kills)


def _print_rates(work: Path, count: int) -> None:
    files = sorted(write_faces(work / "photos", count, _SIDE).rglob("*.jpg"))
    measured = {
        "score, 1 processor": rates.of_score(files, work / "one.jsonl", 1),
        "--engine ray, 1 worker": rates.of_engine(files, work / "one", 1),
        "--engine ray, 2 workers": rates.of_engine(files, work / "two", 2),
        "score, 2 processors": rates.of_score(files, work / "two.jsonl", 2),
        "a Ray Data script, 2 workers": rates.of_plain_ray(files, 2),
        "a pool of 2 processes": rates.of_pool(files, 2),
    }
    rows = [(name, f"{one.start_s:.0f}", f"{one.rate:.0f}", f"{one.total_s:.0f}") for name, one in measured.items()]
    print(table(("", "first rows, s", "photos/s", f"{count:,} photos, s"), rows))
    one, two = measured["--engine ray, 1 worker"].rate, measured["--engine ray, 2 workers"].rate
    plain = measured["score, 1 processor"].rate
    print(
        f"\n2 workers / 1 worker {two / one:.2f} (goal 1.7); 1 worker / score {one / plain:.2f} (goal 0.9)\n",
        flush=True,
    )


def _print_kills(work: Path, count: int) -> None:
    files = sorted(write_faces(work / "small", 200 * count, _SMALL).rglob("*.jpg"))
    detector = Detector.load(rates.DETECTOR, "cpu")
    request = Request(rates.DETECTOR, {detector.id: detector.name}, device="cpu")
    rows = []
    for name, kill in (("workers", kills.workers), ("nodes", kills.nodes), ("commands", kills.drivers)):
        with redirect_stdout(RayNotes()):
            one = kill(request, files, work, count)
        rows.append((name, *(f"{value:,.0f}" for value in vars(one).values())))
        print(f"{name}: {one}", flush=True)
    print(table(("killed", "kills", "rows", "missing", "doubled", "different", "seconds"), rows))
    print(f"\nprocesses left over: {kills.left_over()}")


if __name__ == "__main__":
    main()
