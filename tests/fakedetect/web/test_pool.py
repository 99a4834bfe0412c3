"""The pool with workers that only answer: batches, and what becomes of files whose worker dies or takes too long."""

import asyncio
import os
import signal
import sys
from pathlib import Path

import pytest
import uvloop

from fakecore.errors import UserError
from fakedetect.web import pool as pools
from fakedetect.web import process
from fakedetect.web.choices import Choice
from fakedetect.web.pool import Pool, QueueFull
from fakedetect.web.settings import ServeSettings
from fakedetect.web.tasks import Task

# Answers each task with the number of tasks in its batch. A file named "deadly" ends it, "slow" takes long, and "once" ends
# it the first time.
WORKER = """
import json, os, sys, time
if os.path.exists("refuse"):
    print(json.dumps({"refused": "the detector is damaged"}), flush=True)
    sys.exit()
print(json.dumps({"ready": [{"name": "one"}]}), flush=True)
for line in sys.stdin:
    tasks = json.loads(line)["tasks"]
    if os.path.exists("die") and not os.path.exists("died"):
        open("died", "w").close()
        os._exit(9)
    print(json.dumps({"taken": True}), flush=True)
    for task in tasks:
        if task["name"] == "deadly" or (task["name"] == "once" and not os.path.exists("once")):
            open("once", "w").close()
            os._exit(9)
        if task["name"] == "slow":
            time.sleep(30)
        print(json.dumps({"id": task["id"], "row": {"path": task["name"], "batch": len(tasks)}}), flush=True)
    print(json.dumps({"idle": True}), flush=True)
"""


@pytest.fixture
def judged(tmp_path, monkeypatch):
    """Judge files by name and kind, all at once; return (rows, counts)."""
    monkeypatch.setattr(process, "COMMAND", (sys.executable, "-c", WORKER))
    monkeypatch.setattr(pools, "_PAUSE_S", 0.01)
    monkeypatch.chdir(tmp_path)

    async def run(names: list[str], choices: list[str], options: dict) -> tuple[list[dict], dict]:
        pool = Pool(ServeSettings(Path("data"), **{"workers": 1, "max_s": 2.0, **options}), [Choice("one", "one")])
        try:
            await pool.start()
            tickets = [
                await pool.submit(Task(str(place), name, name, choices[place % len(choices)]))
                for place, name in enumerate(names)
            ]
            return [await ticket.answer for ticket in tickets], dict(pool.counts)
        finally:
            await pool.stop()

    return lambda *names, choices=("one",), **options: uvloop.run(run(list(names), list(choices), options))


def test_files_that_come_together_are_judged_together(judged):
    names = [f"{number}" for number in range(37)]
    rows, counts = judged(*names)
    assert [row["path"] for row in rows] == names
    assert [row["batch"] for row in rows] == [32] * 32 + [5] * 5
    assert counts["batches"] == 2
    rows, _ = judged(*names[:11], workers=2)
    assert [row["batch"] for row in rows[:6]] == [6] * 6 and rows[6]["batch"] <= 5, "workers share what waits"


def test_batches_are_of_one_kind_and_videos_alone(judged):
    rows, _ = judged("a", "b", "c", "d", "film.mp4", choices=("one", "two"))
    assert [row["batch"] for row in rows] == [2, 2, 2, 2, 1]


def test_a_deadly_file_costs_itself_alone(judged):
    rows, counts = judged("a", "deadly", "c")
    assert [row["path"] for row in rows] == ["a", "deadly", "c"]
    assert [row.get("status") for row in rows] == [None, "unreadable", None]
    assert "ended the process" in rows[1]["error"]
    assert counts["restarts"] == 2, "in its batch, and alone"


def test_a_worker_that_dies_by_accident_costs_nothing(judged):
    rows, counts = judged("once")
    assert rows == [{"path": "once", "batch": 1}]
    assert counts["restarts"] == 1


def test_a_worker_that_died_before_it_took_files_is_no_reason_against_them(judged, tmp_path):
    (tmp_path / "die").touch()
    rows, counts = judged("a", "b")
    assert [row["batch"] for row in rows] == [2, 2] and counts["restarts"] == 1, "they were not judged alone"


def test_idle_workers_that_die_are_started_again(tmp_path, monkeypatch):
    monkeypatch.setattr(process, "COMMAND", (sys.executable, "-c", WORKER))
    monkeypatch.chdir(tmp_path)

    async def run() -> None:
        pool = Pool(ServeSettings(Path("data"), workers=2), [Choice("one", "one")])
        try:
            await pool.start()
            while len(pool._alive) < 2:
                await asyncio.sleep(0.01)
            for worker in pool._alive:
                os.kill(worker._process.pid, signal.SIGKILL)
            while pool.is_ready:
                await asyncio.sleep(0.001)
            assert (await (await pool.submit(Task("1", "a", "a", "one"))).answer)["path"] == "a"
            assert pool.is_ready and pool.counts["restarts"] == 2
        finally:
            await pool.stop()

    uvloop.run(run())


def test_a_file_that_takes_too_long_is_given_up(judged):
    rows, counts = judged("slow", "b", max_s=1.0)
    assert "longer than 1 s" in rows[0]["error"]
    assert rows[1]["path"] == "b" and counts["timeouts"] == 2, "in its batch, and alone"


def test_a_detector_that_cannot_be_used_is_named(judged, tmp_path):
    (tmp_path / "refuse").touch()
    with pytest.raises(UserError, match="the detector is damaged"):
        judged("a")


def test_a_full_queue_says_when_to_come_back(tmp_path):
    pool = Pool(ServeSettings(tmp_path, max_queue=3), [])
    with pool.room(2), pytest.raises(QueueFull) as full, pool.room(2):
        pass
    assert full.value.retry_s >= 1
    pool.check_room(3)


def test_what_is_accepted_at_once_is_counted_together(tmp_path):
    pool = Pool(ServeSettings(tmp_path, max_queue=3), [])

    async def accept(number: int) -> bool:
        try:
            with pool.room(2) as room:
                await asyncio.sleep(0)  # stored
                for place in range(2):
                    await pool.submit(Task(f"{number} {place}", "a", "a", "one"), room=room)
        except QueueFull:
            return False
        return True

    async def run() -> None:
        assert sum(await asyncio.gather(*map(accept, range(6)))) == 1 and pool.queue_length == 2
        pool.check_room(1)
        with pytest.raises(QueueFull):
            pool.check_room(2)

    uvloop.run(run())
