"""Processes that are killed and resumed give the same result as uninterrupted ones."""

import json
import signal
import time
from pathlib import Path

import pytest

from fakecore.files import read_jsonl
from fakecore.sets.imageset import in_shard, read_imageset

SETTINGS = ["--set", "resolution=16", "--set", "g_width=8", "--set", "d_width=8", "--set", "batch=16"]
SETTINGS += ["--set", "measure_every=0"]
TRAIN = ["generate", "digits-32", "--real", "digits:3", "--epochs", 30, "--count", 40, "--device", "cpu", *SETTINGS]


def wait_for(condition, process, seconds=120):
    end = time.monotonic() + seconds
    while not condition():
        assert process.poll() is None, f"it ended too early: {process.communicate()}"
        assert time.monotonic() < end, "it never came so far"
        time.sleep(0.01)


def files_of(root: Path) -> dict[str, bytes]:
    return {str(path.relative_to(root)): path.read_bytes() for path in sorted(root.rglob("*")) if path.is_file()}


@pytest.fixture(scope="module")
def uninterrupted(fakelab, tmp_path_factory):
    run = tmp_path_factory.mktemp("whole") / "run"
    done = fakelab(*TRAIN, "--out", run)
    assert done.returncode == 0, done.stderr
    return run


@pytest.mark.parametrize("sent", [signal.SIGKILL, signal.SIGTERM])
def test_a_resumed_run_has_the_bytes_of_an_uninterrupted_run(sent, fakelab, start_fakelab, tmp_path, uninterrupted):
    run = tmp_path / "run"
    process = start_fakelab(*TRAIN, "--out", run)
    wait_for(lambda: (run / "checkpoints" / "epoch-0005.json").exists(), process)
    second = fakelab("generate", "--resume", "--out", run)
    assert second.returncode == 2 and "another process" in second.stderr
    process.send_signal(sent)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == (-signal.SIGKILL if sent == signal.SIGKILL else 130)
    status = json.loads((run / "run.json").read_text())["status"]
    assert not (run / "checkpoints" / "epoch-0030.json").exists(), "it was not stopped midway"
    if sent != signal.SIGKILL:
        assert status == "interrupted" and f"--resume --out {run}" in errors and "Traceback" not in errors

    done = fakelab("generate", "--resume", "--out", run)
    assert done.returncode == 0, done.stderr
    for name in ("checkpoints/epoch-0030.safetensors", "checkpoints/epoch-0030.json", "snapshots/epoch-0030.png"):
        assert (run / name).read_bytes() == (uninterrupted / name).read_bytes(), name
    steps = [{k: v for k, v in line.items() if k != "images_per_s"} for line in read_jsonl(run / "metrics.jsonl")]
    whole = [
        {k: v for k, v in line.items() if k != "images_per_s"} for line in read_jsonl(uninterrupted / "metrics.jsonl")
    ]
    assert steps == whole
    assert files_of(run / "set" / "train") == files_of(uninterrupted / "set" / "train")


@pytest.mark.parametrize("image_format", ["jpeg", "webdataset"])
def test_sampling_killed_twice_and_resumed_gives_the_same_set(
    image_format, fakelab, start_fakelab, tmp_path, uninterrupted
):
    whole, killed, count = tmp_path / "whole", tmp_path / "killed", 6000
    words = ("sample", uninterrupted, "--count", count, "--seed", 7, "--format", image_format)
    manifest = killed / "metadata.jsonl"
    for resume in ((), ("--resume",)):
        before = manifest.stat().st_size if resume else 0
        process = start_fakelab(*words, "--out", killed, *resume)
        wait_for(lambda size=before: manifest.exists() and manifest.stat().st_size > size, process)
        process.kill()
        process.wait()
        assert not (killed / "imageset.json").exists(), "it was not stopped midway"
        listed = read_jsonl(manifest)
        assert 0 < len(listed) < count
        for line in listed:
            assert (killed / in_shard(line["file_name"])[0]).stat().st_size > 0
        with manifest.open("ab") as file:
            file.write(b'{"file_name": "train/fa')  # as after a kill during a write

    again = fakelab(*words, "--out", killed)
    assert again.returncode == 2 and "--resume" in again.stderr
    assert fakelab(*words, "--out", killed, "--resume").returncode == 0
    assert fakelab(*words, "--out", whole).returncode == 0
    assert files_of(killed) == files_of(whole)
    assert [record.index for record in read_imageset(killed).records] == list(range(count))


def test_resume_finishes_a_set_whose_writer_was_killed(fakelab, start_fakelab, tmp_path, uninterrupted):
    run = tmp_path / "run"
    words = [*TRAIN, "--out", run]
    words[words.index("--epochs") + 1], words[words.index("--count") + 1] = 1, 3000
    process = start_fakelab(*words)
    manifest = run / "set" / "metadata.jsonl"
    wait_for(lambda: manifest.exists() and manifest.read_bytes().count(b'"fake"') > 100, process)
    process.kill()
    process.wait()
    assert not (run / "set" / "imageset.json").exists(), "it was not stopped midway"
    refused = fakelab("detect-train", run, "--out", tmp_path / "det")
    assert refused.returncode == 2 and "--resume" in refused.stderr
    assert fakelab("generate", "--resume", "--out", run).returncode == 0
    records = read_imageset(run / "set").records
    assert [r.index for r in records if r.label == "fake"] == list(range(3000))
    assert len({r.file_name for r in records}) == len(records)
    assert all((run / "set" / r.file_name).is_file() for r in records)
