"""A streamed set trains and tests the same detectors as one in memory, window by window, in one process or two."""

from __future__ import annotations

import json
import os
import signal
import socket
import time
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load

import fakedetect
from fakecore import storage
from fakecore.retrying import Backoff
from fakedetect.data.loading import load_labelled
from fakedetect.data.streamed import with_validation_in_memory
from fakedetect.models.settings import DetectorSettings
from fakedetect.training.batches import TrainingBatches, training_rows
from tests.forks import Fork
from tests.shards import put, write_shards
from tests.stores import Web

# At 64 pixels, 27 images make a window of 1/3 MB: five windows of 120 images.
WINDOWS = ("model=cnn", "blocks=1", "epochs=2", "batch=8", "resolution=64", "buffer=1", "flip=0", "blur=0", "resize=0")
PLAIN = {"flip": 0, "jpeg": 0, "blur": 0, "resize": 0, "batch": 8}


@pytest.fixture(scope="module")
def web(small_shards):
    server = Web()
    put(small_shards, server.files, "set")
    yield server
    server.close()


def words(assignments=WINDOWS) -> list[str]:
    return [word for one in assignments for word in ("--set", one)]


def test_a_set_that_fits_into_a_window_trains_the_detector_of_one_in_memory(small_shards, trained, quick, tmp_path):
    made = fakedetect.train(small_shards, out=tmp_path / "det", changes={**quick, "stream": True}, device="cpu")
    for name in ("detector.safetensors", "history.jsonl", "seen.npy"):
        assert (made.detector / name).read_bytes() == (trained.detector / name).read_bytes(), name
    facts = [json.loads((path / "detector.json").read_text()) for path in (made.detector, trained.detector)]
    assert facts[0]["training"]["fingerprint"] == facts[1]["training"]["fingerprint"]
    assert facts[0]["training"]["origin"]["streamed"] == {"validation": {"used": 40, "of": 40}}
    assert facts[0]["test_metrics"] == facts[1]["test_metrics"]


@pytest.mark.parametrize("command", [("audit",), ("evaluate", "DETECTOR", "--out", "OUT", "--robustness")])
def test_a_streamed_set_at_a_url_has_the_findings_of_its_folder(
    fakelab, web, small_shards, trained, tmp_path, monkeypatch, command
):
    monkeypatch.setattr(storage, "BACKOFF", Backoff(first_s=0.001))
    answers = []
    for number, (place, more) in enumerate([(small_shards, "--no-stream"), (f"{web.url}/set", "--stream")]):
        web.cuts = Counter({f"/set/test/{label}-000000.tar": 2 for label in ("real", "fake")})
        named = {"OUT": str(tmp_path / str(number))}
        typed = [named.get(word, word).replace("DETECTOR", str(trained.detector)) for word in command]
        done = fakelab(*typed, place, more, "--json")
        assert done.returncode == 0, done.stderr
        answers.append(done.stdout.replace(str(place), "PLACE").replace(named["OUT"], "OUT"))
    assert answers[0] == answers[1] and not +web.cuts


def test_shards_of_others_train_and_test_a_detector(fakelab, small_shards, tmp_path):
    for label in ("real", "fake"):
        (tmp_path / label).mkdir()
        for number, path in enumerate(sorted(small_shards.rglob(f"{label}-*.tar"))):
            (tmp_path / label / f"{number:05d}.tar").write_bytes(path.read_bytes())
    sources = ("--real", str(tmp_path / "real"), "--fake", f"{tmp_path}/fake/{{00000..00007}}.tar", "--stream")
    done = fakelab("detect-train", *sources, "--model", "dct", "--out", tmp_path / "det", "--device", "cpu")
    assert done.returncode == 0, done.stderr
    assert "of 10 fakes" in done.stdout  # a tenth of 100
    facts = json.loads((tmp_path / "det" / "detector.json").read_text())
    assert facts["training"]["origin"]["fake"] == sources[3] and "set" not in facts["training"]["origin"]
    done = fakelab("evaluate", tmp_path / "det", *sources, "--json", "--out", tmp_path / "test")
    assert done.returncode == 0, done.stderr
    metrics = json.loads(done.stdout)["metrics"]
    assert (metrics["n_real"], metrics["n_fake"]) == (100, 100)
    done = fakelab("audit", *sources, "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["looked_at"] == {"real": 100, "fake": 100}


@pytest.fixture(scope="module")
def data(small_shards):
    return load_labelled(small_shards, resolution=64, stream=True)


def test_each_epoch_has_each_image_once_in_windows_of_shards_in_another_order(data):
    settings = DetectorSettings(buffer=1, **PLAIN)
    rows = training_rows(data, None, 0)
    row_of = {image.tobytes(): row for row, image in enumerate(data.images[:])}
    whole = TrainingBatches(data, rows, settings, 3)
    assert len(whole.steps) == 5
    epochs = []
    for epoch in range(2):
        windows = []
        for steps, batches in zip(whole.steps, whole.epoch(epoch), strict=True):
            window = list(batches)
            assert len(window) == steps and all(labels.tolist() == [0.0, 1.0] * 4 for _, labels in window)
            windows.append([row_of[image.tobytes()] for images, _ in window for image in images.numpy()])
        assert Counter(row for window in windows for row in window) == Counter(np.concatenate(rows).tolist())
        assert all(len(np.unique(data.images.shard_of(np.array(window)))) <= 6 for window in windows)
        epochs.append(windows)
    assert epochs[0] != epochs[1]
    again = [[row_of[image.tobytes()] for images, _ in one for image in images.numpy()] for one in whole.epoch(1, 3)]
    assert again == epochs[1][3:]  # from window 3 on, as a resumed training has it


def test_processes_share_each_window_and_take_as_many_steps(data):
    settings = DetectorSettings(buffer=1, **PLAIN)
    rows = training_rows(data, None, 0)
    parts = [TrainingBatches(data, rows, settings, 3, rank, 2) for rank in range(2)]
    seen = [
        [image.tobytes() for one in part.epoch(0) for images, _ in one for image in images.numpy()] for part in parts
    ]
    assert parts[0].steps == parts[1].steps and len(seen[0]) == len(seen[1])
    assert not set(seen[0]) & set(seen[1]) and len(set(seen[0]) | set(seen[1])) == 120


def test_the_smaller_class_is_repeated_and_validation_is_bounded(tmp_path, write_set):
    shards = write_shards(write_set(tmp_path / "set", reals=200, fakes=20), tmp_path / "shards", 16)
    uneven = with_validation_in_memory(load_labelled(shards, resolution=64, stream=True), 22)
    assert uneven.counts()["val"] == {"real": 20, "fake": 2}
    assert (
        uneven.origin["streamed"] == {"validation": {"used": 22, "of": 44}} and (uneven.splits == "spare").sum() == 22
    )
    batches = TrainingBatches(uneven, training_rows(uneven, None, 0), DetectorSettings(buffer=1, **PLAIN), 0)
    seen: dict[float, Counter] = {0.0: Counter(), 1.0: Counter()}
    for window in batches.epoch(0):
        for images, labels in window:
            for image, label in zip(images.numpy(), labels.tolist(), strict=True):
                seen[label][image.tobytes()] += 1
    assert [len(one) for one in seen.values()] == [120, 12] and seen[0.0].total() == seen[1.0].total()
    assert max(seen[0.0].values()) <= 2


def test_killed_between_windows_it_resumes_to_the_bytes_of_one_that_was_not(small_shards, tmp_path, start, fakelab):
    killed, whole = tmp_path / "killed", tmp_path / "whole"
    process = start("detect-train", small_shards, "--stream", "--out", killed, *words())
    state, end = killed / "state" / "latest.safetensors", time.monotonic() + 120
    while process.poll() is None and not windows_of(state) and time.monotonic() < end:
        time.sleep(0.001)
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    assert windows_of(state), "it was not killed between two windows"
    for out, more in ((whole, [small_shards, "--stream", *words()]), (killed, ["--resume"])):
        done = fakelab("detect-train", *more, "--out", out, "--device", "cpu")
        assert done.returncode == 0, done.stderr
    for name in ("history.jsonl", "detector.safetensors", "state/latest.safetensors", "predictions.csv"):
        assert (killed / name).read_bytes() == (whole / name).read_bytes(), name


def windows_of(state: Path) -> int:
    """The windows of its epoch that a state has done; 0 if there is none."""
    return int(load(state.read_bytes())["window"][0]) if state.is_file() else 0


def test_two_processes_train_one_detector(small_shards, tmp_path):
    out = tmp_path / "det"
    printed = both("detect-train", small_shards, "--stream", "--out", out, *words())
    assert printed[0].startswith("Classified as fake:") and printed[1] == ""
    history = [json.loads(line) for line in (out / "history.jsonl").read_text().splitlines()]
    assert [line["epoch"] for line in history] == [1, 2] and (out / "detector.json").is_file()
    assert history[-1]["train_loss"] < history[0]["train_loss"]


def both(*typed: object) -> list[str]:
    """Run a command in two processes, with the variables that torchrun gives them, to their ends; return what they print."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    shared = {"TORCHELASTIC_RUN_ID": "test", "WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1"}
    own = {**os.environ, **shared, "MASTER_PORT": str(port), "OMP_NUM_THREADS": "1"}
    program = Path(__file__).parents[3] / "cli.py"
    workers = [
        Fork(program, (*typed, "--device", "cpu"), own | {"RANK": str(rank), "LOCAL_RANK": str(rank)})
        for rank in range(2)
    ]
    try:
        texts = [worker.communicate(timeout=120) for worker in workers]
    finally:
        for worker in workers:
            worker.kill()
    assert [worker.returncode for worker in workers] == [0, 0], texts
    return [out for out, _ in texts]


@pytest.mark.parametrize(
    ("typed", "says"),
    [
        (["SET"], "its images are single files"),
        (["--real", "SET", "--fake", "SET"], "--real: there are no shards in "),
        (["SHARDS", "SET"], "only one set can be streamed"),
        (["SHARDS", "--equalise"], "a streamed set cannot be equalised"),
        (["SHARDS", "--set", "buffer=0"], "buffer is out of range"),
    ],
)
def test_what_cannot_be_streamed_is_one_line(fakelab, small_set, small_shards, tmp_path, typed, says):
    named = {"SET": small_set, "SHARDS": small_shards}
    done = fakelab(
        "detect-train", "--stream", "--model", "cnn", "--out", tmp_path / "det", *(named.get(w, w) for w in typed)
    )
    assert done.returncode == 2 and says in done.stderr and done.stderr.count("\n") == 1
    assert not (tmp_path / "det").exists()
