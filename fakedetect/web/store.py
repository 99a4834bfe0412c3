"""The jobs of a server in SQLite: what was accepted, what became of it. A killed server loses nothing that it accepted.

A job is accepted in one transaction, when its files are on disk. States of a file: `queued` -> `running` -> `done`. A server
that starts puts back what was `running` to `queued`: nothing of it was shown to anyone. The row of a result and the state
`done` are written in one transaction, so a file is judged once in the eyes of the caller. A job is `done` when all its files
are; deleting removes it whole. A marked video is drawn after the result: its state is `marked` of the file.
"""

from __future__ import annotations

import fcntl
import json
import secrets
import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any

from fakecore.errors import UserError
from fakedetect.web.tokens import wrong_secret

_MOST_STARTS = 3  # of one file: after so many starts of the server or of a worker that ended with it, it is given up
# Each is applied once, in order; user_version counts them.
MIGRATIONS = (
    """
    CREATE TABLE jobs (
        id TEXT PRIMARY KEY, owner TEXT NOT NULL, created REAL NOT NULL, finished REAL, options TEXT NOT NULL,
        idempotency_key TEXT, digest TEXT
    );
    CREATE UNIQUE INDEX jobs_of_key ON jobs (owner, idempotency_key) WHERE idempotency_key IS NOT NULL;
    CREATE INDEX jobs_of_owner ON jobs (owner, created);
    CREATE TABLE files (
        job TEXT NOT NULL REFERENCES jobs (id) ON DELETE CASCADE, place INTEGER NOT NULL, name TEXT NOT NULL,
        upload TEXT NOT NULL, size INTEGER NOT NULL, state TEXT NOT NULL, starts INTEGER NOT NULL DEFAULT 0, result TEXT,
        PRIMARY KEY (job, place)
    );
    CREATE INDEX files_of_state ON files (state) WHERE state != 'done';
    """,
    "ALTER TABLE files ADD COLUMN marked TEXT; ALTER TABLE files ADD COLUMN marked_error TEXT;",
)


@dataclass(frozen=True)
class StoredFile:
    """One file of a job; `upload` is its path below the data folder, `result` its row once it is done. `marked` is the state of
    its marked video: None (there is none), "waiting", "drawing", "ready" or "failed", with `marked_error`.
    """

    job: str
    place: int
    name: str
    upload: str
    size: int
    state: str
    starts: int
    result: dict | None
    marked: str | None = None
    marked_error: str | None = None

    @property
    def is_undrawn(self) -> bool:
        """Whether its marked video is still to come."""
        return self.marked in ("waiting", "drawing")


@dataclass(frozen=True)
class Job:
    """A job with its files; times in seconds since 1970."""

    id: str
    owner: str
    created: float
    finished: float | None
    options: dict[str, Any]
    files: list[StoredFile]

    @property
    def state(self) -> str:
        """Return "queued", "running" or "done"."""
        if self.finished is not None:
            return "done"
        return "queued" if all(file.state == "queued" for file in self.files) else "running"

    @property
    def is_drawing(self) -> bool:
        """Whether a marked video is still to come."""
        return any(file.is_undrawn for file in self.files)


class KeyReused(Exception):
    """An idempotency key was used for another request."""


class Store:
    """The database in the data folder. To be used from one thread at a time. Raises UserError for a folder that another server
    uses, and for a database that is damaged or newer than this program.
    """

    def __init__(self, data: Path):
        data.mkdir(parents=True, exist_ok=True, mode=0o700)
        self.data = data
        self._lock = (data / "lock").open("w")
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            self._lock.close()
            raise UserError(
                f"{data} is in use by another server", remedy="Stop it, or choose another --data."
            ) from None
        try:
            self._connection = sqlite3.connect(data / "jobs.sqlite", isolation_level=None, check_same_thread=False)
            self._connection.row_factory = sqlite3.Row
            for pragma in ("journal_mode = WAL", "synchronous = FULL", "foreign_keys = ON", "busy_timeout = 5000"):
                self._connection.execute(f"PRAGMA {pragma}")
            self._migrate()
            (found,) = self._connection.execute("PRAGMA quick_check(1)").fetchone()
            if found != "ok":
                raise sqlite3.DatabaseError(found.splitlines()[-1])
        except sqlite3.DatabaseError as error:
            self._lock.close()
            remedy = "Choose another --data, or restore the folder from a backup."
            raise UserError(f"{data / 'jobs.sqlite'} is damaged", got=error, remedy=remedy) from None

    def close(self) -> None:
        """Close the database and let another server use the folder."""
        self._connection.close()
        self._lock.close()

    def _migrate(self) -> None:
        (version,) = self._connection.execute("PRAGMA user_version").fetchone()
        if version > len(MIGRATIONS):
            raise UserError(
                f"{self.data / 'jobs.sqlite'} was written by a newer fakelab",
                got=f"version {version}",
                expected=f"at most {len(MIGRATIONS)}",
                remedy="Install that one, or choose another --data.",
            )
        for number in range(version, len(MIGRATIONS)):
            script = f"BEGIN; {MIGRATIONS[number]} PRAGMA user_version = {number + 1}; COMMIT;"
            self._connection.executescript(script)

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        self._connection.execute("BEGIN IMMEDIATE")
        try:
            yield self._connection
        except BaseException:
            self._connection.execute("ROLLBACK")
            raise
        self._connection.execute("COMMIT")

    def add(
        self,
        owner: str,
        options: dict[str, Any],
        files: list[tuple[str, str, int]],
        *,
        key: str | None = None,
        digest: str = "",
        claim: Callable[[str], list[str]],
    ) -> tuple[str, bool]:
        """Accept a job of `files`, each (name, upload, size); return its id and whether it is new.

        With an idempotency `key` of an earlier job of this owner, that one is returned if `digest`, of the request, is the
        same; else KeyReused is raised. `claim` moves the uploads to the place of the job with this id and returns where they
        are.
        """
        with self._transaction() as connection:
            if key is not None:
                found = connection.execute(
                    "SELECT id, digest FROM jobs WHERE owner = ? AND idempotency_key = ?", (owner, key)
                ).fetchone()
                if found:
                    if found["digest"] != digest:
                        raise KeyReused
                    return found["id"], False
            name = secrets.token_urlsafe(16)
            uploads = claim(name)
            connection.execute(
                "INSERT INTO jobs (id, owner, created, options, idempotency_key, digest) VALUES (?, ?, ?, ?, ?, ?)",
                (name, owner, time.time(), json.dumps(options), key, digest),
            )
            connection.executemany(
                "INSERT INTO files (job, place, name, upload, size, state) VALUES (?, ?, ?, ?, ?, 'queued')",
                [(name, place, file[0], uploads[place], file[2]) for place, file in enumerate(files)],
            )
        return name, True

    def job(self, name: str) -> Job | None:
        """Return a job, or None."""
        row = self._connection.execute("SELECT * FROM jobs WHERE id = ?", (name,)).fetchone()
        return None if row is None else self._job(row)

    def jobs_of(self, owner: str, most: int = 100) -> list[Job]:
        """Return the jobs of an owner, the newest first."""
        rows = self._connection.execute(
            "SELECT * FROM jobs WHERE owner = ? ORDER BY created DESC LIMIT ?", (owner, most)
        ).fetchall()
        return [self._job(row) for row in rows]

    def unfinished(self) -> list[StoredFile]:
        """Put back to `queued` what was running when the last server ended, and return all files that wait, oldest first."""
        with self._transaction() as connection:
            connection.execute("UPDATE files SET state = 'queued' WHERE state = 'running'")
        rows = self._connection.execute(
            "SELECT files.* FROM files JOIN jobs ON jobs.id = files.job WHERE state = 'queued' ORDER BY created, place"
        )
        return [_file(row) for row in rows]

    def undrawn(self) -> list[StoredFile]:
        """Return the files whose marked video was not drawn when the last server ended, oldest first."""
        rows = self._connection.execute(
            "SELECT files.* FROM files JOIN jobs ON jobs.id = files.job WHERE marked IN ('waiting', 'drawing') "
            "ORDER BY created, place"
        )
        return [_file(row) for row in rows]

    def start(self, job: str, place: int) -> bool:
        """Record that a file is being judged; return False if it was started too often, and is given up."""
        with self._transaction() as connection:
            connection.execute(
                "UPDATE files SET state = 'running', starts = starts + 1 WHERE job = ? AND place = ?", (job, place)
            )
            row = connection.execute("SELECT starts FROM files WHERE job = ? AND place = ?", (job, place)).fetchone()
        return row is None or row["starts"] <= _MOST_STARTS

    def finish(self, job: str, place: int, result: dict, *, draw: bool = False) -> None:
        """Record the result of a file, with `draw` that its marked video is to be drawn, and that the job is done if it was the
        last one. The job may be deleted already.
        """
        with self._transaction() as connection:
            connection.execute(
                "UPDATE files SET state = 'done', result = ?, marked = ?, starts = 0 WHERE job = ? AND place = ?",
                (json.dumps(result), "waiting" if draw else None, job, place),
            )
            connection.execute(
                "UPDATE jobs SET finished = ? WHERE id = ? AND finished IS NULL AND NOT EXISTS "
                "(SELECT 1 FROM files WHERE job = ? AND state != 'done')",
                (time.time(), job, job),
            )

    def start_drawing(self, job: str, place: int) -> bool:
        """Record that a marked video is being drawn; return False if it was started too often, or its job was deleted."""
        with self._transaction() as connection:
            connection.execute(
                "UPDATE files SET marked = 'drawing', starts = starts + 1 WHERE job = ? AND place = ?", (job, place)
            )
            row = connection.execute("SELECT starts FROM files WHERE job = ? AND place = ?", (job, place)).fetchone()
        return row is not None and row["starts"] <= _MOST_STARTS

    def finish_drawing(self, job: str, place: int, error: str | None) -> None:
        """Record that a marked video is ready, or why there is none."""
        with self._transaction() as connection:
            connection.execute(
                "UPDATE files SET marked = ?, marked_error = ? WHERE job = ? AND place = ?",
                ("failed" if error else "ready", error, job, place),
            )

    def delete(self, job: str) -> None:
        """Delete a job and its files from the database."""
        with self._transaction() as connection:
            connection.execute("DELETE FROM jobs WHERE id = ?", (job,))

    def finished_before(self, when: float) -> list[str]:
        """Return the ids of the jobs that ended before `when`."""
        rows = self._connection.execute("SELECT id FROM jobs WHERE finished < ?", (when,))
        return [row["id"] for row in rows]

    def ids(self) -> set[str]:
        """Return the ids of all jobs."""
        return {row["id"] for row in self._connection.execute("SELECT id FROM jobs")}

    def problems(self) -> list[str]:
        """Return what is wrong with the database and with the files that it names, a line each."""
        wrong = [row[0] for row in self._connection.execute("PRAGMA integrity_check") if row[0] != "ok"]
        if why := wrong_secret(self.data):
            wrong.append(why)
        folder = self.data / "jobs"
        if self.ids() and not folder.is_dir():
            return [*wrong, f"{folder} is missing: the uploads and results of all jobs"]
        with closing(self._connection.execute("SELECT id, options FROM jobs")) as jobs:
            wrong += [f"the options of job {job} are damaged" for job, options in jobs if not _is_object(options)]
        with closing(self._connection.execute("SELECT * FROM files ORDER BY job, place")) as files:
            wrong += chain.from_iterable(map(self._problems_of, files))
        return wrong

    def _problems_of(self, file: sqlite3.Row) -> Iterator[str]:
        """Yield what is wrong with a file of a job."""
        upload, name = self.data / file["upload"], f"file {file['place']} of job {file['job']}"
        if upload.resolve().parent != (self.data / "jobs" / file["job"]).resolve():
            yield f"the upload of {name} is outside the folder of its job: {file['upload']}"
        elif (file["state"] != "done" or file["marked"] in ("waiting", "drawing")) and not upload.is_file():
            yield f"the upload of {name}, which waits, is missing"
        if (file["state"] == "done" or file["result"] is not None) and not _is_object(file["result"]):
            yield f"the result of {name} is damaged"

    def _job(self, row: sqlite3.Row) -> Job:
        files = self._connection.execute("SELECT * FROM files WHERE job = ? ORDER BY place", (row["id"],))
        options = json.loads(row["options"])
        return Job(row["id"], row["owner"], row["created"], row["finished"], options, [_file(one) for one in files])


def _is_object(text: str | None) -> bool:
    try:
        return isinstance(json.loads(text or ""), dict)
    except ValueError:
        return False


def _file(row: sqlite3.Row) -> StoredFile:
    values = dict(row)
    return StoredFile(**{**values, "result": json.loads(values["result"]) if values["result"] else None})
