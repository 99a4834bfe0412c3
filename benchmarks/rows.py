"""How long `report` takes for many rows, and how much memory.

python -m benchmarks.rows --rows 10000000
python -m benchmarks.rows --rows 10000000 --folder rows/ --keep

The rows are made by DuckDB: paths of the length of those of photo archives, SHA-256 as hexadecimal digits, p_fake of two
peaks, a tenth of the rows with provenance, a thousandth judged twice.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import shutil
import subprocess
import sys
import time
from pathlib import Path

from fakecore.errors import UserError
from fakecore.report.tables import table
from fakedetect.engine.rows import PARQUET_COLUMNS, schema

_PART = 500_000  # rows of a file
_TWICE = 1000  # one row of so many has the path of another
_EVIDENCE = (
    '{"points_to":"%s","findings":[{"says":"parameters of a Stable Diffusion web UI: a house by the sea, 30 steps",'
    '"where":"PNG, chunk tEXt","points_to":"%s","strength":"medium","forged":"a text: anyone can write or remove it"}]}'
)
# Of row `i`, from random numbers that depend on it only; `u` and `v` are uniform in [0, 1).
_VALUES = {
    "path": "'/archive/photos/' || (2005 + (i // 400000)) || '/' || printf('%02d', (i // 30000) % 12 + 1) || '/event-' || "
    "printf('%05d', i // 250) || '/IMG_' || printf('%08d', i) || '-' || left(md5(i::VARCHAR), 8) || '.jpg'",
    "status": "CASE WHEN v < 0.004 THEN 'unreadable' ELSE 'ok' END",
    "kind": "'image'",
    "p_fake": "round(CASE WHEN u < 0.9 THEN pow(v, 4) ELSE 1 - pow(v, 5) / 2 END, 9)",
    "threshold": "0.5",
    "real_below": "0.3",
    "outside_domain": "hash(i, 3) % 50 = 0",
    "sha256": "sha256(i::VARCHAR)",
    "detector": "CASE WHEN hash(i, 4) % 3 = 0 THEN '34f51bec90b7' ELSE '9c0e11d2a4f0' END",
    "judged_by": "CASE WHEN hash(i, 4) % 3 = 0 THEN 'faces' ELSE 'photos' END",
    "provenance": "CASE hash(i, 5) % 40 WHEN 0 THEN $generated WHEN 1 THEN $edited WHEN 2 THEN $camera WHEN 3 THEN $camera END",
    "subject": "CASE WHEN hash(i, 4) % 3 = 0 THEN 'face' ELSE 'frame' END",
}


def make_rows(folder: Path, count: int) -> None:
    """Write `count` rows as a job folder: folder/parts/part-00000000.parquet and so on."""
    import duckdb

    parts = folder / "parts"
    parts.mkdir(parents=True)
    values = _VALUES | {name: "NULL" for name in ("error", "note", "verdict") if name not in _VALUES}
    judged = ("p_fake", "threshold", "real_below", "outside_domain", "subject")
    columns = []
    for field in schema():
        kind = {"double": "DOUBLE", "bool": "BOOLEAN", "int64": "BIGINT"}.get(str(field.type), "VARCHAR")
        value = values.get(field.name, "NULL")
        if field.name in judged:
            value = f"CASE WHEN status = 'ok' THEN {value} END"
        columns.append(f"({value})::{kind} AS {field.name}")
    evidence = {name: _EVIDENCE % (name, name) for name in ("generated", "edited", "camera")}
    for name, text in evidence.items():
        columns = [one.replace(f"${name}", "'" + text + "'") for one in columns]
    described = {
        key.decode(): value.decode() for key, value in (schema({"34f51bec90b7": "faces"}).metadata or {}).items()
    }
    metadata = ", ".join(f"{key}: '{value}'" for key, value in described.items())
    verdict = (
        "CASE WHEN p_fake >= threshold THEN 'fake' WHEN p_fake < real_below THEN 'real' "
        "WHEN p_fake IS NOT NULL THEN 'unsure' END"
    )
    connection = duckdb.connect(config={"memory_limit": "1GB"})
    for number, start in enumerate(range(0, count, _PART)):
        connection.execute(
            f"COPY (SELECT {', '.join(PARQUET_COLUMNS)} FROM (SELECT * REPLACE ({verdict} AS verdict) FROM (SELECT "
            f"{', '.join(columns)} FROM (SELECT CASE WHEN i % {_TWICE} = {_TWICE - 1} THEN i - 1 ELSE i END AS i, "
            f"hash(i, 1) / 18446744073709551616 AS u, hash(i, 2) / 18446744073709551616 AS v "
            f"FROM range({start}, {min(start + _PART, count)}) AS made(i))))) TO '{parts}/part-{number:08d}.parquet' "
            f"(FORMAT parquet, COMPRESSION zstd, KV_METADATA {{{metadata}}})"
        )


def measure(name: str, words: list[str]) -> list[object]:
    """Run a command of the program, and return its name, seconds and peak memory."""
    before = time.perf_counter()
    process = subprocess.Popen([sys.executable, "-m", "fakelab", *words], stdout=subprocess.DEVNULL)
    _, status, used = os.wait4(process.pid, 0)
    seconds = time.perf_counter() - before
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise UserError(f"{name} failed", got=f"exit code {process.returncode}")
    return [name, f"{seconds:.1f}", f"{used.ru_utime + used.ru_stime:.1f}", f"{used.ru_maxrss / 1024:.0f}"]


def main() -> None:
    """Run from the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=10_000_000)
    parser.add_argument("--folder", type=Path, default=Path("runs/rows"))
    parser.add_argument("--keep", action="store_true", help="keep the rows and pages; an existing folder is used again")
    options = parser.parse_args()
    folder = options.folder / str(options.rows)
    if not folder.exists():
        start = time.perf_counter()
        make_rows(folder, options.rows)
        print(f"made in {time.perf_counter() - start:.0f} s", file=sys.stderr)
    size = sum(file.stat().st_size for file in (folder / "parts").iterdir())
    print(json.dumps({"rows": options.rows, "bytes": size}), file=sys.stderr)
    page, likely = folder / "report.html", folder / "likely.jsonl"
    page.unlink(missing_ok=True)
    likely.unlink(missing_ok=True)
    try:
        lines = [
            measure("report", ["report", str(folder), "--json"]),
            measure("report --out report.html", ["report", str(folder), "--out", str(page)]),
            measure("--where 'p_fake > 0.999'", ["report", str(folder), "--where", "p_fake > 0.999"]),
            measure(
                "the same, --out .jsonl", ["report", str(folder), "--where", "p_fake > 0.999", "--out", str(likely)]
            ),
        ]
    finally:
        if not options.keep:
            shutil.rmtree(folder)
    print(table(("command", "s", "s of CPU", "MiB at most"), lines))


if __name__ == "__main__":
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    main()
