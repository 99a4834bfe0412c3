"""Jobs on a cluster of Ray, whose actors are killed: each file has its row once."""

from __future__ import annotations

import json
import os
import signal
from collections import Counter
from pathlib import Path

import pytest

from fakecore.cluster import Cluster, connected
from fakedetect.engine.job import Job
from fakedetect.engine.judging import judge_parts
from fakelab.app import main


@pytest.fixture(scope="module", autouse=True)
def cluster():
    """One cluster for all tests: `judge_parts` uses a connection that exists."""
    pytest.importorskip("ray")
    with connected(Cluster(cpus=2)):
        yield


def kill_an_actor() -> None:
    """Kill a process that judges parts."""
    for process in Path("/proc").iterdir():
        if process.name.isdecimal():
            try:
                title = (process / "cmdline").read_bytes()
            except OSError:
                continue
            if title.startswith(b"ray::FakelabWorker"):
                os.kill(int(process.name), signal.SIGKILL)
                return
    raise AssertionError("no actor runs")


def rows_in(place: str) -> list[dict]:
    job = Job.open(place)
    return [row for part in sorted(job.finished()) for row in job.rows_of(part, ["path", "status", "p_fake"])]


def score(capsys, *words) -> dict:
    with pytest.raises(SystemExit) as ended:
        main(["score", *map(str, words), "--engine", "ray", "--device", "cpu", "--json"])
    printed = capsys.readouterr()
    assert ended.value.code in (0, 1) and printed.out, printed.err
    return json.loads(printed.out)


def test_a_job_whose_actor_is_killed_has_each_row_once_and_the_command_resumes(
    tmp_path, files, expected, request_of_job, capsys
):
    place = str(tmp_path / "job")
    job = Job.create(place, request_of_job, files, files, part_files=3)
    judged = judge_parts(job, list(range(job.parts - 2)), Cluster(workers=1))
    first = next(judged)
    kill_an_actor()
    rest = list(judged)
    assert {one.part for one in (first, *rest)} == set(range(job.parts - 2)) == job.finished()

    summary = score(capsys, *files, "--detector", request_of_job.detector, "--out", place)
    assert [(row["path"], row["status"]) for row in rows_in(place)] == [
        (one["path"], one["status"]) for one in expected
    ]
    assert [row["p_fake"] for row in rows_in(place)] == pytest.approx([one["p_fake"] for one in expected], abs=1e-4)
    counts = Counter(one["verdict"] or one["status"] for one in expected)
    assert summary["rows"] == len(expected) and summary["counts"] == counts


def test_a_job_of_other_values_is_refused(tmp_path, files, request_of_job, capsys):
    place = tmp_path / "job"
    Job.create(str(place), request_of_job, files[:3], files[:3])
    for words, what in ((files[:2], "paths"), ([*files[:3], "--stability"], "stability")):
        with pytest.raises(SystemExit):
            main(["score", *words, "--detector", request_of_job.detector, "--engine", "ray", "--out", str(place)])
        assert f"created with another value: {what} (got " in capsys.readouterr().err
