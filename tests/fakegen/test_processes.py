"""torchrun, for real: two processes at one job must leave what one would have left, and never hang."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from fakecore.files import read_jsonl

ROOT = Path(__file__).parent.parent.parent
TORCHRUN = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]


def start(*arguments):
    """Start `torchrun --nproc-per-node 2 cli.py ...`; each process on one thread, as torchrun itself would have it."""
    command = [*TORCHRUN, str(ROOT / "cli.py"), *map(str, arguments)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def torchrun(*arguments, timeout=240):
    process = start(*arguments)
    out, err = process.communicate(timeout=timeout)
    return subprocess.CompletedProcess(process.args, process.returncode, out, err)


def workers_of(process):
    """Process ids of the two workers, by rank."""
    ids = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    ranks = {}
    for number in map(int, ids):
        variables = Path(f"/proc/{number}/environ").read_bytes().split(b"\0")
        found = [v.removeprefix(b"RANK=") for v in variables if v.startswith(b"RANK=")]
        if found:
            ranks[int(found[0])] = number
    return ranks


def wait_for(condition, process, seconds=120):
    end = time.monotonic() + seconds
    while not condition():
        assert process.poll() is None, f"it ended too early: {process.communicate()}"
        assert time.monotonic() < end, "it never came so far"
        time.sleep(0.01)


def wait_until_gone(ids, seconds=60):
    end = time.monotonic() + seconds
    while any(Path(f"/proc/{number}").exists() for number in ids):
        assert time.monotonic() < end, "a process was left hanging"
        time.sleep(0.05)


def files_of(root):
    return {str(path.relative_to(root)): path.read_bytes() for path in sorted(root.rglob("*")) if path.is_file()}


def listed(root):
    path = root / "metadata.jsonl"
    return path.stat().st_size if path.exists() else 0


@pytest.mark.parametrize("image_format", ["png", "webdataset"])
def test_two_processes_sample_the_set_of_one_byte_for_byte(run, tmp_path, fakelab, image_format):
    words = ("sample", run, "--count", 3000, "--format", image_format)
    assert fakelab(*words, "--out", tmp_path / "one").returncode == 0
    done = torchrun(*words, "--out", tmp_path / "two")
    assert done.returncode == 0, done.stderr
    assert files_of(tmp_path / "two") == files_of(tmp_path / "one")
    assert len(done.stdout.splitlines()) == 1 and "3,000 fakes" in done.stdout  # the first process alone speaks


@pytest.mark.parametrize("image_format", ["png", "webdataset"])
def test_killed_processes_leave_none_hanging_and_any_number_goes_on(run, tmp_path, fakelab, image_format):
    words = ("sample", run, "--count", 20_000, "--format", image_format)
    killed = tmp_path / "killed"
    for victim in (1, 0, "torchrun"):
        before = listed(killed)
        process = start(*words, "--out", killed, *(["--resume"] if before else []))
        wait_for(lambda size=before: listed(killed) > size, process)
        workers = workers_of(process)
        os.kill(process.pid if victim == "torchrun" else workers[victim], signal.SIGKILL)
        process.communicate(timeout=60)
        wait_until_gone(workers.values())
        assert process.returncode != 0 and not (killed / "imageset.json").exists(), "it was not stopped midway"
        assert 0 < len(read_jsonl(killed / "metadata.jsonl")) < 20_000
    assert fakelab(*words, "--out", killed, "--resume").returncode == 0  # by one process, what two began
    assert fakelab(*words, "--out", tmp_path / "whole").returncode == 0
    assert files_of(killed) == files_of(tmp_path / "whole")


def test_ctrl_c_stops_both_with_one_line_and_leaves_a_set_to_resume(run, tmp_path):
    words = ("sample", run, "--count", 20_000, "--out", tmp_path / "set")
    process = start(*words)
    wait_for(lambda: listed(tmp_path / "set"), process)
    workers = workers_of(process)
    for number in (*workers.values(), process.pid):  # a terminal signals the whole group
        os.kill(number, signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    wait_until_gone(workers.values())
    assert errors.count("interrupted: stopped") == 1 and not (tmp_path / "set" / "imageset.json").exists()
    assert torchrun(*words, "--resume").returncode == 0


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["--count", 5, "--format", "pgn"], "Did you mean 'png'"),
        (["--count", 5], "already holds"),
    ],
)
def test_a_wrong_request_is_said_once_and_ends_both(run, tmp_path, fakelab, words, expected):
    out = tmp_path / "set"
    if expected == "already holds":
        fakelab("sample", run, "--count", 3, "--out", out)
    done = torchrun("sample", run, *words, "--out", out, timeout=90)
    assert done.returncode != 0 and done.stdout == ""
    lines = [line for line in done.stderr.splitlines() if line.startswith("error")]
    assert len(lines) == 1 and expected in lines[0], done.stderr
    assert done.stderr.count("Traceback") <= 1  # torchrun's own
