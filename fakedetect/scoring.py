"""Score photos and folders: rows stream out as they come, one bad file costs one row, and a stopped run goes on."""

from __future__ import annotations

import csv
import io
import json
import os
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice
from pathlib import Path

import numpy as np

from fakecore.device import one_thread
from fakecore.errors import UserError
from fakecore.files import write_bytes
from fakecore.folders import walk_files
from fakecore.pixels import ImageError, decode_image, read_bytes
from fakedetect.detector import SCORE_BATCH, Detector

COLUMNS = ("path", "status", "kind", "p_fake", "verdict", "threshold", "outside_domain", "error", "detector")


def list_inputs(paths: Iterable[str]) -> list[tuple[str, str | None]]:
    """(path, problem) for every file to be judged: files as given, folders walked in order; a problem is a row too."""
    found: list[tuple[str, str | None]] = []
    for name in paths:
        path = Path(name)
        if path.is_dir():
            problems: list[tuple[str, str]] = []
            found += [(str(file), None) for file in walk_files(path, problems)]
            found += problems
        else:
            found.append((name, None))
    return list(dict.fromkeys(found))


def score_files(inputs: Iterable[tuple[str, str | None]], detector: Detector) -> Iterator[list[dict]]:
    """Rows, a batch at a time, in the order of `inputs`. Each thread reads, decodes and judges its own batch; few
    batches are under way at once, so memory stays flat however many files there are.
    """
    inputs = iter(inputs)
    threads = os.cpu_count() or 1
    with ThreadPoolExecutor(threads) as pool:
        try:
            waiting: deque[Future] = deque()
            while True:
                while len(waiting) < 2 * threads and (batch := list(islice(inputs, SCORE_BATCH))):
                    waiting.append(pool.submit(_judge_batch, batch, detector))
                if not waiting:
                    return
                yield waiting.popleft().result()
        finally:
            pool.shutdown(cancel_futures=True)


def _judge_batch(items: list[tuple[str, str | None]], detector: Detector) -> list[dict]:
    outcomes = [_prepare(path, problem, detector) for path, problem in items]
    good = [outcome for outcome in outcomes if isinstance(outcome, np.ndarray)]
    with one_thread():
        judgements = iter(detector.judge(detector.logits(np.stack(good))) if good else ())
    rows = []
    for (path, _), outcome in zip(items, outcomes, strict=True):
        row = dict.fromkeys(COLUMNS) | {"path": path, "status": "ok", "kind": "image", "detector": detector.id}
        if isinstance(outcome, ImageError):
            row |= {"status": outcome.status, "error": str(outcome)}
        else:
            judgement = next(judgements)
            row |= {"p_fake": judgement.p_fake, "verdict": judgement.verdict, "threshold": judgement.threshold}
        rows.append(row)
    return rows


def _prepare(path: str, problem: str | None, detector: Detector) -> np.ndarray | ImageError:
    try:
        if problem is not None:
            raise ImageError("unreadable", problem)
        return detector.prepare(decode_image(read_bytes(Path(path))))
    except ImageError as error:
        return error


class ResultsFile:
    """`--out`: rows appended batch by batch to a .csv or .jsonl file; `seen` maps each path
    that it held already to its row.

    Raises UserError for another suffix, and for a file of other columns or of another detector.
    """

    def __init__(self, path: Path, detector: Detector):
        self._path, self._csv = path, path.suffix.lower() == ".csv"
        if path.suffix.lower() not in (".csv", ".jsonl"):
            raise UserError("--out has a suffix that is not known", got=repr(path.name), expected=".csv or .jsonl")
        if path.is_dir():
            raise UserError(f"{path} is a folder", expected="a file")
        path.parent.mkdir(parents=True, exist_ok=True)
        before = self._read() if path.exists() else []
        others = {row["detector"] for row in before} - {detector.id}
        if others:
            raise UserError(
                f"{path} holds results of another detector",
                got=", ".join(sorted(map(str, others))),
                expected=detector.id,
                remedy="Choose another --out.",
            )
        self.seen = {row["path"]: row for row in before}

    def append(self, rows: list[dict]) -> None:
        """Add rows at the end, in one write."""
        if self._csv:
            data = _as_csv(rows, header=not self._path.exists() or self._path.stat().st_size == 0)
        else:
            data = "".join(json.dumps(row) + "\n" for row in rows).encode()
        with self._path.open("ab") as file:
            file.write(data)

    def _read(self) -> list[dict]:
        """Rows of an earlier call. A last row that a kill cut short is taken off the file; a file that holds anything
        else than results is refused, untouched.
        """
        data = self._path.read_bytes()
        whole = data[: data.rfind(b"\n") + 1]
        if not self._csv:
            lines = whole.decode(errors="surrogateescape").splitlines()
            rows = [self._checked(line) for line in lines]
        else:
            while whole.count(b'"') % 2:  # cut inside a quoted name that holds a newline
                whole = whole[: whole.rfind(b"\n", 0, -1) + 1]
            lines = list(csv.reader(io.StringIO(whole.decode(errors="surrogateescape"), newline="")))
            if lines and tuple(lines[0]) != COLUMNS:
                raise self._foreign(",".join(lines[0]))
            if any(len(line) != len(COLUMNS) for line in lines):
                raise self._foreign("rows of other columns")
            rows = [dict(zip(COLUMNS, line, strict=True)) for line in lines[1:]]
        if data and not whole and not (_HEADER.startswith(data) if self._csv else data.startswith(b'{"path": ')):
            raise self._foreign(repr(data[:40]))
        if whole != data:
            write_bytes(self._path, whole)
        return rows

    def _checked(self, line: str) -> dict:
        try:
            row = json.loads(line)
        except ValueError:
            row = None
        if not isinstance(row, dict) or not row.keys() >= set(COLUMNS):
            raise self._foreign(repr(line[:40]))
        return row

    def _foreign(self, got: str) -> UserError:
        return UserError(f"{self._path} is not a file of results", got=got[:80], remedy="Choose another --out.")


def _as_csv(rows: list[dict], *, header: bool) -> bytes:
    text = io.StringIO()
    # Texts are quoted: a file's name may hold a comma, a newline or a carriage return.
    writer = csv.DictWriter(text, COLUMNS, lineterminator="\n", quoting=csv.QUOTE_NONNUMERIC)
    if header:
        writer.writeheader()
    writer.writerows(rows)
    return text.getvalue().encode(errors="surrogateescape")


_HEADER = _as_csv([], header=True)
