"""Judging in a process that may die: the rows are those of `score`, and a file that kills costs one row."""

from __future__ import annotations

import dataclasses
import zipfile

import pytest

from fakecore.errors import UserError
from fakedetect.engine.child import check_ids
from fakedetect.engine.isolated import IsolatedJudge, _finished


def same(rows, expected):
    """Whether rows are equal, apart from rounding: batches may be of other sizes."""
    return [row | {"p_fake": None} for row in rows] == [row | {"p_fake": None} for row in expected] and [
        row["p_fake"] for row in rows
    ] == pytest.approx([row["p_fake"] for row in expected], abs=1e-5)


def test_rows_are_those_of_score_and_a_file_that_kills_costs_one_also_in_an_archive(
    request_of_job, poison, files, expected, tmp_path
):
    archive = tmp_path / "mixed.zip"
    photos = [path for path in files if "/real/" in path]
    with zipfile.ZipFile(archive, "w") as file:
        for name, path in (("a.png", photos[0]), ("b.png", poison), ("c.png", photos[1])):
            file.write(path, name)
    with IsolatedJudge(request_of_job) as judge:
        rows = judge.rows([*files, poison, str(archive), photos[2]])
    assert same(rows[: len(expected)], expected)
    of_poison, *inside, last = rows[len(expected) :]
    assert [one["path"] for one in inside] == [f"{archive}/{name}.png" for name in "abc"]
    assert [one["status"] for one in (of_poison, *inside, last)] == ["unreadable", "ok", "unreadable", "ok", "ok"]
    for row in (of_poison, inside[1]):
        assert row["error"].startswith("judging it ended the process twice") and row["p_fake"] is None
    assert inside[1]["archive"] == str(archive) and of_poison["detector"] == last["detector"]


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
