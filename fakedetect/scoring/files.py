"""Score photos, films and folders: rows stream out as they come, one bad file costs one row, and a stopped run goes on."""

from __future__ import annotations

import csv
import hashlib
import io
import json
import os
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from itertools import islice
from pathlib import Path

import numpy as np

from fakecore.device import one_thread
from fakecore.errors import UserError
from fakecore.files import write_bytes
from fakecore.media.pixels import ImageError, decode_image, read_bytes
from fakecore.media.videofiles import named_video
from fakecore.progress import progress_bar, say
from fakecore.sets.folders import walk_files
from fakedetect.models.detector import Detector, Judgement, batch_size
from fakedetect.scoring.video import FilmJudge

COLUMNS = ("path", "status", "kind", "p_fake", "verdict", "threshold", "real_below", "outside_domain", "error", "note")
COLUMNS += ("sha256", "detector")  # of the file's bytes; of the detector's weights, its start
OUTSIDE_NOTE = "unlike anything in training: p_fake means nothing here"
NUMBERS = ("p_fake", "threshold", "real_below")
_READ = {**dict.fromkeys(NUMBERS, float), "outside_domain": {"True": True, "False": False}.__getitem__}


def list_inputs(paths: Iterable[str]) -> list[tuple[str, str | None]]:
    """(path, problem) for every file to be judged: files as given, folders walked in order; a problem is a row too.

    Raises UserError for a path without a single character, as an unset variable of a shell gives.
    """
    found: list[tuple[str, str | None]] = []
    empty = []
    for name in paths:
        if not name:
            raise UserError("a path is empty", got="''", expected="a file or a folder; . is the current one")
        path = Path(name)
        if path.is_dir():
            problems: list[tuple[str, str]] = []
            inside = [(str(file), None) for file in walk_files(path, problems)]
            found += inside + problems
            if not inside and not problems:
                empty.append(name)
        else:
            found.append((name, None))
    for name in empty if found else ():
        say(f"note: {name} holds no files to judge")
    return list(dict.fromkeys(found))


def score_files(
    inputs: Iterable[tuple[str, str | None]], detector: Detector, films: FilmJudge | None = None
) -> Iterator[list[dict]]:
    """Rows, a batch at a time, in the order of `inputs`. Each thread reads, decodes and judges its own batch of photos;
    few batches are under way at once, so memory stays flat however many files there are. Films are judged one by one, by
    `films`, on the calling thread; their rows have `frames`, `duration_s`, `tracks` and `timeline` besides.
    """
    inputs, films = iter(inputs), films or FilmJudge(detector)
    threads = os.cpu_count() or 1
    size = batch_size(detector.network, detector.resolution, detector.device)
    with ThreadPoolExecutor(threads) as pool:
        try:
            waiting: deque[Future] = deque()
            while True:
                while len(waiting) < 2 * threads and (batch := list(islice(inputs, size))):
                    waiting.append(pool.submit(_judge_batch, batch, detector))
                if not waiting:
                    return
                yield from _with_films(waiting.popleft().result(), films)
        finally:
            pool.shutdown(cancel_futures=True)


def _with_films(rows: list[dict], films: FilmJudge) -> Iterator[list[dict]]:
    """The rows of a batch; those before a film are not kept waiting for it."""
    ready: list[dict] = []
    for row in rows:
        if row["status"] is None:
            if ready:
                yield ready
            ready = []
            yield [_judge_film(row, films)]
        else:
            ready.append(row)
    if ready:
        yield ready


def _judge_film(row: dict, films: FilmJudge) -> dict:
    with suppress(OSError):  # what cannot be read is told by `judge` below
        row["sha256"] = _film_digest(Path(row["path"]))
    facts, judgement = films.judge(row["path"])
    return row | facts if judgement is None else _with(row | facts, judgement)


def _film_digest(path: Path) -> str:
    """Of a file that may be larger than the memory. Raises OSError, also for a pipe, which would be waited on for ever."""
    if not path.is_file():
        raise FileNotFoundError(path)
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _judge_batch(items: list[tuple[str, str | None]], detector: Detector) -> list[dict]:
    seen = [_look_at(path, problem, detector) for path, problem in items]
    good = [image for _, image in seen if image is not None]
    with one_thread():
        judgements = iter(detector.judge(*detector.outputs(np.stack(good))) if good else ())
    return [row if image is None else _with(row, next(judgements)) for row, image in seen]


def _with(row: dict, judgement: Judgement) -> dict:
    row = row | vars(judgement)
    if judgement.outside_domain:
        row["note"] = "; ".join(filter(None, [OUTSIDE_NOTE, row["note"]]))
    return row


def _look_at(path: str, problem: str | None, detector: Detector) -> tuple[dict, np.ndarray | None]:
    """A row without its judgement, and the image as the detector wants it; None when there is none to judge. The status of
    a film stays None: it is judged later.
    """
    row = dict.fromkeys(COLUMNS) | {"path": path, "status": "ok", "kind": "image", "detector": detector.id}
    try:
        if problem is not None:
            raise ImageError("unreadable", problem, "video" if named_video(Path(path)) else "image")
        data = read_bytes(Path(path))
        row["sha256"] = hashlib.sha256(data).hexdigest()
        image = decode_image(data)
        return row | {"note": detector.note_on(image)}, detector.prepare(image)
    except ImageError as error:
        if error.kind == "video":
            return row | {"status": None, "kind": "video"}, None
        return row | {"status": error.status, "error": str(error)}, None


def changed_since(rows: dict[str, dict]) -> set[str]:
    """The paths among `rows` (path -> row) whose files hold other bytes now than when they were judged."""

    def digest(path: str) -> str | None:
        try:
            return hashlib.sha256(read_bytes(Path(path))).hexdigest()
        except ImageError as error:
            if error.kind != "video":
                return None
        try:
            return _film_digest(Path(path))
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
    """`--out`: rows appended batch by batch to a .csv or .jsonl file; `seen` maps each path
    that it held already to its row.

    Raises UserError for another suffix, and for a file of other columns or of another detector.
    """

    def __init__(self, path: Path, detector: Detector):
        self._path, self._csv = path, path.suffix.lower() == ".csv"
        if path.suffix.lower() not in (".csv", ".jsonl"):
            raise UserError(
                "--out has a suffix that is not known", got=repr(path.name), expected=".csv, .jsonl or .html"
            )
        if path.is_dir():
            raise UserError(f"{path} is a folder", expected="a file")
        path.parent.mkdir(parents=True, exist_ok=True)
        before = self._read() if path.exists() else []
        others = {str(row["detector"]) for row in before} - {detector.id}
        if others:
            raise UserError(
                f"{path} holds results of another detector",
                got=", ".join(sorted(others)),
                expected=detector.id,
                remedy="Choose another --out.",
            )
        self.seen = {row["path"]: row for row in before}

    def append(self, rows: list[dict]) -> None:
        """Add rows at the end, in one write."""
        with self._path.open("ab") as file:
            file.write(_as_csv(rows, header=file.tell() == 0) if self._csv else _as_lines(rows))

    def drop(self, paths: set[str]) -> None:
        """Take the rows of these paths off the file."""
        self.seen = {path: row for path, row in self.seen.items() if path not in paths}
        rows = list(self.seen.values())
        write_bytes(self._path, _as_csv(rows, header=True) if self._csv else _as_lines(rows))

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
            rows = [self._typed(dict(zip(COLUMNS, line, strict=True))) for line in lines[1:]]
        if data and not whole and not (_HEADER.startswith(data) if self._csv else data.startswith(b'{"path": ')):
            raise self._foreign(repr(data[:40]))
        if whole != data:
            write_bytes(self._path, whole)
        return rows

    def _typed(self, row: dict[str, str]) -> dict:
        """A row of a .csv with None and numbers as they were."""
        try:
            return {name: _READ.get(name, str)(value) if value else None for name, value in row.items()}
        except (KeyError, ValueError):
            raise self._foreign("a number that is none") from None

    def _checked(self, line: str) -> dict:
        try:
            row = json.loads(line)
        except ValueError:
            row = None
        if not isinstance(row, dict) or not row.keys() >= set(COLUMNS) or not isinstance(row["path"], str):
            raise self._foreign(repr(line[:40]))
        return row

    def _foreign(self, got: str) -> UserError:
        what = f"{self._path} is not a file of results, or of another version"
        return UserError(what, got=got[:80], remedy="Choose another --out.")


def _as_lines(rows: list[dict]) -> bytes:
    return "".join(json.dumps(row) + "\n" for row in rows).encode()


def _as_csv(rows: list[dict], *, header: bool) -> bytes:
    text = io.StringIO()
    # Texts are quoted: a file's name may hold a comma, a newline or a carriage return.
    writer = csv.DictWriter(text, COLUMNS, extrasaction="ignore", lineterminator="\n", quoting=csv.QUOTE_NONNUMERIC)
    if header:
        writer.writeheader()
    writer.writerows(rows)
    return text.getvalue().encode(errors="surrogateescape")


_HEADER = _as_csv([], header=True)
