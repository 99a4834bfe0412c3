"""How `score --engine ray` scales, and what kills cost: `python -m benchmarks.scale [--photos 3000] [--kills 30]`.

Rates: photos of 256x256 pixels, judged by `photos`; seconds until the first are judged, and photos a second then. Beside
`score`, a plain script for Ray Data and a pool of processes judge the same files.

Kills: SIGKILL for workers, for the command, and for nodes of a cluster that Ray simulates, while `score`, `sample` and
`sweep generate` run; then what they leave is compared with that of the same work undisturbed: rows, the SHA-256 of each file of
a set, checkpoints. Those of sets and sweeps are compared with work of one machine, without Ray.
"""

from __future__ import annotations

import argparse
import os
import tempfile
from datetime import date
from pathlib import Path

from benchmarks.material import write_faces
from benchmarks.scale import rates
from benchmarks.scale.kills import KINDS
from benchmarks.scale.works import WORKS
from fakecore.report.tables import table

_SIDE = 256  # pixels


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--photos", type=int, default=3000, help="0: no rates")
    parser.add_argument("--kills", type=int, default=30, help="of each kind; 0: none")
    parser.add_argument("--works", default=",".join(WORKS), help=f"what is killed, of {', '.join(WORKS)}")
    parser.add_argument("--kinds", default=",".join(KINDS), help=f"what of it is killed, of {', '.join(KINDS)}")
    options = parser.parse_args()
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    print(f"{date.today()}, {os.cpu_count()} cores\n", flush=True)
    with tempfile.TemporaryDirectory(prefix="fakelab-scale-") as scratch:
        if options.photos:
            _print_rates(Path(scratch), options.photos)
        if options.kills:
            _print_kills(Path(scratch), options.kills, options.works.split(","), options.kinds.split(","))


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


def _print_kills(scratch: Path, count: int, works: list[str], kinds: list[str]) -> None:
    rows = []
    for name in works:
        folder = scratch / name
        folder.mkdir()
        work = WORKS[name](folder, count)
        for kind in kinds:
            one = KINDS[kind](work, folder, count)
            rows.append((name, kind, *(f"{value:,.0f}" for value in vars(one).values())))
            print(f"{name}, {kind}: {one}", flush=True)
    heads = ("", "killed", "kills", "results", "missing", "doubled", "different", "left over", "seconds")
    print(table(heads, rows))


if __name__ == "__main__":
    main()
