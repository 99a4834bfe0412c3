"""Judge the parts of a job in workers of a cluster, which write the rows themselves."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Generator
from dataclasses import dataclass
from functools import partial

from fakecore.cluster import Cluster
from fakecore.errors import UserError
from fakecore.urls import is_url
from fakecore.workers import done_by_workers
from fakedetect.engine.isolated import IsolatedJudge
from fakedetect.engine.job import Job


@dataclass(frozen=True)
class PartJudged:
    """A part that was judged now: how many of the job's files it has, and its rows by verdict, or by status without one."""

    part: int
    files: int
    counts: Counter[str]


def judge_parts(
    job: Job, parts: list[int], cluster: Cluster, stopping: Callable[[], bool] = lambda: False
) -> Generator[PartJudged]:
    """Judge parts of a job, yield each when its rows are written; close the generator to stop. It ends when `stopping()`.

    Raises UserError as `done_by_workers` does, and for what ends a worker: a detector that changed, or a store that cannot be
    written to.
    """
    judge = partial(_PartJudge, job.place, cluster.cpus)
    for part, counts in done_by_workers(judge, parts, cluster, stopping=stopping):
        yield PartJudged(part, job.count_of(part), Counter(counts))


class _PartJudge:
    """The work of a worker: it holds the process that judges, and judges parts."""

    def __init__(self, place: str, cpus: int):
        self._job = Job.open(place)
        self._judge = IsolatedJudge(self._job.request, cpus, self._job.folder)

    def __call__(self, part: int) -> dict[str, int]:
        files = self._job.files_of(part)
        self._refuse_relative(files)
        rows = self._judge.rows(files)
        self._job.commit(part, rows)
        return dict(Counter(row["verdict"] or row["status"] for row in rows))

    def _refuse_relative(self, files: list[str]) -> None:
        """Raise UserError for relative paths on a machine without the folder that they are in: none could be read there."""
        folder = self._job.folder
        if not os.path.isdir(folder):  # noqa: PTH112
            relative = next((one for one in files if not is_url(one) and not os.path.isabs(one)), None)  # noqa: PTH117
            if relative is not None:
                what = f"a machine of the cluster does not have the folder {folder}"
                raise UserError(what, got=f"the path {relative} in it", remedy="Give absolute paths, or URLs.")
