"""Two processes under torchrun give the result of one, and never hang."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from fakecore.files import read_jsonl
from fakecore.sets.imageset import read_imageset
from tests.forks import Fork

ROOT = Path(__file__).parents[3]
COUNT = 3000  # images of a set: enough to stop a job midway
TORCHRUN = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
CAPTURED = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}


def start_torchrun(*arguments):
    """Start `torchrun --nproc-per-node 2 cli.py ...`; each process on one thread, torchrun's default."""
    command = [*TORCHRUN, str(ROOT / "cli.py"), *map(str, arguments)]
    return subprocess.Popen(command, env={**os.environ, "OMP_NUM_THREADS": "1"}, **CAPTURED)


def start(*arguments):
    """Start the two workers with the variables that torchrun gives them, by rank, without the seconds of torchrun itself.

    Nobody stops the second when the first has gone: each must notice it by itself.
    """
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    shared = {
        "TORCHELASTIC_RUN_ID": "test",
        "WORLD_SIZE": "2",
        "LOCAL_WORLD_SIZE": "2",
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(port),
    }
    own = {**os.environ, **shared, "OMP_NUM_THREADS": "1"}
    ranks = [{"RANK": str(rank), "LOCAL_RANK": str(rank)} for rank in range(2)]
    return [Fork(ROOT / "cli.py", arguments, own | rank) for rank in ranks]


def finish(workers, timeout=120):
    """Wait for both workers; return (return codes, standard outputs, standard errors), each by rank."""
    try:
        texts = [worker.communicate(timeout=timeout) for worker in workers]
    finally:
        for worker in workers:
            worker.kill()
    return [worker.returncode for worker in workers], *map(list, zip(*texts, strict=True))


def run_both(*arguments):
    """Run a command in two workers to its end and return what the first printed."""
    codes, printed, errors = finish(start(*arguments))
    assert codes == [0, 0], errors
    assert printed[1] == ""  # the first process alone prints
    return printed[0]


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


def size_of_table(root):
    path = root / "metadata.jsonl"
    return path.stat().st_size if path.exists() else 0


@pytest.fixture(scope="module")
def whole(run, tmp_path_factory, fakelab):
    """The files of a set that one process sampled."""
    out = tmp_path_factory.mktemp("whole") / "set"
    assert fakelab("sample", run, "--count", COUNT, "--out", out).returncode == 0
    return files_of(out)


def test_two_processes_sample_the_same_bytes_as_one(run, tmp_path, whole):
    printed = run_both("sample", run, "--count", COUNT, "--out", tmp_path / "two")
    assert files_of(tmp_path / "two") == whole
    assert len(printed.splitlines()) == 1 and f"{COUNT:,} fakes" in printed


def test_after_a_kill_of_torchrun_no_process_hangs_and_one_process_completes_the_set(run, tmp_path, fakelab, whole):
    words, killed = ("sample", run, "--count", COUNT), tmp_path / "killed"
    process = start_torchrun(*words, "--out", killed)
    wait_for(lambda: size_of_table(killed), process)
    workers = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    process.kill()
    process.communicate(timeout=60)
    wait_until_gone(workers)
    assert len(workers) >= 2
    assert fakelab(*words, "--out", killed, "--resume").returncode == 0
    assert files_of(killed) == whole


def test_ctrl_c_stops_both_with_one_line(run, tmp_path):
    workers = start("sample", run, "--count", COUNT, "--out", tmp_path / "set")
    wait_for(lambda: size_of_table(tmp_path / "set"), workers[0])
    for worker in workers:  # a terminal signals the whole group
        worker.send_signal(signal.SIGINT)
    _, _, errors = finish(workers)
    assert "".join(errors).count("interrupted: stopped") == 1 and not (tmp_path / "set" / "imageset.json").exists()


def test_a_wrong_request_is_reported_once_and_stops_both(run, tmp_path, fakelab):
    out = tmp_path / "set"
    fakelab("sample", run, "--count", 3, "--out", out)
    codes, printed, errors = finish(start("sample", run, "--count", 5, "--out", out))
    assert 0 not in codes and printed == ["", ""]
    lines = "".join(errors).splitlines()
    assert len(lines) == 1 and lines[0].startswith("error") and "already holds" in lines[0]


# Networks without batch normalisation, whose statistics are each process's own, and without dropout: gradients are then
# the same whether one process sees a batch or two see a half of it each.
PLAIN = ["celeba-128", "--real", "digits:3", "--set", "resolution=16", "--set", "upscale=true", "--set", "g_width=8"]
PLAIN += ["--set", "d_width=8", "--set", "d_dropout=0", "--set", "clip=0", "--set", "optimiser=adam"]
PLAIN += ["--set", "precision=fp32", "--set", "measure_every=0", "--count", "200", "--device", "cpu"]
# Penalties, whose gradients of gradients pass through the averaging too.
PLAIN += ["--set", "r1=1", "--set", "r2=1", "--set", "r1_every=1"]


def averages(run):
    """Return {name: exp_avg} of Adam: (1 - beta1) times the gradient after one step."""
    from safetensors.torch import load_file

    return {name: t for name, t in load_file(run / "state" / "latest.safetensors").items() if "exp_avg" in name}


def test_gradients_of_two_processes_are_those_of_one_on_the_joined_batch(tmp_path, fakelab):
    import torch

    words = ("generate", *PLAIN, "--set", "steps=1", "--set", "batch=16")
    assert fakelab(*words, "--out", tmp_path / "one").returncode == 0
    run_both(*words, "--out", tmp_path / "two")
    one, two = averages(tmp_path / "one"), averages(tmp_path / "two")
    assert one.keys() == two.keys() and len(one) > 30
    for name, gradient in one.items():
        assert gradient.abs().max() > 0, name
        torch.testing.assert_close(two[name], gradient, atol=1e-7 + 1e-4 * float(gradient.abs().max()), rtol=1e-3)
    lines = [read_jsonl(tmp_path / name / "metrics.jsonl") for name in ("one", "two")]
    assert len(lines[1]) == 1 and lines[1][0]["loss_d"] == pytest.approx(lines[0][0]["loss_d"], abs=1e-4)


TRAIN = ["digits-32", "--real", "digits:3", "--epochs", "8", "--count", "150", "--device", "cpu"]
TRAIN += ["--set", "resolution=16", "--set", "g_width=8", "--set", "d_width=8", "--set", "batch=32"]
TRAIN += ["--set", "checkpoint_every=1", "--set", "measure_every=4"]


@pytest.fixture(scope="module")
def trained_by_two(tmp_path_factory):
    run = tmp_path_factory.mktemp("two") / "run"
    return run, run_both("generate", *TRAIN, "--out", run)


def test_two_processes_write_one_run_and_one_output(trained_by_two):
    run, printed = trained_by_two
    facts = json.loads((run / "run.json").read_text())
    assert (facts["status"], facts["epoch"], facts["processes"], facts["threads"]) == (
        "done", 8, 2, max(1, os.cpu_count() // 2),
    )  # fmt: skip
    steps = [line["step"] for line in read_jsonl(run / "metrics.jsonl")]
    assert steps == list(range(1, facts["step"] + 1))
    assert (run / "plots" / "losses.png").is_file() and len(list((run / "tensorboard").iterdir())) == 1
    records = read_imageset(run / "set").records
    assert [r.index for r in records if r.label == "fake"] == list(range(150))
    assert len(printed.splitlines()) == 3, printed
    from fakegen import verify

    assert verify(run, count=150).as_made


def test_a_run_of_two_processes_is_resumed_after_one_was_killed(trained_by_two, tmp_path):
    whole, _ = trained_by_two
    run = tmp_path / "run"
    workers = start("generate", *TRAIN, "--out", run)
    wait_for(lambda: (run / "checkpoints" / "epoch-0003.json").exists(), workers[0])
    workers[0].kill()
    codes, _, _ = finish(workers)
    assert 0 not in codes and not (run / "checkpoints" / "epoch-0008.json").exists(), "it was not stopped midway"
    run_both("generate", "--resume", "--out", run)
    name = "checkpoints/epoch-0008.safetensors"
    assert (run / name).read_bytes() == (whole / name).read_bytes()
    for part in ("train", "val", "test", "metadata.jsonl"):
        there, here = whole / "set" / part, run / "set" / part
        assert here.read_bytes() == there.read_bytes() if here.is_file() else files_of(here) == files_of(there)
