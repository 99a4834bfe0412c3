"""Give damaged files of every format to all that reads files: nothing may crash, hang, fill the memory or write.

python -m benchmarks.fuzz --mutations 10000
python -m benchmarks.fuzz --only vp9.webm,still.gif --seed 7 --out fuzz.json --keep findings
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import zlib
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from benchmarks.fuzz.mutate import mutant
from benchmarks.fuzz.seeds import seeds
from benchmarks.fuzz.supervise import FAILURES, Reader, Reading
from fakecore.report.tables import table

_REFUSALS = ("unreadable", "unsupported", "too_large")


@dataclass
class Result:
    """The readings of one format, added up; `findings` are its failures: number, status and detail."""

    counts: Counter[str] = field(default_factory=Counter)
    slowest_s: float = 0.0
    most_bytes: int = 0
    findings: list[dict] = field(default_factory=list)

    def add(self, number: int, reading: Reading) -> None:
        """Add the reading of mutation `number`."""
        self.counts[reading.status] += 1
        self.slowest_s, self.most_bytes = max(self.slowest_s, reading.seconds), max(self.most_bytes, reading.bytes)
        if reading.status in FAILURES:
            self.findings.append({"number": number, "status": reading.status, "detail": reading.detail})


def damaged(made: dict[str, bytes], name: str, number: int, seed: int) -> bytes:
    """Return mutation `number` of the format `name`: the same for the same seed, whatever else runs."""
    return mutant(made[name], list(made.values()), np.random.default_rng([seed, zlib.crc32(name.encode()), number]))


def fuzz(made: dict[str, bytes], name: str, mutations: int, seed: int, keep: Path | None = None) -> Result:
    """Read mutations 0 to `mutations` - 1 of a format, and write those that fail to the folder `keep`."""
    result = Result()
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        whole, file, scratch = folder / f"whole-{name}", folder / f"damaged-{name}", folder / "scratch"
        scratch.mkdir()
        whole.write_bytes(made[name])
        with Reader(whole, scratch) as reader:
            for number in range(mutations):
                data = damaged(made, name, number, seed)
                file.write_bytes(data)
                reading = reader.read(file)
                result.add(number, reading)
                if keep and reading.status in FAILURES:
                    keep.mkdir(parents=True, exist_ok=True)
                    (keep / f"{reading.status}-{seed}-{number}-{name}").write_bytes(data)
    return result


def formatted(results: dict[str, Result]) -> str:
    """Return the table of results, one line a format, and their sum."""
    every = Result()
    for one in results.values():
        every.counts += one.counts
        every.slowest_s, every.most_bytes = max(every.slowest_s, one.slowest_s), max(every.most_bytes, one.most_bytes)
    columns = ("ok", *_REFUSALS, *FAILURES)
    rows = []
    for name, one in (*results.items(), ("all", every)):
        counts = [one.counts[status] for status in columns]
        rows.append([name, one.counts.total(), *counts, f"{one.slowest_s:.2f}", f"{one.most_bytes / 1e6:.0f}"])
    return table(("format", "files", *columns, "slowest s", "most MB"), rows)


def main() -> None:
    """Run from the command line; exit status 1 if there is a finding."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--mutations", type=int, default=10_000, help="damaged files of each format")
    parser.add_argument("--only", default="", help="formats, separated by commas, or parts of their names")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, help="write the results to this .json file after each format")
    parser.add_argument("--keep", type=Path, help="write the files of findings to this folder")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        made = seeds(Path(temporary))
    names = [name for name in made if any(part in name for part in options.only.split(","))]
    if not names:
        parser.error(f"--only matches no format; expected one of {', '.join(made)}")
    results: dict[str, Result] = {}
    for name in names:
        results[name] = fuzz(made, name, options.mutations, options.seed, options.keep)
        failed = sum(results[name].counts[status] for status in FAILURES)
        print(f"{name}: {options.mutations:,} files, {failed} findings", file=sys.stderr, flush=True)
        if options.out:
            written = {"seed": options.seed, "mutations": options.mutations, "formats": _to_json(results)}
            options.out.write_text(json.dumps(written, indent=1) + "\n")
    print(formatted(results))
    sys.exit(any(one.findings for one in results.values()))


def _to_json(results: dict[str, Result]) -> dict[str, dict]:
    return {
        name: {
            "statuses": dict(one.counts),
            "slowest_s": round(one.slowest_s, 3),
            "most_bytes": one.most_bytes,
            "findings": one.findings,
        }
        for name, one in results.items()
    }
