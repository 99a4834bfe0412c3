"""How long a training takes to start, by the number of photos: `python -m benchmarks.speed.reading [--counts 10000,50000]`.

Draws that many JPEG faces, 64x64, and starts `generate dcgan-64` on them twice: decoded, and from the cache. The time is that
from the command to the first line of metrics, which is written after 25 steps of 16 images.
"""

from __future__ import annotations

import argparse
import os
import resource
import tempfile
from datetime import date
from pathlib import Path

from benchmarks.material import CELEBA, write_faces
from benchmarks.processes import watch
from fakecore.report.tables import table

_STEPS = ("--set", "steps=25", "--set", "batch=16", "--set", "measure_every=0", "--count", 4)


def main() -> None:
    """Measure and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--counts", default=f"10000,50000,{CELEBA}", help="numbers of photos")
    options = parser.parse_args()
    rows = []
    with tempfile.TemporaryDirectory(prefix="fakelab-reading-") as scratch:
        os.environ["FAKELAB_CACHE"] = str(Path(scratch) / "cache")
        for count in map(int, options.counts.split(",")):
            work = Path(scratch) / str(count)
            real = write_faces(work / "photos", count, 64)
            words = ["-m", "fakelab", "generate", "dcgan-64", "--real", real, *_STEPS, "--out"]
            first, second = (watch([*words, work / name], work / name, limit_s=600).first_s for name in ("one", "two"))
            peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024  # of the largest process so far
            rows.append((f"{count:,}", f"{first:.1f}", f"{second:.1f}", f"{first / count * 1e6:.0f}", f"{peak:,.0f}"))
    print(f"{date.today()}, {os.cpu_count()} cores\n")
    print(table(("photos", "first start, s", "second start, s", "first, us a photo", "peak MB"), rows))


if __name__ == "__main__":
    main()
