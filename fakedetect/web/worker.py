"""A process that judges for the server: reads tasks as JSON lines from standard input, and writes rows to standard output.

`python -m fakedetect.web.worker '{...}'`. What a damaged or malicious file does to its decoder ends here: memory, file sizes
and the number of open files are limited, and the server stops a worker that takes too long, and starts another.
"""

from __future__ import annotations

import json
import os
import resource
import sys
import traceback
from pathlib import Path
from typing import Any, TextIO

from fakecore.childprocess import end_with_parent, own_output
from fakecore.errors import UserError
from fakecore.media.videostream import VideoError
from fakedetect.web.choices import Choice, Panel
from fakedetect.web.settings import MEBIBYTE
from fakedetect.web.tasks import HEAT, MARKED, Limits, Task

_MOST_FILES = 256
_MOST_FILE_BYTES = 2048 * MEBIBYTE  # of a marked video
_NICE = 5  # below the server, which then has the next files ready when a batch is done


def main() -> None:
    """Read the configuration, load the detectors, and serve until standard input ends."""
    os.nice(_NICE)
    answers = own_output()
    end_with_parent()
    given = json.loads(sys.argv[1])
    panel = Panel([Choice(**one) for one in given["choices"]], given["device"])
    try:
        panel.load_all()
        described = [panel.described(name) for name in panel.names()]
    except UserError as error:
        _say(answers, {"refused": str(error)})
        return
    _limit(given["memory_mb"])
    _say(answers, {"ready": described})
    from fakedetect.web.judging import Judge

    def on_progress(task: str, analysed: int, expected: int) -> None:
        _say(answers, {"id": task, "progress": [analysed, expected]})

    judge = Judge(panel, Limits(**given["limits"]), on_progress)
    for line in sys.stdin:
        request = json.loads(line)
        _say(answers, {"taken": True})  # if this process ends before, it is not because of a file
        if "make" in request:
            _make(request["make"], panel, answers)
        else:
            for name, row in judge.judge([Task.from_json(one) for one in request["tasks"]]):
                _say(answers, {"id": name, "row": row})
        _say(answers, {"idle": True})


def _make(asked: dict[str, Any], panel: Panel, answers: TextIO) -> None:
    """Write a heat map, a report or a marked video; answer why it cannot be made, or nothing."""
    from fakedetect.web.drawing import write_marked
    from fakedetect.web.judging import write_heat, write_report

    def on_progress(done: int, expected: int) -> None:
        _say(answers, {"id": asked["id"], "progress": [done, expected]})

    try:
        if asked["what"] == HEAT:
            write_heat(Path(asked["results"]), asked["row"], asked["choice"], panel)
        elif asked["what"] == MARKED:
            write_marked(Path(asked["results"]), Path(asked["video"]), on_progress)
        else:
            files = [(row, Path(folder)) for row, folder in asked["files"]]
            write_report(Path(asked["target"]), files, asked["choice"], panel)
        _say(answers, {"id": asked["id"], "row": {}})
    except (UserError, VideoError) as error:
        _say(answers, {"id": asked["id"], "row": {"error": str(error)}})
    except OSError:
        traceback.print_exc()
        _say(answers, {"id": asked["id"], "row": {"error": "the job was deleted meanwhile, or the disk is full"}})
    except Exception:
        traceback.print_exc()
        _say(answers, {"id": asked["id"], "row": {"error": "an error of the server; its log has the details"}})


def _say(answers: TextIO, message: dict[str, Any]) -> None:
    answers.write(json.dumps(message) + "\n")
    answers.flush()


def _limit(memory_mb: int) -> None:
    """Limit what the process can take from now on."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_NOFILE, (_MOST_FILES, _MOST_FILES))
    resource.setrlimit(resource.RLIMIT_FSIZE, (_MOST_FILE_BYTES, _MOST_FILE_BYTES))
    if sys.platform == "linux":
        # Not RLIMIT_AS: it counts address space that threads reserve and do not use, gigabytes for a video.
        most = _data_bytes() + memory_mb * MEBIBYTE
        resource.setrlimit(resource.RLIMIT_DATA, (most, most))


def _data_bytes() -> int:
    pages = int(Path("/proc/self/statm").read_text().split()[5])  # private and writable, as RLIMIT_DATA counts them
    return pages * resource.getpagesize()


if __name__ == "__main__":
    main()
