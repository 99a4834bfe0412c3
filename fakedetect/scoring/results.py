"""The `--out` file of `score`: rows are appended, and a later call resumes."""

from __future__ import annotations

import hashlib
import os
from contextlib import suppress
from pathlib import Path
from sys import intern
from typing import NamedTuple

from fakecore.errors import UserError
from fakecore.files import atomic_path
from fakecore.media.pixels import ImageError, read_bytes
from fakedetect.models.detector import Detector
from fakedetect.scoring.columns import CSV_COLUMNS
from fakedetect.scoring.records import (
    HEADER,
    csv_bytes,
    csv_header,
    csv_record,
    foreign,
    json_bytes,
    json_record,
    records,
)


class Known(NamedTuple):
    """What is kept in memory of a row in the file: a third of a kilobyte with its path."""

    sha256: bytes | None  # of the file as it was scored
    kind: str
    status: str
    verdict: str | None
    note: str | None  # of a video
    points_to: str | None  # what its provenance points to
    start: int  # of the row in the file, bytes


class ResultsFile:
    """The `--out` file, .csv or .jsonl, to which rows are appended in batches; `existing` maps each path already in it to its
    last row.

    Raises UserError for another suffix, and for a file with other columns or from other detectors.
    """

    def __init__(self, path: Path, *detectors: Detector):
        self._path, self._csv = path, path.suffix.lower() == ".csv"
        if path.suffix.lower() not in (".csv", ".jsonl"):
            raise UserError("--out has an unknown suffix", got=repr(path.name), expected=".csv, .jsonl or .html")
        if path.is_dir():
            raise UserError(f"{path} is a folder", expected="a file")
        path.parent.mkdir(parents=True, exist_ok=True)
        self._ids = {detector.id for detector in detectors}
        self.existing: dict[str, Known] = {}
        self._columns: tuple[str, ...] = CSV_COLUMNS  # of a .csv file
        self._stale: set[str] = set()  # paths of rows that are to be replaced
        self._replaced: set[int] = set()  # starts of rows to which newer ones were appended
        if path.exists():
            self._load()

    def append(self, rows: list[dict]) -> None:
        """Append rows in one write."""
        with self._path.open("ab") as file:
            file.write(csv_bytes(rows, self._columns, header=file.tell() == 0) if self._csv else json_bytes(rows))
        for path in self._stale & {row["path"] for row in rows} if self._stale else ():
            self._stale.discard(path)
            self._replaced.add(self.existing.pop(path).start)

    def replace(self, path: str) -> None:
        """Have the row of this path removed, at `close`, if a new one was appended."""
        self._stale.add(path)

    def close(self) -> None:
        """Remove the rows that newer ones replace. Without it, as after a kill, the next ResultsFile does that."""
        if not self._replaced:
            return
        with atomic_path(self._path) as temporary, self._path.open("rb") as before, temporary.open("wb") as after:
            for start, record in records(before, quoted=self._csv):
                if start not in self._replaced:
                    after.write(record)
        self._replaced = set()

    def _load(self) -> None:
        """Read the rows of an earlier call, one at a time. Remove an incomplete last row from the file; reject a file that
        contains anything but results, without changing it.
        """
        size, end = self._path.stat().st_size, 0
        with self._path.open("rb") as file:
            for start, record in records(file, quoted=self._csv):
                end = start + len(record)
                if not (self._csv and start == 0):
                    self._know(
                        csv_record(record, self._columns, self._path) if self._csv else json_record(record, self._path),
                        start,
                    )
                else:
                    self._columns = csv_header(record, self._path)
            if size and not end:
                file.seek(0)
                head = file.read(max(len(HEADER), 40))
                if not (HEADER.startswith(head) if self._csv else head.startswith(b'{"path": ')):
                    raise foreign(self._path, repr(head[:40]))
        if end < size:
            os.truncate(self._path, end)

    def _row(self, record: bytes) -> dict:
        return csv_record(record, self._columns, self._path) if self._csv else json_record(record, self._path)

    def _know(self, row: dict, start: int) -> None:
        if row["detector"] not in self._ids:
            raise UserError(
                f"{self._path} contains results of another detector",
                got=str(row["detector"]),
                expected=" or ".join(sorted(self._ids)),
                remedy="Choose another --out.",
            )
        if row["path"] in self.existing:  # a call that replaced it was killed
            self._replaced.add(self.existing[row["path"]].start)
        verdict = row["verdict"] and intern(row["verdict"])
        note = row["note"] if row["kind"] == "video" else None
        evidence = row.get("provenance")
        self.existing[row["path"]] = Known(
            _as_bytes(row["sha256"]),
            intern(row["kind"]),
            intern(row["status"]),
            verdict,
            note,
            evidence and intern(evidence["points_to"]),
            start,
        )


def digest_of(path: str) -> bytes | None:
    """Return the SHA-256 of a file as it would be scored now; None if it cannot be read."""
    try:
        return hashlib.sha256(read_bytes(Path(path))).digest()
    except ImageError as error:
        if error.kind != "video":
            return None
    with suppress(OSError):
        return bytes.fromhex(file_digest(Path(path)))
    return None


def file_digest(path: Path) -> str:
    """Return the SHA-256 of a file of any size. Raises OSError, also for a pipe, which would block forever."""
    if not path.is_file():
        raise FileNotFoundError(path)
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _as_bytes(digest: object) -> bytes | None:
    with suppress(ValueError, TypeError):
        return bytes.fromhex(digest)  # type: ignore[arg-type]
    return None
