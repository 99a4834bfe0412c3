"""Judging in a process that may die or hang: the rows are those of `score`, and a file that does this costs one row."""

from __future__ import annotations

import dataclasses
import sys
import time
import zipfile
from types import SimpleNamespace

import pytest

from fakecore import storage
from fakecore.errors import UserError
from fakedetect.engine.answering import Answering, DiedError
from fakedetect.engine.child import _Judge, check_ids
from fakedetect.engine.isolated import IsolatedJudge, _finished
from fakedetect.scoring.inputs import Input


def same(rows, expected):
    """Whether rows are equal, apart from rounding: batches may be of other sizes."""
    return [row | {"p_fake": None} for row in rows] == [row | {"p_fake": None} for row in expected] and [
        row["p_fake"] for row in rows
    ] == pytest.approx([row["p_fake"] for row in expected], abs=1e-5)


def test_rows_are_those_of_score_and_a_file_that_kills_or_hangs_costs_one_also_in_an_archive(
    request_of_job, poison, files, expected, tmp_path
):
    kills, stops = str(poison / "kills.png"), str(poison / "stops.png")
    archive = tmp_path / "mixed.zip"
    photos = [path for path in files if "/real/" in path]
    with zipfile.ZipFile(archive, "w") as file:
        for name, path in (("a.png", photos[0]), ("b.png", kills), ("c.png", photos[1])):
            file.write(path, name)
    with IsolatedJudge(request_of_job, hang_s=8) as judge:  # more than what a process needs for its first file
        rows = judge.rows([*files, stops, kills, str(archive), photos[2]])
    assert same(rows[: len(expected)], expected)
    of_stops, of_kills, *inside, last = rows[len(expected) :]
    assert [one["path"] for one in inside] == [f"{archive}/{name}.png" for name in "abc"]
    assert [one["status"] for one in (*inside, last)] == ["ok", "unreadable", "ok", "ok"]
    why = {id(of_stops): "judging it was stopped twice, after 8 s without progress"}
    for row in (of_stops, of_kills, inside[1]):
        assert row["error"].startswith(why.get(id(row), "judging it ended the process twice"))
        assert (row["status"], row["p_fake"], row["detector"]) == ("unreadable", None, last["detector"])
    assert inside[1]["archive"] == str(archive)


def test_a_process_that_makes_progress_is_not_killed_and_one_that_hangs_is():
    script = """
import sys, time
for line in sys.stdin:
    for _ in range(8):
        print('{"progress": true}', flush=True)
        time.sleep(0.2)
    print('{"row": 1}', flush=True)
    time.sleep(600)
"""
    process = Answering([sys.executable, "-c", script])
    began = time.monotonic()
    answers = process.answers({}, 1.0)
    assert next(answers) == {"row": 1} and time.monotonic() - began > 1.2  # longer than it may be silent
    with pytest.raises(DiedError) as death:
        next(answers)
    assert death.value.hung and process._process.returncode < 0


def test_frames_of_a_video_and_pieces_of_a_copy_are_progress(request_of_job, tmp_path, write_video):
    content = write_video(tmp_path / "v.mp4", [], count=4).read_bytes()
    storage.write_bytes("memory://v.mp4", content)
    calls: list[tuple] = []
    judge = _Judge(request_of_job, SimpleNamespace(progress=lambda *call: calls.append(call)))
    list(judge.rows(iter([Input("v.mp4", url="memory://v.mp4")])))
    assert calls[0] == (len(content),) and len([call for call in calls if call[0] == "v.mp4"]) > 1


def test_another_detector_at_the_same_path_does_not_judge(request_of_job, detector):
    check_ids([detector, None], request_of_job)
    other = dataclasses.replace(request_of_job, ids={"0123456789ab": "tiny"})
    with pytest.raises(UserError, match="another one than when the job was created"):
        check_ids([detector, None], other)


@pytest.mark.parametrize(
    ("rows", "finished"),
    [
        ([], (0, 0)),
        ([("a", None)], (1, 1)),
        ([("a", None), ("z/1", "z"), ("z/2", "z")], (1, 1)),  # the archive may lack rows
        ([("a", None), ("z/1", "z"), ("b", None)], (3, 3)),
        ([("a", None), ("b", None)], (3, 2)),  # an empty archive
    ],
)
def test_which_paths_have_all_their_rows(rows, finished):
    named = [{"path": path} | ({"archive": archive} if archive else {}) for path, archive in rows]
    assert _finished(["a", "z", "b"], named) == finished
