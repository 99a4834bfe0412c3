"""The `--out` file of `score`: rows are appended, and a later call resumes."""

from __future__ import annotations

import csv
import hashlib
import io
import json
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from fakecore.errors import UserError
from fakecore.files import write_bytes
from fakecore.media.pixels import ImageError, read_bytes
from fakecore.progress import progress_bar
from fakedetect.models.detector import Detector
from fakedetect.scoring.photos import COLUMNS

NUMBERS = ("p_fake", "threshold", "real_below")
_READ: dict[str, Any] = {**dict.fromkeys(NUMBERS, float), "outside_domain": {"True": True, "False": False}.__getitem__}


def file_digest(path: Path) -> str:
    """Return the SHA-256 of a file of any size. Raises OSError, also for a pipe, which would block forever."""
    if not path.is_file():
        raise FileNotFoundError(path)
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def changed_since(rows: dict[str, dict]) -> set[str]:
    """Return the paths among `rows` (path -> row) whose files changed since they were scored."""

    def digest(path: str) -> str | None:
        try:
            return hashlib.sha256(read_bytes(Path(path))).hexdigest()
        except ImageError as error:
            if error.kind != "video":
                return None
        try:
            return file_digest(Path(path))
        except OSError:
            return None

    with ThreadPoolExecutor(os.cpu_count() or 1) as pool, progress_bar("comparing", len(rows), "files") as bar:
        changed = set()
        for path, now in zip(rows, pool.map(digest, rows), strict=True):
            if now != rows[path]["sha256"]:
                changed.add(path)
            bar.advance()
    return changed


class ResultsFile:
    """The `--out` file, .csv or .jsonl, to which rows are appended in batches; `existing` maps each path already in it to its
    row.

    Raises UserError for another suffix, and for a file with other columns or from other detectors.
    """

    def __init__(self, path: Path, *detectors: Detector):
        self._path, self._csv = path, path.suffix.lower() == ".csv"
        if path.suffix.lower() not in (".csv", ".jsonl"):
            raise UserError("--out has an unknown suffix", got=repr(path.name), expected=".csv, .jsonl or .html")
        if path.is_dir():
            raise UserError(f"{path} is a folder", expected="a file")
        path.parent.mkdir(parents=True, exist_ok=True)
        before = self._read() if path.exists() else []
        ids = [detector.id for detector in detectors]
        others = {str(row["detector"]) for row in before}.difference(ids)
        if others:
            raise UserError(
                f"{path} contains results of another detector",
                got=", ".join(sorted(others)),
                expected=" or ".join(ids),
                remedy="Choose another --out.",
            )
        self.existing = {row["path"]: row for row in before}

    def append(self, rows: list[dict]) -> None:
        """Append rows in one write."""
        with self._path.open("ab") as file:
            file.write(_as_csv(rows, header=file.tell() == 0) if self._csv else _as_lines(rows))

    def drop(self, paths: set[str]) -> None:
        """Remove the rows of these paths from the file."""
        self.existing = {path: row for path, row in self.existing.items() if path not in paths}
        rows = list(self.existing.values())
        write_bytes(self._path, _as_csv(rows, header=True) if self._csv else _as_lines(rows))

    def _read(self) -> list[dict]:
        """Return the rows of an earlier call. Remove an incomplete last row from the file; reject a file that contains anything
        but results, without changing it.
        """
        data = self._path.read_bytes()
        whole = data[: data.rfind(b"\n") + 1]
        if not self._csv:
            lines = whole.decode(errors="surrogateescape").splitlines()
            rows = [self._checked(line) for line in lines]
        else:
            while whole.count(b'"') % 2:  # truncated inside a quoted name that contains a newline
                whole = whole[: whole.rfind(b"\n", 0, -1) + 1]
            table = list(csv.reader(io.StringIO(whole.decode(errors="surrogateescape"), newline="")))
            if table and tuple(table[0]) != COLUMNS:
                raise self._foreign(",".join(table[0]))
            if any(len(line) != len(COLUMNS) for line in table):
                raise self._foreign("rows with other columns")
            rows = [self._typed(dict(zip(COLUMNS, line, strict=True))) for line in table[1:]]
        if data and not whole and not (_HEADER.startswith(data) if self._csv else data.startswith(b'{"path": ')):
            raise self._foreign(repr(data[:40]))
        if whole != data:
            write_bytes(self._path, whole)
        return rows

    def _typed(self, row: dict[str, str]) -> dict:
        """Return a row of a .csv file with None and numbers restored."""
        try:
            return {name: _READ.get(name, str)(value) if value else None for name, value in row.items()}
        except (KeyError, ValueError):
            raise self._foreign("an invalid number") from None

    def _checked(self, line: str) -> dict:
        try:
            row = json.loads(line)
        except ValueError:
            row = None
        if not isinstance(row, dict) or not row.keys() >= set(COLUMNS) or not isinstance(row["path"], str):
            raise self._foreign(repr(line[:40]))
        return row

    def _foreign(self, got: str) -> UserError:
        what = f"{self._path} is not a results file, or was written by another version"
        return UserError(what, got=got[:80], remedy="Choose another --out.")


def _as_lines(rows: list[dict]) -> bytes:
    return "".join(json.dumps(row) + "\n" for row in rows).encode()


def _as_csv(rows: list[dict], *, header: bool) -> bytes:
    text = io.StringIO()
    # Text is quoted: a file name may contain a comma, a newline or a carriage return.
    writer = csv.DictWriter(text, COLUMNS, extrasaction="ignore", lineterminator="\n", quoting=csv.QUOTE_NONNUMERIC)
    if header:
        writer.writeheader()
    writer.writerows(rows)
    return text.getvalue().encode(errors="surrogateescape")


_HEADER = _as_csv([], header=True)
