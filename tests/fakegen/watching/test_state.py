"""`watch`: what is said of a run that trains, has stalled, was interrupted, has failed or finished; its folder is only read."""

from __future__ import annotations

import json
import os
import shutil
import time
from dataclasses import asdict, fields

import pytest

import fakegen
from fakecore.errors import UserError
from fakecore.files import append_jsonl, read_json, write_json
from fakecore.messages import duration
from fakegen.quality.records import Quality
from fakegen.watching.state import Watcher


@pytest.fixture
def copied(run, tmp_path):
    return shutil.copytree(run, tmp_path / "copied")


def change(path, steps: int | None = None, **facts) -> None:
    """Edit run.json, and keep the first `steps` lines of metrics.jsonl."""
    write_json(path / "run.json", {**read_json(path / "run.json"), **facts})
    if steps is not None:
        lines = (path / "metrics.jsonl").read_text().splitlines(keepends=True)
        (path / "metrics.jsonl").write_text("".join(lines[:steps]))


def contents(path) -> dict:
    return {file: (file.read_bytes(), file.stat().st_mtime_ns) for file in path.rglob("*") if file.is_file()}


def test_a_finished_run(run):
    before = contents(run)
    state = fakegen.watch_state(run)
    assert contents(run) == before
    assert state["status"] == "finished" and state["headline"].startswith("Finished: 2 epochs, trained in ")
    assert state["step"] == state["steps"] == state["latest"]["step"] and (state["epoch"], state["epochs"]) == (2, 2)
    assert [snapshot["epoch"] for snapshot in state["snapshots"]] == [0, 1, 2]
    assert state["left_s"] is None and state["quality"] is None and state["nearest"] is None
    assert state["curves"]["loss_d"][-1] == pytest.approx(state["latest"]["loss_d"])
    assert json.loads(json.dumps(state, allow_nan=False)) == state


def test_time_left_is_that_of_the_steps_left_at_the_last_rate(copied):
    change(copied, steps=2, status="running", epoch=0, step=0)
    lines = (copied / "metrics.jsonl").read_text().splitlines()
    rows = [{**json.loads(line), "images_per_s": 8.0} for line in lines]
    (copied / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    state = fakegen.watch_state(copied)
    assert (state["status"], state["step"], state["epoch"]) == ("training", 2, 1)
    batch = read_json(copied / "run.json")["preset"]["batch"]
    assert state["left_s"] == pytest.approx((state["steps"] - 2) * batch / 8.0, abs=0.06)
    assert state["headline"] == f"Training: epoch 1 of 2, about {duration(state['left_s'])} left"


def test_a_run_that_starts(copied):
    change(copied, status="running", epoch=0, step=0)
    for name in ("metrics.jsonl", "snapshots", "checkpoints", "plots", "set"):
        path = copied / name
        path.unlink() if path.is_file() else shutil.rmtree(path)
    state = fakegen.watch_state(copied)
    assert state["status"] == "training" and state["headline"] == "Training starts: no step is written yet"
    assert state["latest"] is None and state["left_s"] is None and state["snapshots"] == []


def test_a_run_that_writes_nothing_has_stalled(copied):
    change(copied, steps=3, status="running", epoch=0, step=0)
    watcher, now = Watcher(copied), time.time()
    assert watcher.state(now + 290)["status"] == "training"
    state = watcher.state(now + 420)
    assert state["status"] == "stalled" and state["headline"].startswith("No new step for 7 min, at step 3 of ")
    assert state["left_s"] is None and state["notes"][-1]["text"].endswith(f"generate --resume --out {copied}")
    rows = [json.loads(line) for line in (copied / "metrics.jsonl").read_text().splitlines()]
    slow = [{**row, "images_per_s": 0.5} for row in rows]  # its log is written every half an hour
    (copied / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in slow))
    assert Watcher(copied).state(now + 420)["status"] == "training"


def test_a_run_that_writes_its_set_has_not_stalled(copied):
    change(copied, status="running")
    old = time.time() - 3600
    for file in [copied, *copied.rglob("*")]:
        os.utime(file, (old, old))
    assert fakegen.watch_state(copied)["status"] == "stalled"
    (copied / "set" / "train" / "fake" / "new.png").touch()
    assert fakegen.watch_state(copied)["status"] == "writing"


def test_runs_that_ended_early(copied):
    change(copied, steps=3, status="interrupted", epoch=0, step=3)
    state = fakegen.watch_state(copied)
    assert state["headline"].startswith("Interrupted at step 3 of ") and state["notes"][0]["kind"] == "command"
    change(copied, status="failed", error="training stopped: a loss is not finite")
    state = fakegen.watch_state(copied)
    assert state["headline"].startswith("Failed at step 3 of ")
    assert state["notes"] == [{"kind": "error", "text": "training stopped: a loss is not finite"}]
    change(copied, status="done", collapse="collapse: all alike")
    state = fakegen.watch_state(copied)
    assert state["status"] == "finished" and state["notes"] == [{"kind": "warning", "text": "collapse: all alike"}]


def test_distances_and_pictures_of_measure(copied):
    numbers = dict.fromkeys((field.name for field in fields(Quality)), 0.5)
    texts = {"features": "random", "comparable": "Not comparable.", "checkpoint": "0", "settings": "a"}
    measured = [Quality(**numbers | texts | {"epoch": epoch, "frechet": 9.0 - epoch % 2}) for epoch in range(3)]
    append_jsonl(copied / "quality.jsonl", map(asdict, measured))
    append_jsonl(copied / "quality.jsonl", [{**asdict(measured[1]), "frechet": 3.5}])  # measured again
    (copied / "plots" / "nearest.png").write_bytes(b"picture")
    state = fakegen.watch_state(copied)
    assert {row["epoch"]: row["frechet"] for row in state["quality"]["rows"]} == {0: 9.0, 1: 3.5, 2: 9.0}
    assert (state["quality"]["best"], state["quality"]["floor"]) == (1, 0.5) and state["nearest"] is not None


def test_what_is_no_run_is_refused(run, tmp_path):
    for path, words in ((tmp_path / "none", "there is no run in"), (tmp_path, "is not a run")):
        with pytest.raises(UserError, match=words):
            fakegen.watch_state(path)
