"""Judge files in a process of their own, so that a file that kills its decoder, or on which it hangs, costs one row."""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Iterator, Sequence

from fakecore.cpus import VARIABLE
from fakecore.errors import UserError
from fakecore.media.videofiles import SUFFIXES
from fakecore.urls import shown
from fakedetect.engine.answering import Answering, DiedError
from fakedetect.engine.request import Request
from fakedetect.scoring.columns import COLUMNS

# Without a row, a frame of a video, or a byte of a large file at a URL. Before its first frame, a video is read twice: for its
# SHA-256, and for the times of its frames. At 200 MB/s, that is a video of 60 GB.
HANG_S = 600.0
_STARTS, _KILLED = 3, 20  # times that the process may end before it is ready: by itself, and by a signal
_PAUSE_S = 1.0  # before it is started again


class IsolatedJudge:
    """Judges files in a child process with `cpus` threads, which is started again when it dies, and killed after `hang_s`
    seconds without progress; relative paths are in `folder`. A context manager.
    """

    def __init__(self, request: Request, cpus: int = 1, folder: str | None = None, *, hang_s: float = HANG_S):
        self._request, self._cpus, self._folder, self._hang_s = request, cpus, folder, hang_s
        self._child: Answering | None = None

    def __enter__(self) -> IsolatedJudge:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def rows(self, paths: Sequence[str]) -> list[dict]:
        """Return the rows of `paths`, files or archives, in order, as `score_files` yields them.

        When the process dies or hangs, the files without a row are judged again, one at a time. The one at which it does so
        again gets the status "unreadable". Raises UserError if the process does not start.
        """
        rows: list[dict] = []
        try:
            for message in self._answers({"paths": list(paths)}):
                rows.append(message["row"])
            return rows
        except DiedError:
            finished = _finished(paths, rows)
        rows = rows[: finished[1]]
        for path in paths[finished[0] :]:
            rows += self._carefully(path)
        return rows

    def close(self) -> None:
        """End the process."""
        if self._child:
            self._child.close()
            self._child = None

    def _carefully(self, path: str) -> list[dict]:
        """Return the rows of one path, whose files are judged one at a time; those that end the process are passed over."""
        rows: list[dict] = []
        between = 0  # times that the process ended while it judged no file
        while True:
            at = None
            try:
                for message in self._answers({"paths": [path], "after": len(rows)}):
                    at = message if "at" in message else None
                    if at is None:
                        rows.append(message["row"])
                return rows
            except DiedError as death:
                if at is not None:
                    rows.append(self._failed(death, at["at"], at["archive"]))
                elif between:  # an archive that ends whoever lists it
                    return [*rows, self._failed(death, shown(path), shown(path))]
                else:
                    between += 1

    def _failed(self, death: DiedError, path: str, archive: str | None) -> dict:
        video = path.lower().endswith(tuple(SUFFIXES))
        kind = "archive" if path == archive else "video" if video else "image"
        detector, name = next(iter(self._request.ids.items()))
        why = "judging it ended the process twice: it needs too much memory, or the file is malicious"
        if death.hung:
            why = f"judging it was stopped twice, after {self._hang_s:g} s without progress: the file is damaged or malicious"
        row = {"path": path, "status": "unreadable", "kind": kind, "error": why, "detector": detector}
        return dict.fromkeys(COLUMNS) | row | {"judged_by": name} | ({"archive": archive} if archive else {})

    def _answers(self, asked: dict) -> Iterator[dict]:
        """Yield the answers of the process to one request. Raises DiedError."""
        child = self._started()
        try:
            yield from child.answers(asked, self._hang_s)
        except DiedError:
            self._child = None
            raise

    def _started(self) -> Answering:
        """Return the process, ready to judge."""
        ended = killed = 0
        while ended < _STARTS and killed < _KILLED:
            if self._child:
                return self._child
            self._child = self._start()
            try:
                message = self._child.read(HANG_S)
            except DiedError as death:
                self._child = None
                killed += death.by_signal
                ended += not death.by_signal
                time.sleep(_PAUSE_S)
                continue
            if "refused" in message:
                self.close()
                raise UserError(message["refused"])
        got = f"it ended {ended + killed} times"
        raise UserError("a process that judges does not start", got=got, remedy="Its errors are in Ray's logs.")

    def _start(self) -> Answering:
        words = [sys.executable, "-m", "fakedetect.engine.child", json.dumps(self._request.to_json())]
        threads, paths = str(self._cpus), os.pathsep.join(filter(None, sys.path))
        environment = {**os.environ, "PYTHONPATH": paths, VARIABLE: threads, "OMP_NUM_THREADS": threads}
        folder = self._folder if self._folder and os.path.isdir(self._folder) else None  # noqa: PTH112
        return Answering(words, environment, folder)


def _finished(paths: Sequence[str], rows: list[dict]) -> tuple[int, int]:
    """Return how many of `paths` have all their rows in `rows`, and how many rows these are. An archive that is the last to
    have rows may lack some.
    """
    place = kept = 0
    for number, row in enumerate(rows):
        while shown(paths[place]) not in (row["path"], row.get("archive")):
            place, kept = place + 1, number
        if row.get("archive") is None:
            place, kept = place + 1, number + 1
    return place, kept
