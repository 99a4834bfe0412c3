"""How fast and how safe `serve` is: `python -m benchmarks.serve [--requests 10000] [--clients 50] [--kills 20] [--leak 0]`.

Load: photos of 256x256 pixels, one a request, judged by `photos`; beside `score` on the same files, and beside FastAPI's
plainest upload endpoint with the same detector. Clients and server share the machine. Kills: the server is killed while four
clients send jobs; afterwards every accepted job must be answered, once. Leak, `--leak 5000`: memory, open files and threads
before and after so many more requests, half of them refused.
"""

from __future__ import annotations

import argparse
import os
import tempfile
from datetime import date
from pathlib import Path

import numpy as np

from benchmarks.material import write_faces
from benchmarks.serve import kills, load
from benchmarks.serve.process import Serving
from fakecore.report.tables import table

_PORT = 8391
_PHOTOS, _SIDE = 1000, 256


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--requests", type=int, default=10_000)
    parser.add_argument("--clients", type=int, default=50)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--leak", type=int, default=0, metavar="REQUESTS")
    options = parser.parse_args()
    print(f"{date.today()}, {os.cpu_count()} cores")
    with tempfile.TemporaryDirectory(prefix="fakelab-serve-") as scratch:
        work = Path(scratch)
        photos = sorted(write_faces(work / "photos", _PHOTOS, _SIDE).rglob("*.jpg"))
        if options.requests:
            _print_load(work, photos, options.requests, options.clients)
        if options.leak:
            with _serve(work / "leak") as serving:
                _print_leak(serving, photos, options.leak, options.clients)
        if options.kills:
            with _serve(work / "kills", "--max-queue", "100000") as serving:
                print(vars(kills.run(serving, work / "kills", photos, options.kills)))


def _serve(data: Path, *more: str) -> Serving:
    words = ["-m", "fakelab", "serve", "--detector", "photos", "--port", str(_PORT), "--data", str(data), *more]
    return Serving(words, _PORT, data.with_suffix(".log"))


def _print_load(work: Path, photos: list[Path], count: int, clients: int) -> None:
    rates = [load.score_rate(photos[0].parent, len(photos)) for _ in range(2)]
    with _serve(work / "load") as serving:
        own = load.measure(serving, "/v1/score?stability=false", photos, count, clients)
    rates += [load.score_rate(photos[0].parent, len(photos)) for _ in range(2)]  # a machine's speed changes
    direct = float(np.median(rates))
    with Serving(["-m", "benchmarks.serve.plain", str(_PORT)], _PORT, work / "plain.log") as serving:
        plain = load.measure(serving, "/score", photos, max(1, count // 10), clients)  # it is slow
    print("score: " + ", ".join(f"{rate:.0f}" for rate in rates) + " photos/s, before and after serve")
    rows = [("score, from the files", f"{direct:.0f}", "", "", "", "")]
    for name, one in (("serve", own), ("plainest endpoint", plain)):
        ideal = one.ideal_s(clients)
        rows.append(
            (name, f"{one.rate:.0f}", f"{one.median_s:.3f}", f"{one.p99_s:.3f}", f"{ideal:.3f}", str(one.failed))
        )
    print(f"{count:,} requests of {clients} clients; a tenth of them to the plainest endpoint\n")
    print(table(("", "photos/s", "median, s", "p99, s", "ideal, s", "failed"), rows))
    print(
        f"\nserve / score {own.rate / direct:.2f} (goal 0.8); p99 / ideal {own.p99_s / own.ideal_s(clients):.1f} (goal 3)"
    )
    print(f"before: {own.before}\nafter:  {own.after}")


def _print_leak(serving: Serving, photos: list[Path], count: int, clients: int) -> None:
    for path in (
        "/v1/score?stability=false",
        "/v1/score?detector=nobody",
    ):  # answered, and refused once it was received
        found = load.measure(serving, path, photos, count // 2, clients)
        assert found.before and found.after
        grown = [after - before for before, after in zip(found.before.rss_mib, found.after.rss_mib, strict=False)]
        print(
            f"{count // 2:,} requests to {path}: server {grown[0]:+} MiB, workers {grown[1:]} MiB; open files "
            f"{found.before.files} -> {found.after.files}, threads {found.before.threads} -> {found.after.threads}"
        )


if __name__ == "__main__":
    main()
