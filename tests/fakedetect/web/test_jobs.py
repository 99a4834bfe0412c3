"""Jobs with workers that only answer: verdicts come before marked videos, and nothing that happens to those costs a verdict."""

import asyncio
import sys
from pathlib import Path

import pytest
import uvloop

from fakedetect.web import pool as pools
from fakedetect.web import process
from fakedetect.web.choices import Choice
from fakedetect.web.jobs import Jobs, Options
from fakedetect.web.pool import Pool
from fakedetect.web.settings import ServeSettings
from fakedetect.web.store import Job, Store
from fakedetect.web.tasks import MARKED, TRACKS
from fakedetect.web.uploads import Received, Upload

# Judges at once. Drawing of the file "deadly" ends the worker, of "slow" takes long.
WORKER = """
import json, os, sys, time
print(json.dumps({"ready": [{"name": "one"}]}), flush=True)
for line in sys.stdin:
    asked = json.loads(line)
    print(json.dumps({"taken": True}), flush=True)
    for task in asked.get("tasks", ()):
        os.makedirs(task["results"], exist_ok=True)
        if task["marked"]:
            open(os.path.join(task["results"], "tracks.json"), "w").write(task["name"])
        print(json.dumps({"id": task["id"], "row": {"path": task["name"]}}), flush=True)
    if make := asked.get("make"):
        name = open(os.path.join(make["results"], "tracks.json")).read()
        if name == "deadly":
            os._exit(9)
        if name == "slow":
            open(os.path.join(make["results"], ".tmp-1.mp4"), "w").close()
            time.sleep(30)
        open(os.path.join(make["results"], "marked.mp4"), "w").close()
        print(json.dumps({"id": make["id"], "progress": [1, 1]}), flush=True)
        print(json.dumps({"id": make["id"], "row": {}}), flush=True)
    print(json.dumps({"idle": True}), flush=True)
"""


class Running:
    """The jobs of a server that has one worker; a context manager."""

    def __init__(self, data: Path, **limits):
        settings = ServeSettings(data, workers=1, **limits)
        self._pool = Pool(settings, [Choice("one", "one")])
        self._store = Store(data)
        self.jobs = Jobs(settings, self._store, self._pool)

    async def __aenter__(self) -> Jobs:
        await self._pool.start()
        await self.jobs.start()
        return self.jobs

    async def __aexit__(self, *ended: object) -> None:
        await self.jobs.stop()
        await self._pool.stop()
        self._store.close()


async def accepted(jobs: Jobs, name: str, *, marked: bool = True) -> str:
    path = jobs.incoming / "1.mp4"
    path.write_bytes(b"video")
    job, _ = await jobs.accept(
        "anyone", Options("one", marked=marked), Received(jobs.incoming, [Upload(name, path, 5)])
    )
    return job.id


async def events(jobs: Jobs, job: str) -> list[str]:
    return [
        " ".join(str(event[key]) for key in ("event", "state") if key in event)
        async for event in jobs.events(job)
        if event
    ]


def uploads(data: Path) -> list[Path]:
    return list(data.glob("jobs/*/upload-*"))


@pytest.fixture(autouse=True)
def workers(monkeypatch):
    monkeypatch.setattr(process, "COMMAND", (sys.executable, "-c", WORKER))
    monkeypatch.setattr(pools, "_PAUSE_S", 0.01)


@pytest.mark.parametrize(
    ("name", "marked", "state", "why"),
    [
        ("good", True, "ready", None),
        ("good", False, None, None),
        ("deadly", True, "failed", "drawing it ended the process"),
        ("slow", True, "failed", "drawing it took longer than 1 s"),
    ],
)
def test_a_marked_video_never_costs_the_verdict(tmp_path, name, marked, state, why):
    async def run() -> tuple[list[str], Job, Path]:
        async with Running(tmp_path, max_s=1.0) as jobs:
            said = await events(jobs, job := await accepted(jobs, name, marked=marked))
            found = await jobs.job(job)
            return said, found, jobs.results(found, 0)

    said, job, results = uvloop.run(run())
    (file,) = job.files
    assert (file.result, file.marked) == ({"path": name}, state)
    assert (why is None and file.marked_error is None) or why in file.marked_error
    assert (results / MARKED).is_file() == (state == "ready")
    after = said[said.index("done") + 1 :]
    assert said.index("file done") < said.index("done") and after[-1:] == ([f"marked {state}"] if state else [])
    assert not uploads(tmp_path) and not (results / TRACKS).exists() and not list(results.glob(".tmp*"))


def test_a_server_that_ended_while_drawing_draws_when_it_starts_again(tmp_path):
    async def run() -> None:
        async with Running(tmp_path) as jobs:
            job = await accepted(jobs, "slow")
            while (await jobs.job(job)).files[0].marked != "drawing":
                await asyncio.sleep(0.01)
            assert (await jobs.job(job)).state == "done"
        (tmp_path / "jobs" / job / "0" / TRACKS).write_text("good")
        async with Running(tmp_path) as jobs:
            assert (await events(jobs, job))[-1] == "marked ready"
            await jobs.delete(job)
            assert await events(jobs, job) == ["deleted"]

    uvloop.run(run())


def test_a_job_is_deleted_while_its_video_is_drawn(tmp_path):
    async def run() -> None:
        async with Running(tmp_path) as jobs:
            job = await accepted(jobs, "slow")
            following = asyncio.create_task(events(jobs, job))
            while (await jobs.job(job)).files[0].marked != "drawing":
                await asyncio.sleep(0.01)
            await jobs.delete(job)
            assert (await following)[-1] == "deleted"
            assert "marked ready" in await events(jobs, await accepted(jobs, "good")), "the worker is free at once"

    uvloop.run(run())


def test_an_upload_whose_result_is_stored_is_deleted_at_the_start(tmp_path):
    async def run(*, keep: bool) -> int:
        async with Running(tmp_path, keep_uploads=keep) as jobs:
            await events(jobs, await accepted(jobs, "good"))
        return len(uploads(tmp_path))

    assert uvloop.run(run(keep=True)) == 1  # as if the server was killed before it deleted it
    assert uvloop.run(run(keep=False)) == 0
