"""The folder of a job: listings, parts, and what is finished."""

from __future__ import annotations

import json

import pytest

from fakecore import storage
from fakecore.errors import UserError
from fakecore.urls import join
from fakedetect.engine.job import Job, Progress, _parts_of, progress_of
from fakedetect.scoring.columns import COLUMNS


def row(path):
    return dict.fromkeys(COLUMNS) | {"path": path, "status": "ok", "kind": "image", "verdict": "real"}


@pytest.fixture(params=["folder", "memory://jobs/one"])
def place(request, tmp_path):
    return request.param if "://" in request.param else str(tmp_path / "job")


def test_a_job_lists_its_files_in_parts_and_knows_the_finished_ones(place, request_of_job):
    names = [f"photo {number}.jpg" for number in range(6)] + ["caf\udce9.jpg"]
    Job.create(place, request_of_job, ["photos"], iter(names), part_files=3)
    job = Job.open(place)
    assert Job.exists(place) and (job.request, job.asked) == (request_of_job, ("photos",))
    assert [job.files_of(part) for part in range(job.parts)] == [names[:3], names[3:6], names[6:]]
    assert job.finished() == set()
    job.commit(1, [row(name) for name in names[3:6]])
    storage.write_bytes(join(place, "parts", "notes.txt"), b"not a part")
    assert job.finished() == {1}
    assert progress_of(place) == Progress(parts=3, parts_finished=1, files=7, files_left=4)
    assert list(job.rows_of(1, ["path"])) == [{"path": name} for name in names[3:6]]


def test_first_parts_are_small_later_ones_grow_and_few_videos_make_one(place, request_of_job):
    names = ["a.mp4", "b.MOV", *(f"{number}.jpg" for number in range(1_500)), "c.zip"]
    job = Job.create(place, request_of_job, ["photos"], names)
    assert job.listings == ((1, 1, *[64] * 14, 256, 256, 93),)
    assert [path for part in range(job.parts) for path in job.files_of(part)] == names
    sizes = [len(part) for part in _parts_of(map(str, range(700_000)), None)]
    assert [sizes[part] for part in (15, 16, 499, 500, 999, 1000)] == [64, 256, 256, 1024, 1024, 4096]


def test_new_files_become_further_parts(place, request_of_job):
    job = Job.create(place, request_of_job, ["photos"], ["a", "b", "c"], part_files=2)
    longer = job.extended(["a", "new", "b", "c", "newer"], part_files=2)
    assert longer == Job.open(place) and longer.files == 5
    assert [longer.files_of(part) for part in range(longer.parts)] == [["a", "b"], ["c"], ["new", "newer"]]
    assert [longer.count_of(part) for part in range(3)] == [2, 1, 2]
    assert longer.extended(["a", "newer"]) is longer


@pytest.mark.parametrize(
    ("facts", "error"),
    [
        ({"version": 99, "fakelab": "9.0"}, "is of a newer fakelab"),
        ({"version": 1}, "is damaged, or is not a job"),
        ([], "is damaged, or is not a job"),
    ],
)
def test_what_is_not_a_job_is_refused(tmp_path, facts, error):
    (tmp_path / "job.json").write_text(json.dumps(facts))
    with pytest.raises(UserError, match=error):
        Job.open(str(tmp_path))
