"""`score --engine ray`: a job, whose rows many processes or machines write as Parquet."""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import redirect_stdout
from dataclasses import dataclass
from typing import TYPE_CHECKING

from fakecore.errors import Interrupted, UserError, unknown_name
from fakecore.interrupt import StopRequest
from fakecore.messages import counted
from fakecore.progress import progress_bar, say
from fakedetect.commands.scorerows import VERDICTS

if TYPE_CHECKING:
    from fakedetect.engine.cluster import Resources
    from fakedetect.engine.job import Job
    from fakedetect.engine.request import Request
    from fakedetect.faces.options import VideoOptions

ENGINES = ("ray",)


@dataclass(frozen=True)
class EngineOptions:
    """The options of a job. Raises UserError for values that are out of range."""

    engine: str
    address: str | None = None
    workers: int | None = None
    worker_cpus: int = 1
    worker_gpus: float = 0
    part_files: int = 256
    follow_s: float | None = None

    def __post_init__(self) -> None:
        if self.engine not in ENGINES:
            raise unknown_name("engine", self.engine, ENGINES)
        least = {"--workers": self.workers, "--worker-cpus": self.worker_cpus, "--part-files": self.part_files}
        for name, value in least.items():
            if value is not None and value < 1:
                raise UserError(f"{name} is too small", got=value, expected="1 or more")
        if self.worker_gpus < 0 or (self.follow_s is not None and self.follow_s <= 0):
            negative = self.worker_gpus < 0
            name = "--worker-gpus" if negative else "--follow"
            got = self.worker_gpus if negative else self.follow_s
            raise UserError(f"{name} is out of range", got=got, expected="a positive number")

    def resources(self) -> Resources:
        from fakedetect.engine.cluster import Resources

        return Resources(self.workers, self.worker_cpus, self.worker_gpus)


def refuse_elsewhere(given: dict[str, object], engine: str | None) -> None:
    """Raise UserError for options that need the rows in this process, or without an `engine`, for those of one."""
    unknown = [name for name, value in given.items() if value not in (None, False)]
    if not unknown:
        return
    if engine is None:
        raise UserError(f"{unknown[0]} applies only to --engine", remedy="Add --engine ray.")
    remedy = "report DIR shows, selects and sorts the rows when they are written."
    raise UserError(f"--engine cannot be combined with {', '.join(unknown)}", remedy=remedy)


def score_as_job(
    paths: list[str],
    detector: str | None,
    out: str | None,
    *,
    video: VideoOptions,
    stability: bool,
    device: str,
    options: EngineOptions,
    as_json: bool,
) -> int:
    """Judge `paths` as a job in the folder or at the URL `out`, resuming one that is there; return 1 if some input could not be
    scored, else 0.
    """
    from fakedetect.engine.cluster import RayNotes, judge_parts

    if not out:
        raise UserError("--engine needs --out", expected="a folder, or the URL of one, for the rows of the job")
    begin, known = time.monotonic(), Counter[str]()
    with StopRequest() as stop, redirect_stdout(RayNotes()):
        job = _job(paths, detector, out, video=video, stability=stability, device=device, options=options)
        while True:
            finished = job.finished()
            todo = [part for part in range(job.parts) if part not in finished]
            if finished and not known:
                known = _counts_of(job, finished)
                say(f"{sum(known.values()):,} files are already in {out}")
            judged = judge_parts(job, todo, options.address, options.resources())
            done = sum(map(job.count_of, finished))
            counts = _shown(judged, job.files, done, stop) if todo else Counter()
            known += counts
            if options.follow_s is None:
                break
            job = _followed(job, paths, options, stop)
    return _finish(known, out, time.monotonic() - begin, as_json=as_json)


def _job(
    paths: list[str],
    detector: str | None,
    out: str,
    *,
    video: VideoOptions,
    stability: bool,
    device: str,
    options: EngineOptions,
) -> Job:
    """Return the job in `out`, or a new one. Raises UserError for a job of another request."""
    from fakecore.urls import shown
    from fakedetect.engine.job import Job
    from fakedetect.engine.rows import need_pyarrow

    need_pyarrow()
    if not Job.exists(out):
        return Job.create(
            out, _request(detector, video, stability, device), paths, _files(paths, out), options.part_files
        )
    job = Job.open(out)
    request = _request(job.request.detector if detector is None else detector, video, stability, device)
    differs = {
        "the detector": (job.request.ids, request.ids),
        "the options": (_comparable(job.request), _comparable(request)),
        "the paths": (job.asked, tuple(map(shown, paths))),
    }
    for what, (before, now) in differs.items():
        if before != now:
            raise UserError(
                f"{out} is a job that was created with other values: {what}",
                got=_text(now),
                expected=_text(before),
                remedy="Choose another --out.",
            )
    return job


def _request(detector: str | None, video: VideoOptions, stability: bool, device: str) -> Request:
    """Return what the job asks for; it loads the detectors once, to know them."""
    from fakedetect.engine.request import Request
    from fakedetect.models.remote import local_detector
    from fakedetect.scoring.session import load_detectors

    loaded = load_detectors(local_detector(detector) if detector else None, "cpu", whole_frame=video.whole_frame)
    return Request(detector, {one.id: one.name for one in loaded if one}, video, stability, device)


def _files(paths: list[str], out: str) -> Iterator[str]:
    """Yield the paths of the files to judge; one that cannot be read gets its row later."""
    from fakedetect.scoring.inputs import walk_inputs

    found = False
    for one in walk_inputs(paths):
        if not one.path.startswith(out.rstrip("/") + "/"):
            found = True
            yield one.url or one.path
    if not found:
        raise UserError("there is nothing to score", got=f"no files in {', '.join(paths)}")


def _shown(judged, total: int, done: int, stop: StopRequest) -> Counter[str]:
    """Show the progress of parts; return the counts of their rows."""
    counts = Counter[str]()
    with progress_bar("scoring", total, "files", done) as bar:
        for part in judged:
            counts += part.counts
            bar.note(_line(counts))
            bar.advance(part.files)
            if stop.asked:
                raise Interrupted("the parts in --out are complete; the same command resumes")
    return counts


def _followed(job: Job, paths: list[str], options: EngineOptions, stop: StopRequest) -> Job:
    """Wait until there are new files; return the job with them."""
    while True:
        assert options.follow_s, "called to follow"
        end = time.monotonic() + options.follow_s
        while time.monotonic() < end:
            if stop.asked:
                raise Interrupted("all files so far are judged; the same command resumes")
            time.sleep(min(0.2, options.follow_s))
        longer = job.extended(_files(paths, job.place), options.part_files)
        if longer.files > job.files:
            say(f"{counted(longer.files - job.files, 'new file')}")
            return longer


def _counts_of(job: Job, parts: set[int]) -> Counter[str]:
    from concurrent.futures import ThreadPoolExecutor

    def count(part: int) -> Counter[str]:
        return Counter(row["verdict"] or row["status"] for row in job.rows_of(part, ["verdict", "status"]))

    counts = Counter[str]()
    with ThreadPoolExecutor(8) as pool:
        for one in pool.map(count, sorted(parts)):
            counts += one
    return counts


def _finish(counts: Counter[str], out: str, seconds: float, *, as_json: bool) -> int:
    lost = sum(number for name, number in counts.items() if name not in VERDICTS)
    rows = sum(counts.values())
    if as_json:
        facts = {"out": out, "rows": rows, "counts": dict(counts), "seconds": round(seconds, 3)}
        print(json.dumps(facts))
    say(f"{counted(rows, 'file')}: {_line(counts)}; rows in {out}")
    say(f"report: fakelab report {out}")
    return 1 if lost else 0


def _line(counts: Counter[str]) -> str:
    lost = {name: number for name, number in counts.items() if name not in VERDICTS}
    text = ", ".join(f"{counts[name]:,} {name}" for name in VERDICTS if counts[name]) or "none scored"
    return text + ("; not scored: " + ", ".join(f"{n:,} {name}" for name, n in sorted(lost.items())) if lost else "")


def _comparable(request: Request) -> dict:
    return {"stability": request.stability, **vars(request.options)}


def _text(value: object) -> str:
    return ", ".join(f"{k} {v}" for k, v in value.items()) if isinstance(value, dict) else ", ".join(map(str, value))  # type: ignore[call-overload]
