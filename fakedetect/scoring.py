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
from fakecore.files import cut_jsonl, write_bytes
from fakecore.pixels import ImageError, decode_image, read_bytes
from fakecore.sources import walk_files
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
            row |= {"p_fake": round(judgement.p_fake, 6), "verdict": judgement.verdict}
            row |= {"threshold": round(judgement.threshold, 6)}
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
    """`--out`: rows appended batch by batch to a .csv or .jsonl file; `seen` are the paths it held already.

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
        others = {row.get("detector") for row in before} - {detector.id}
        if others:
            raise UserError(
                f"{path} holds results of another detector",
                got=", ".join(map(str, others)),
                expected=detector.id,
                remedy="Choose another --out.",
            )
        self.seen = {row["path"] for row in before}

    def append(self, rows: list[dict]) -> None:
        """Add rows at the end, in one write."""
        if self._csv:
            data = _as_csv(rows, header=not self._path.exists() or self._path.stat().st_size == 0)
        else:
            data = "".join(json.dumps(row) + "\n" for row in rows).encode()
        with self._path.open("ab") as file:
            file.write(data)

    def _read(self) -> list[dict]:
        """Whole rows of an earlier call; a row that was cut short is removed from the file."""
        if not self._csv:
            return cut_jsonl(self._path, keep=1 << 62)
        text = self._path.read_bytes().decode(errors="surrogateescape")
        lines = list(csv.reader(io.StringIO(text, newline="")))
        if not text.endswith("\n"):
            lines = lines[:-1]
        if lines and tuple(lines[0]) != COLUMNS:
            got = ",".join(lines[0])[:80]
            raise UserError(f"{self._path} is not a file of results", got=got, remedy="Choose another --out.")
        kept = [dict(zip(COLUMNS, line, strict=True)) for line in lines[1:] if len(line) == len(COLUMNS)]
        write_bytes(self._path, _as_csv(kept, header=True))
        return kept


def _as_csv(rows: list[dict], *, header: bool) -> bytes:
    text = io.StringIO()
    writer = csv.DictWriter(text, COLUMNS, lineterminator="\n")
    if header:
        writer.writeheader()
    writer.writerows(rows)
    return text.getvalue().encode(errors="surrogateescape")
