"""`score --engine ray`: a job, whose rows many processes or machines write as Parquet."""

from __future__ import annotations

import json
import os
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, closing
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, ClassVar

import typer

from fakecore.commands.engine import EngineOptions
from fakecore.errors import Interrupted, UserError
from fakecore.interrupt import StopRequest
from fakecore.messages import counted
from fakecore.progress import progress_bar, say
from fakedetect.commands.scorerows import VERDICTS, counts_text

if TYPE_CHECKING:
    from fakecore.cluster import Cluster
    from fakedetect.engine.job import Job
    from fakedetect.engine.judging import PartJudged
    from fakedetect.engine.request import Request
    from fakedetect.faces.options import VideoOptions
    from fakedetect.models.detector import Detector

_PAUSE_S = 0.2  # between looks whether to stop

PartFiles = Annotated[
    int | None,
    typer.Option(
        help="Engine: number of files whose rows are written together. Default: 64 to 4,096, fewer of videos."
    ),
]
Follow = Annotated[
    float | None,
    typer.Option(
        metavar="SECONDS", help="Engine: when all are judged, list the paths again after this time, for ever."
    ),
]


@dataclass(frozen=True)
class JobOptions(EngineOptions):
    """The options of a job."""

    part_files: int | None = None
    follow: float | None = None  # seconds

    LEAST: ClassVar[dict[str, float]] = {**EngineOptions.LEAST, "part_files": 1, "follow": 0.1}


@dataclass
class JobAsked:
    """What the command line asks of a job. `newest` returns the detector of a new job for which none is named; a job that is
    resumed keeps its own.
    """

    paths: list[str]
    detector: str | None
    newest: Callable[[], Path | None]
    video: VideoOptions
    stability: bool
    device: str

    @cached_property
    def detectors(self) -> list[Detector]:
        """The detectors that judge, loaded to know them."""
        from fakedetect.models.remote import local_detector
        from fakedetect.scoring.session import load_detectors

        place = local_detector(self.detector) if self.detector else None
        loaded = load_detectors(place, "cpu", whole_frame=self.video.whole_frame)
        return [one for one in loaded if one]

    def request(self) -> Request:
        from fakedetect.engine.request import Request

        ids = {one.id: one.name for one in self.detectors}
        return Request(self.detector, ids, self.video, self.stability, self.device)

    def files(self, out: str) -> Iterator[str]:
        """Yield the paths of the files to judge, none below `out`; one that cannot be read gets its row later. Raises UserError
        if there are none.
        """
        from fakecore.urls import is_url
        from fakedetect.scoring.inputs import walk_inputs

        own = os.path.join(out if is_url(out) else os.path.abspath(out), "")  # noqa: PTH100, PTH118
        found = False
        for one in walk_inputs(self.paths):
            path = one.url or os.path.abspath(one.path)  # noqa: PTH100
            if not path.startswith(own):
                found = True
                yield one.url or one.path
        if not found:
            raise UserError("there is nothing to score", got=f"no files in {', '.join(self.paths)}")


def score_as_job(asked: JobAsked, out: str | None, options: JobOptions, cluster: Cluster, *, as_json: bool) -> int:
    """Judge files as a job in the folder or at the URL `out`, resuming one that is there; return 1 if some input could not be
    scored, else 0.
    """
    from fakecore.cluster import connected
    from fakecore.urls import shown
    from fakedetect.engine.judging import judge_parts
    from fakedetect.models.facts import expectation

    if not out:
        raise UserError("--engine needs --out", expected="a folder, or the URL of one, for the rows of the job")
    begin = time.monotonic()
    with StopRequest() as stop, ExitStack() as stack:
        job = _job(asked, out, options.part_files)
        counts = _counts_of(job, job.finished())
        if counts:
            say(f"{sum(counts.values()):,} files are already in {shown(out)}")
        while True:
            finished = job.finished()
            if todo := [part for part in range(job.parts) if part not in finished]:
                stack.enter_context(connected(cluster))  # kept while it follows
                with closing(judge_parts(job, todo, cluster, lambda: stop.asked)) as judged:
                    counts += _with_progress(judged, job.files, sum(map(job.count_of, finished)), stop)
            if options.follow is None:
                break
            job = _longer(job, asked, options, stop)
    code = _finish(counts, shown(out), time.monotonic() - begin, as_json=as_json)
    for one in asked.detectors:
        say(f"{one.name}: {expectation(one.facts)}")
    return code


def _job(asked: JobAsked, out: str, part_files: int | None) -> Job:
    """Return the job in `out`, or a new one. Raises UserError for a job of another request."""
    from fakecore.urls import shown
    from fakedetect.engine.job import Job
    from fakedetect.engine.rows import need_pyarrow

    need_pyarrow()
    if not Job.exists(out):
        if asked.detector is None and (newest := asked.newest()):
            asked.detector = str(newest)
        return Job.create(out, asked.request(), asked.paths, asked.files(out), part_files)
    job = Job.open(out)
    asked.detector = asked.detector or job.request.detector
    request = asked.request()
    before, now = _deciding(job.request, job.asked), _deciding(request, tuple(map(shown, asked.paths)))
    for what, value in now.items():
        if value != before[what]:
            raise UserError(
                f"{shown(out)} is a job that was created with another value: {what}",
                got=value,
                expected=before[what],
                remedy="Choose another --out.",
            )
    return job


def _deciding(request: Request, paths: tuple[str, ...]) -> dict[str, object]:
    """Return what decides about the rows of a job."""
    detectors = ", ".join(f"{name} ({one})" for one, name in request.ids.items())
    return {"detector": detectors, "paths": ", ".join(paths), "stability": request.stability, **vars(request.options)}


def _with_progress(judged: Iterable[PartJudged], total: int, done: int, stop: StopRequest) -> Counter[str]:
    """Show the progress of parts; return the counts of their rows."""
    counts = Counter[str]()
    with progress_bar("scoring", total, "files", done) as bar:
        for part in judged:
            counts += part.counts
            bar.note(counts_text(counts))
            bar.advance(part.files)
    if stop.asked:
        raise Interrupted("the parts in --out are complete; the same command resumes")
    return counts


def _longer(job: Job, asked: JobAsked, options: JobOptions, stop: StopRequest) -> Job:
    """Wait until there are new files; return the job with them."""
    while True:
        assert options.follow, "called to follow"
        end = time.monotonic() + options.follow
        while time.monotonic() < end:
            if stop.asked:
                raise Interrupted("all files so far are judged; the same command resumes")
            time.sleep(min(_PAUSE_S, options.follow))
        longer = job.extended(asked.files(job.place), options.part_files)
        if longer.files > job.files:
            say(f"{counted(longer.files - job.files, 'new file')}")
            return longer


def _counts_of(job: Job, parts: set[int]) -> Counter[str]:
    """Return the counts of the rows of finished parts."""
    from concurrent.futures import ThreadPoolExecutor

    def count(part: int) -> Counter[str]:
        return Counter(row["verdict"] or row["status"] for row in job.rows_of(part, ["verdict", "status"]))

    counts = Counter[str]()
    with ThreadPoolExecutor(8) as pool:
        for one in pool.map(count, sorted(parts)):
            counts += one
    return counts


def _finish(counts: Counter[str], out: str, seconds: float, *, as_json: bool) -> int:
    rows = sum(counts.values())
    if as_json:
        print(json.dumps({"out": out, "rows": rows, "counts": dict(counts), "seconds": round(seconds, 3)}))
    say(f"{counted(rows, 'file')}: {counts_text(counts)}; rows in {out}")
    say(f"report: fakelab report {out}")
    return 1 if counts.keys() - set(VERDICTS) else 0
