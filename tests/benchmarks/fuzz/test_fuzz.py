"""`benchmarks.fuzz` notices what it is there to notice, and its damage is the same for the same seed."""

import sys
import zlib
from collections import Counter

import numpy as np
import pytest

from benchmarks.fuzz.fuzz import Result, damaged, formatted, fuzz
from benchmarks.fuzz.mutate import mutant
from benchmarks.fuzz.seeds import seeds
from benchmarks.fuzz.supervise import Reader, Reading

# A child that does what a file says, instead of reading it.
CHILD = """
import json, os, pathlib, sys, time
out = os.fdopen(int(sys.argv[1]), "w", buffering=1)
sys.stdin.readline()
out.write("{}\\n")
for line in sys.stdin:
    what = pathlib.Path(line.strip()).read_text()
    if what == "abort":
        os.abort()
    if what == "exit":
        os._exit(3)
    if what == "sleep":
        time.sleep(60)
    if what == "write":
        pathlib.Path("new").write_text("x")
    answer = {"status": "unreadable", "error": "", "seconds": 0.1, "bytes": 2 << 30 if what == "memory" else 5}
    out.write(json.dumps(answer | {"writes": [one.name for one in pathlib.Path().iterdir()]}) + "\\n")
"""


def test_each_kind_of_failure_is_noticed_and_the_next_file_is_read(tmp_path):
    (tmp_path / "scratch").mkdir()
    file = tmp_path / "file"
    file.write_text("whole")
    expected = [("", "unreadable"), ("abort", "crash"), ("exit", "crash"), ("sleep", "hang"), ("memory", "memory")]
    expected += [("write", "write"), ("", "unreadable")]
    with Reader(file, tmp_path / "scratch", limit_s=0.5, child=("-c", CHILD)) as reader:
        for what, status in expected:
            file.write_text(what)
            reading = reader.read(file)
            assert reading.status == status, reading
            assert {"abort": "SIGABRT", "exit": "exit status 3", "write": "new"}.get(what, "") in reading.detail


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    return seeds(tmp_path_factory.mktemp("seeds"))


@pytest.mark.skipif(sys.platform != "linux", reason="memory is read from /proc")
def test_files_are_read_to_the_end(made):
    found = fuzz(made, "texts.png", 12, seed=3)
    assert found.counts.total() == 12 and not found.findings


def test_damage_is_the_same_for_the_same_seed(made):
    assert len(made) >= 40
    for name in ("baseline.jpg", "h264.mp4"):
        files = [damaged(made, name, number, seed=1) for number in range(20)]
        assert files == [damaged(made, name, number, seed=1) for number in range(20)]
        assert len(set(files)) == 20 and files[0] != damaged(made, name, 0, seed=2)


def test_half_of_the_png_files_get_right_checksums(made):
    right = 0
    for number in range(60):
        data = mutant(made["rgb.png"], list(made.values()), np.random.default_rng(number))
        right += data[12:16] == b"IHDR" and data[29:33] == zlib.crc32(data[12:29]).to_bytes(4, "big")
    assert 20 < right < 60


def test_results_are_added_up():
    result = Result()
    result.add(0, Reading("ok", 0.5, 10_000_000))
    result.add(1, Reading("crash", 0.1, 2_000_000, "SIGSEGV"))
    assert result.findings == [{"number": 1, "status": "crash", "detail": "SIGSEGV"}]
    assert result.counts == Counter(ok=1, crash=1)
    lines = formatted({"a": result, "b": result}).splitlines()
    assert lines[-1].split() == ["all", "4", "2", "0", "0", "0", "2", "0", "0", "0", "0", "0.50", "10"]
