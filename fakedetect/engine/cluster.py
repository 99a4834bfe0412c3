"""Judge the parts of a job on a Ray cluster: actors take one part after another, judge it, and write its rows themselves.

Through Ray go the numbers of parts and counts, no files and no rows, so its object store stays nearly empty. A part whose actor
or machine dies is given to another one by Ray.
"""

from __future__ import annotations

import io
import json
import logging
import os
import sys
from collections import Counter
from collections.abc import Generator, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from fakecore.cpus import usable_cpus
from fakecore.errors import UserError
from fakecore.progress import say
from fakecore.urls import is_url
from fakedetect.engine.isolated import IsolatedJudge
from fakedetect.engine.job import Job

if TYPE_CHECKING:
    import numpy as np

_STORE_BYTES = 128 << 20  # of the object store of a cluster that is started here; Ray's least is 75 MiB
_MOST_BLOCKS = 10_000  # blocks of part numbers: more make Ray's scheduling slow


@dataclass(frozen=True)
class Resources:
    """`workers` actors, each with `cpus` processors and `gpus` GPUs; None: as many as the cluster has processors for."""

    workers: int | None = None
    cpus: int = 1
    gpus: float = 0


@dataclass(frozen=True)
class PartJudged:
    """A part that was judged now: how many of the job's files it has, and its rows by verdict, or by status without one."""

    part: int
    files: int
    counts: Counter[str]


def judge_parts(job: Job, parts: list[int], address: str | None, resources: Resources) -> Generator[PartJudged]:
    """Judge parts of a job, yield each when its rows are written; close the generator to stop. Without an `address`, Ray
    starts on this machine; "auto" is the cluster that this machine is part of.

    Raises UserError if Ray is not installed, does not start or cannot be reached, and for what ends a worker: a detector that
    changed, or a store that cannot be written to.
    """
    with connected(address, resources) as ray:
        numbers = ray.data.from_items(
            [{"part": number} for number in parts], override_num_blocks=min(len(parts), _MOST_BLOCKS)
        )
        workers = resources.workers or max(1, int(ray.cluster_resources().get("CPU", 1)) // resources.cpus)
        judged = numbers.map_batches(
            _PartJudge,
            batch_size=1,
            fn_constructor_kwargs={"place": job.place, "cpus": resources.cpus},
            compute=ray.data.ActorPoolStrategy(size=min(workers, len(parts)), max_tasks_in_flight_per_actor=2),
            num_cpus=resources.cpus,
            num_gpus=resources.gpus,
        )
        # Closed before Ray is shut down: what ends later would start another cluster.
        with closing(iter(judged.iter_batches(batch_size=None, batch_format="numpy", prefetch_batches=0))) as batches:
            for batch in batches:
                for part, files, counts, error in zip(*(batch[name] for name in _ANSWERED), strict=True):
                    if error:
                        raise UserError(str(error))
                    yield PartJudged(int(part), int(files), Counter(json.loads(str(counts))))


_ANSWERED = ("part", "files", "counts", "error")


class _PartJudge:
    """What an actor does: it holds the process that judges, and judges parts."""

    def __init__(self, place: str, cpus: int):
        self._job = Job.open(place)
        self._judge = IsolatedJudge(self._job.request, cpus, self._job.folder)

    def __call__(self, batch: dict[str, np.ndarray]) -> dict[str, list[Any]]:
        part, counts, error = int(batch["part"][0]), Counter[str](), ""
        try:
            files = self._job.files_of(part)
            self._refuse_relative(files)
            rows = self._judge.rows(files)
            self._job.commit(part, rows)
            counts.update(row["verdict"] or row["status"] for row in rows)
        except UserError as stopped:
            error = str(stopped)
        answer = (part, self._job.count_of(part), json.dumps(counts), error)
        return {name: [value] for name, value in zip(_ANSWERED, answer, strict=True)}

    def _refuse_relative(self, files: list[str]) -> None:
        """Raise UserError for relative paths on a machine without the folder that they are in: none could be read there."""
        folder = self._job.folder
        if not os.path.isdir(folder):  # noqa: PTH112
            relative = next((one for one in files if not is_url(one) and not os.path.isabs(one)), None)  # noqa: PTH117
            if relative is not None:
                what = f"a machine of the cluster does not have the folder {folder}"
                raise UserError(what, got=f"the path {relative} in it", remedy="Give absolute paths, or URLs.")


class RayNotes(io.TextIOBase):
    """Takes the place of standard output, to which Ray prints that a worker died; says so in a line."""

    def write(self, text: str) -> int:
        if "A worker died or was killed" in text or "The node with node id" in text:
            say("note: a worker died; its part is judged again")
        return len(text)


@contextmanager
def connected(address: str | None, resources: Resources) -> Iterator[Any]:
    """Connect to a cluster, or start one on this machine, until the block ends; yield the ray module. A connection that the
    caller has is used, and kept.
    """
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # it would report to its makers
    os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")  # of its own errors too, which it repairs
    try:
        import ray
        import ray.data
    except ModuleNotFoundError:
        raise UserError("--engine ray needs Ray", remedy="Install it: pip install 'fakelab[ray]'.") from None
    _quieten(ray)
    if ray.is_initialized():
        yield ray
        return
    own: dict[str, Any] = {"num_cpus": max(usable_cpus(), resources.cpus), "object_store_memory": _STORE_BYTES}
    if address is None and resources.gpus:
        import torch

        own["num_gpus"] = torch.cuda.device_count()
    try:
        with _without_stderr():
            ray.init(
                address or "local",
                include_dashboard=False if address is None else None,
                logging_level=logging.ERROR,
                log_to_driver=False,
                **(own if address is None else {}),
            )
    except (ConnectionError, ValueError, RuntimeError, TimeoutError) as error:
        where = f"the Ray cluster {address} cannot be reached" if address else "Ray does not start"
        raise UserError(where, got=str(error).splitlines()[0]) from None
    try:
        yield ray
    finally:
        ray.shutdown()


@contextmanager
def _without_stderr() -> Iterator[None]:
    """Discard what Ray's own code, not in Python, prints when it starts."""
    sys.stderr.flush()
    kept, nowhere = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 2)
    os.close(nowhere)
    try:
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)


def _quieten(ray: Any) -> None:
    """Show our progress instead of Ray's."""
    context = ray.data.DataContext.get_current()
    context.enable_progress_bars = False
    context.print_on_execution_start = False
    logging.getLogger("ray.data").setLevel(logging.ERROR)
