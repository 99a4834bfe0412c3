"""A process that judges for a worker of a job: `python -m fakedetect.engine.child '{...}'`, with a Request as JSON.

It reads {"paths": [...]} as lines of JSON from standard input, and answers with {"row": {...}} for each file, and with
{"done": true} in the end. A file that kills its decoder ends this process, and not the worker that started it. To find such a
file, the worker asks with "after": n. Then one file is judged at a time, without the first n, and {"at": path, "archive": ...}
comes before each row. {"progress": true} says, at most once a second, that a video or a copy of a large file is not at its end.
"""

from __future__ import annotations

import json
import sys
import threading
import time
from collections.abc import Iterator
from itertools import islice

from fakecore.childprocess import end_with_parent, own_output
from fakecore.errors import UserError
from fakecore.urls import is_url
from fakedetect.engine.request import Request
from fakedetect.models.detector import Detector
from fakedetect.models.remote import local_detector
from fakedetect.scoring.files import score_files
from fakedetect.scoring.inputs import Input, expand
from fakedetect.scoring.remote import at_url
from fakedetect.scoring.session import load_detectors
from fakedetect.scoring.video import VideoJudge

_PROGRESS_S = 1.0


def main() -> None:
    """Load the detectors, and answer until standard input ends."""
    answers = _Answers()
    end_with_parent()
    request = Request.from_json(json.loads(sys.argv[1]))
    try:
        judge = _Judge(request, answers)
    except UserError as error:
        answers.say({"refused": str(error)})
        return
    answers.say({"ready": True})
    for line in sys.stdin:
        asked = json.loads(line)
        inputs = expand(map(input_of, asked["paths"]), on_bytes=answers.progress)
        if "after" in asked:
            for one in islice(inputs, asked["after"], None):
                answers.say({"at": one.path, "archive": one.archive})
                for row in judge.rows(iter([one])):
                    answers.say({"row": row})
        else:
            for row in judge.rows(inputs):
                answers.say({"row": row})
        answers.say({"done": True})


class _Answers:
    """Writes messages to standard output; a transfer says in a thread of its own that it makes progress."""

    def __init__(self) -> None:
        self._file, self._lock, self._last_s = own_output(), threading.Lock(), 0.0

    def say(self, message: dict) -> None:
        with self._lock:
            self._file.write(json.dumps(message) + "\n")
            self._file.flush()

    def progress(self, *_: object) -> None:
        """Say that this process still works, at most once in _PROGRESS_S."""
        now_s = time.monotonic()
        if now_s - self._last_s >= _PROGRESS_S:
            self._last_s = now_s
            self.say({"progress": True})


class _Judge:
    def __init__(self, request: Request, answers: _Answers):
        place = local_detector(request.detector) if request.detector else None
        self._detector, self._of_photos = load_detectors(place, request.device, whole_frame=request.options.whole_frame)
        check_ids([self._detector, self._of_photos], request)
        self._videos = VideoJudge(
            self._detector, request.options, on_progress=answers.progress, on_bytes=answers.progress
        )
        self._stability = request.stability

    def rows(self, inputs: Iterator[Input]) -> Iterator[dict]:
        judged = score_files(inputs, self._detector, self._videos, stability=self._stability, of_photos=self._of_photos)
        for rows in judged:
            yield from rows


def input_of(path: str) -> Input:
    """Return the input for a path or URL of a listing."""
    return at_url(path) if is_url(path) else Input(path)


def check_ids(detectors: list[Detector | None], request: Request) -> None:
    """Raise UserError unless these are the detectors of a request."""
    found = {one.id for one in detectors if one}
    if found != request.ids.keys():
        raise UserError(
            f"the detector {request.detector or 'of the package'} is another one than when the job was created",
            got=", ".join(sorted(found)),
            expected=", ".join(sorted(request.ids)),
            remedy="Restore it, or write to another --out.",
        )


if __name__ == "__main__":
    main()
