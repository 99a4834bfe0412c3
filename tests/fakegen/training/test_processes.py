"""Two processes under torchrun give the result of one, and never hang."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from fakecore.files import read_jsonl
from fakecore.sets.imageset import read_imageset

ROOT = Path(__file__).parents[3]
COUNT = 6000  # images of a set: enough to stop a job midway
TORCHRUN = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]


def start(*arguments):
    """Start `torchrun --nproc-per-node 2 cli.py ...`; each process on one thread, torchrun's default."""
    command = [*TORCHRUN, str(ROOT / "cli.py"), *map(str, arguments)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def torchrun(*arguments, timeout=240):
    process = start(*arguments)
    try:
        out, err = process.communicate(timeout=timeout)
    finally:
        if process.poll() is None:
            for number in (process.pid, *workers_of(process).values()):
                os.kill(number, signal.SIGKILL)
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


@pytest.fixture(scope="module")
def whole(run, tmp_path_factory, fakelab):
    """{format: the files of a set that one process sampled}."""
    folder = tmp_path_factory.mktemp("whole")
    for image_format in ("png", "webdataset"):
        words = ("sample", run, "--count", COUNT, "--format", image_format, "--out", folder / image_format)
        assert fakelab(*words).returncode == 0
    return {path.name: files_of(path) for path in folder.iterdir()}


def test_two_processes_sample_the_same_bytes_as_one(run, tmp_path, whole):
    done = torchrun("sample", run, "--count", COUNT, "--out", tmp_path / "two")
    assert done.returncode == 0, done.stderr
    assert files_of(tmp_path / "two") == whole["png"]
    assert len(done.stdout.splitlines()) == 1 and f"{COUNT:,} fakes" in done.stdout  # the first process alone prints


@pytest.mark.parametrize(("image_format", "victim"), [("png", "torchrun"), ("webdataset", 1)])
def test_after_a_kill_no_process_hangs_and_one_process_resumes(run, tmp_path, fakelab, whole, image_format, victim):
    words = ("sample", run, "--count", COUNT, "--format", image_format)
    killed = tmp_path / "killed"
    process = start(*words, "--out", killed)
    wait_for(lambda: listed(killed), process)
    workers = workers_of(process)
    os.kill(process.pid if victim == "torchrun" else workers[victim], signal.SIGKILL)
    process.communicate(timeout=60)
    wait_until_gone(workers.values())
    assert process.returncode != 0 and not (killed / "imageset.json").exists(), "it was not stopped midway"
    assert 0 < len(read_jsonl(killed / "metadata.jsonl")) < COUNT
    assert fakelab(*words, "--out", killed, "--resume").returncode == 0
    assert files_of(killed) == whole[image_format]


def test_ctrl_c_stops_both_with_one_line(run, tmp_path):
    process = start("sample", run, "--count", COUNT, "--out", tmp_path / "set")
    wait_for(lambda: listed(tmp_path / "set"), process)
    workers = workers_of(process)
    for number in (*workers.values(), process.pid):  # a terminal signals the whole group
        os.kill(number, signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    wait_until_gone(workers.values())
    assert errors.count("interrupted: stopped") == 1 and not (tmp_path / "set" / "imageset.json").exists()


def test_a_wrong_request_is_reported_once_and_stops_both(run, tmp_path, fakelab):
    out = tmp_path / "set"
    fakelab("sample", run, "--count", 3, "--out", out)
    done = torchrun("sample", run, "--count", 5, "--out", out, timeout=90)
    assert done.returncode != 0 and done.stdout == ""
    lines = [line for line in done.stderr.splitlines() if line.startswith("error")]
    assert len(lines) == 1 and "already holds" in lines[0], done.stderr
    assert done.stderr.count("Traceback") <= 1  # torchrun's own


# Networks without batch normalisation, whose statistics are each process's own, and without dropout: gradients are then
# the same whether one process sees a batch or two see a half of it each.
PLAIN = ["celeba-128", "--real", "digits:3", "--set", "resolution=16", "--set", "upscale=true", "--set", "g_width=8"]
PLAIN += ["--set", "d_width=8", "--set", "d_dropout=0", "--set", "clip=0", "--set", "optimiser=adam"]
PLAIN += ["--set", "precision=fp32", "--set", "measure_every=0", "--count", "200", "--device", "cpu"]


def averages(run):
    """Return {name: exp_avg} of Adam: (1 - beta1) times the gradient after one step."""
    from safetensors.torch import load_file

    return {name: t for name, t in load_file(run / "state" / "latest.safetensors").items() if "exp_avg" in name}


def test_gradients_of_two_processes_are_those_of_one_on_the_joined_batch(tmp_path, fakelab):
    import torch

    words = ("generate", *PLAIN, "--set", "steps=1", "--set", "batch=16")
    assert fakelab(*words, "--out", tmp_path / "one").returncode == 0
    done = torchrun(*words, "--out", tmp_path / "two")
    assert done.returncode == 0, done.stderr
    one, two = averages(tmp_path / "one"), averages(tmp_path / "two")
    assert one.keys() == two.keys() and len(one) > 30
    for name, gradient in one.items():
        assert gradient.abs().max() > 0, name
        torch.testing.assert_close(two[name], gradient, atol=1e-7 + 1e-4 * float(gradient.abs().max()), rtol=1e-3)
    lines = [read_jsonl(tmp_path / name / "metrics.jsonl") for name in ("one", "two")]
    assert len(lines[1]) == 1 and lines[1][0]["loss_d"] == pytest.approx(lines[0][0]["loss_d"], abs=1e-4)


TRAIN = ["digits-32", "--real", "digits:3", "--epochs", "14", "--count", "150", "--device", "cpu"]
TRAIN += ["--set", "resolution=16", "--set", "g_width=8", "--set", "d_width=8", "--set", "batch=32"]
TRAIN += ["--set", "checkpoint_every=1", "--set", "measure_every=7"]


@pytest.fixture(scope="module")
def trained_by_two(tmp_path_factory):
    run = tmp_path_factory.mktemp("two") / "run"
    done = torchrun("generate", *TRAIN, "--out", run)
    assert done.returncode == 0, done.stderr
    return run, done


def test_two_processes_write_one_run_and_one_output(trained_by_two):
    run, done = trained_by_two
    facts = json.loads((run / "run.json").read_text())
    assert (facts["status"], facts["epoch"], facts["processes"], facts["threads"]) == (
        "done", 14, 2, max(1, os.cpu_count() // 2),
    )  # fmt: skip
    steps = [line["step"] for line in read_jsonl(run / "metrics.jsonl")]
    assert steps == list(range(1, facts["step"] + 1))
    assert (run / "plots" / "losses.png").is_file() and len(list((run / "tensorboard").iterdir())) == 1
    records = read_imageset(run / "set").records
    assert [r.index for r in records if r.label == "fake"] == list(range(150))
    assert len(done.stdout.splitlines()) == 3, done.stdout
    from fakegen import verify

    assert verify(run, count=150).as_made


def test_a_run_of_two_processes_is_resumed_after_one_was_killed(trained_by_two, tmp_path):
    whole, _ = trained_by_two
    run = tmp_path / "run"
    process = start("generate", *TRAIN, "--out", run)
    wait_for(lambda: (run / "checkpoints" / "epoch-0003.json").exists(), process)
    workers = workers_of(process)
    os.kill(workers[0], signal.SIGKILL)
    process.communicate(timeout=90)
    wait_until_gone(workers.values())
    assert not (run / "checkpoints" / "epoch-0014.json").exists(), "it was not stopped midway"
    done = torchrun("generate", "--resume", "--out", run)
    assert done.returncode == 0, done.stderr
    name = "checkpoints/epoch-0014.safetensors"
    assert (run / name).read_bytes() == (whole / name).read_bytes()
    for part in ("train", "val", "test", "metadata.jsonl"):
        there, here = whole / "set" / part, run / "set" / part
        assert here.read_bytes() == there.read_bytes() if here.is_file() else files_of(here) == files_of(there)
