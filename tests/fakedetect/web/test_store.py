"""The database of jobs: what is accepted stays, is judged once, and is found again after a crash."""

import sqlite3

import pytest

from fakecore.errors import UserError
from fakedetect.web.store import MIGRATIONS, KeyReused, Store


def accept(store: Store, owner: str = "one", names: tuple[str, ...] = ("a.jpg", "b.jpg"), **more) -> str:
    files = [(name, "", 3) for name in names]
    job, _ = store.add(
        owner, {"detector": "default"}, files, claim=lambda job: [f"jobs/{job}/{n}" for n in names], **more
    )
    return job


def reopened(store: Store) -> Store:
    store.close()
    return Store(store.data)


def test_a_crash_puts_back_what_was_running(tmp_path):
    store = Store(tmp_path)
    job = accept(store)
    assert store.start(job, 0) and store.start(job, 1)
    store.finish(job, 0, {"path": "a.jpg"})
    store = reopened(store)
    assert [(file.place, file.upload) for file in store.unfinished()] == [(1, f"jobs/{job}/b.jpg")]
    found = store.job(job)
    assert (found.state, [file.state for file in found.files]) == ("running", ["done", "queued"])
    assert found.files[0].result == {"path": "a.jpg"}
    store.finish(job, 1, {"path": "b.jpg"})
    assert reopened(store).job(job).state == "done"


def test_a_file_is_given_up_after_three_starts(tmp_path):
    store = Store(tmp_path)
    job = accept(store)
    assert [store.start(job, 0) for _ in range(4)] == [True, True, True, False]
    assert store.start(job, 1), "each file is counted for itself"


def test_a_marked_video_is_drawn_after_its_verdict_and_resumed(tmp_path):
    store = Store(tmp_path)
    job = accept(store)
    store.finish(job, 0, {"path": "a.jpg"}, draw=True)
    store.finish(job, 1, {"path": "b.jpg"})
    assert (store.job(job).state, store.job(job).is_drawing) == ("done", True)
    store = reopened(store)
    assert [file.upload for file in store.undrawn()] == [f"jobs/{job}/a.jpg"] and not store.unfinished()
    assert [store.start_drawing(job, 0) for _ in range(4)] == [True, True, True, False]
    store.finish_drawing(job, 0, "it is too long")
    assert [(file.marked, file.marked_error) for file in store.job(job).files] == [
        ("failed", "it is too long"),
        (None, None),
    ]
    assert not store.start_drawing("deleted", 0)


def test_a_failed_acceptance_leaves_no_job(tmp_path):
    store = Store(tmp_path)

    def full(job: str) -> list[str]:
        raise OSError("no space")

    with pytest.raises(OSError, match="no space"):
        store.add("one", {}, [("a.jpg", "", 3)], claim=full)
    assert store.ids() == set()


def test_an_idempotency_key_stands_for_one_request_of_its_owner(tmp_path):
    store = Store(tmp_path)
    job = accept(store, key="k", digest="d")
    assert accept(store, key="k", digest="d") == job
    with pytest.raises(KeyReused):
        accept(store, key="k", digest="other")
    assert accept(store, owner="two", key="k", digest="other") != job
    store.delete(job)
    assert accept(store, key="k", digest="other") != job, "a deleted job frees its key"


def test_jobs_belong_to_their_owner_and_expire_when_finished(tmp_path):
    store = Store(tmp_path)
    old, waiting, foreign = accept(store, names=("a.jpg",)), accept(store), accept(store, owner="two")
    assert [job.id for job in store.jobs_of("one")] == [waiting, old]
    store.finish(old, 0, {})
    assert store.finished_before(1e12) == [old]
    assert store.finished_before(0) == []
    store.delete(old)
    assert store.ids() == {waiting, foreign}
    assert store.job(old) is None
    store.finish(old, 0, {})  # what was judged when it was deleted
    assert store.ids() == {waiting, foreign}


def test_two_servers_do_not_share_a_folder(tmp_path):
    store = Store(tmp_path)
    with pytest.raises(UserError, match="in use by another server"):
        Store(tmp_path)
    store.close()
    Store(tmp_path).close()


def test_a_newer_database_is_refused_and_an_older_one_migrated(tmp_path):
    Store(tmp_path).close()
    with sqlite3.connect(tmp_path / "jobs.sqlite") as connection:
        assert connection.execute("PRAGMA user_version").fetchone() == (len(MIGRATIONS),)
        connection.execute(f"PRAGMA user_version = {len(MIGRATIONS) + 1}")
    connection.close()
    with pytest.raises(UserError, match="written by a newer fakelab"):
        Store(tmp_path)


@pytest.mark.parametrize("where", [0, 8192])
def test_a_damaged_database_is_named(tmp_path, where):
    store = Store(tmp_path)
    accept(store)
    store.close()
    with (tmp_path / "jobs.sqlite").open("r+b") as file:
        file.seek(where)
        file.write(b"\xff" * 3000)
    with pytest.raises(UserError, match="damaged"):
        Store(tmp_path)


@pytest.mark.parametrize(
    ("statement", "wrong"),
    [
        ("", []),
        (
            "UPDATE files SET state = 'queued' WHERE place = 1",
            ["the upload of file 1 of job J, which waits, is missing"],
        ),
        (
            "UPDATE files SET marked = 'drawing' WHERE place = 1",
            ["the upload of file 1 of job J, which waits, is missing"],
        ),
        ("UPDATE files SET result = '{\"path' WHERE place = 1", ["the result of file 1 of job J is damaged"]),
        ("UPDATE files SET result = NULL WHERE place = 1", ["the result of file 1 of job J is damaged"]),
        ("UPDATE jobs SET options = 'x'", ["the options of job J are damaged"]),
        (
            "UPDATE files SET upload = '../a.jpg' WHERE place = 0",
            ["the upload of file 0 of job J is outside the folder of its job: ../a.jpg"],
        ),
    ],
)
def test_what_is_wrong_with_a_folder_is_found(tmp_path, statement, wrong):
    store = Store(tmp_path)
    job = accept(store)
    assert store.problems() == [f"{tmp_path / 'jobs'} is missing: the uploads and results of all jobs"]
    (tmp_path / "jobs" / job).mkdir(parents=True)
    (tmp_path / "jobs" / job / "a.jpg").touch()
    store.finish(job, 1, {})
    with sqlite3.connect(tmp_path / "jobs.sqlite", isolation_level=None) as connection:
        connection.execute(statement)
    connection.close()
    assert [line.replace(job, "J") for line in store.problems()] == wrong
    (tmp_path / "secret").touch()
    assert f"{tmp_path / 'secret'} has 0 bytes; 32 are expected" in store.problems()
