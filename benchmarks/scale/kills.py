"""Kill workers, drivers and nodes while a job runs, and compare its rows with those of a job that nothing disturbed."""

from __future__ import annotations

import logging
import random
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.scale.processes import kill, ours, wait_for_end
from fakedetect.engine.cluster import Resources, judge_parts
from fakedetect.engine.job import Job
from fakedetect.engine.request import Request

_PAUSE_S = (1.0, 4.0)  # between two kills


@dataclass(frozen=True)
class Killed:
    """Kills of one kind, and the rows afterwards: how many, missing, doubled, and different from those of the quiet job."""

    kills: int
    rows: int
    missing: int
    doubled: int
    different: int
    seconds: float


def workers(request: Request, files: list[Path], work: Path, kills: int) -> Killed:
    """Kill processes of actors, and the processes that judge for them."""
    import ray

    def kill_one() -> bool:
        found = [*ours(b"ray::MapWorker"), *ours(b"fakedetect.engine.child")]
        return bool(found) and kill(random.choice(found))

    ray.init("local", include_dashboard=False, log_to_driver=False, logging_level=logging.ERROR)
    try:
        return _while_it_runs(request, files, work / "workers", kills, kill_one)
    finally:
        ray.shutdown()


def nodes(request: Request, files: list[Path], work: Path, kills: int, count: int = 3) -> Killed:
    """Kill nodes of a cluster that Ray simulates on this machine, and add others."""
    import ray
    from ray.cluster_utils import Cluster

    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0})
    alive = [cluster.add_node(num_cpus=1) for _ in range(count)]
    ray.init(cluster.address, log_to_driver=False, logging_level=logging.ERROR)

    def kill_one() -> bool:
        cluster.remove_node(alive.pop(random.randrange(len(alive))), allow_graceful=False)
        alive.append(cluster.add_node(num_cpus=1))
        return True

    try:
        return _while_it_runs(request, files, work / "nodes", kills, kill_one)
    finally:
        ray.shutdown()
        cluster.shutdown()


def drivers(request: Request, files: list[Path], work: Path, kills: int) -> Killed:
    """Kill the command, and start it again; the last time, it ends by itself."""
    begin, out = time.perf_counter(), work / "drivers"
    job = Job.create(str(out), request, ["photos"], map(str, files), 16)
    words = [sys.executable, "-m", "benchmarks.scale.driver", str(out)]
    done = 0
    while done < kills:
        before = len(job.finished())
        process = subprocess.Popen(words, start_new_session=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        while process.poll() is None and len(job.finished()) <= before:
            time.sleep(0.05)
        if process.poll() is not None:
            break  # the job is finished
        time.sleep(random.uniform(0, 1))
        process.kill()
        process.wait()
        done += 1
    subprocess.run(words, check=True, stdout=subprocess.DEVNULL)
    return _compared(job, done, request, files, work, begin)


def left_over() -> int:
    """Return the number of processes of Ray and of ours that still run."""
    return sum(map(wait_for_end, (b"raylet", b"ray::", b"fakedetect.engine.child")))


def _while_it_runs(request: Request, files: list[Path], out: Path, kills: int, kill_one: Callable[[], bool]) -> Killed:
    """Run a job, and kill until `kills` are done or it ends."""
    begin, done = time.perf_counter(), 0
    job = Job.create(str(out), request, ["photos"], map(str, files), 16)
    judged = judge_parts(job, list(range(job.parts)), None, Resources())
    next(judged)
    with ThreadPoolExecutor(1) as pool:
        rest = pool.submit(list, judged)
        while done < kills and not rest.done():
            time.sleep(random.uniform(*_PAUSE_S))
            done += not rest.done() and kill_one()
        rest.result()  # raises what ended the job
    return _compared(job, done, request, files, out.parent, begin)


def _compared(job: Job, kills: int, request: Request, files: list[Path], work: Path, begin: float) -> Killed:
    seconds, rows = time.perf_counter() - begin, _rows(job)
    quiet = {row["path"]: row for row in _rows(_quiet(request, files, work))}
    paths = [row["path"] for row in rows]
    different = sum(abs(row["p_fake"] - quiet[row["path"]]["p_fake"]) > 1e-4 for row in rows)
    missing, doubled = len(quiet.keys() - set(paths)), len(paths) - len(set(paths))
    return Killed(kills, len(rows), missing, doubled, different, seconds)


def _quiet(request: Request, files: list[Path], work: Path) -> Job:
    """Return the job that nothing disturbs, on the same files."""
    place = str(work / "quiet")
    if Job.exists(place):
        return Job.open(place)
    job = Job.create(place, request, ["photos"], map(str, files), 16)
    for _ in judge_parts(job, list(range(job.parts)), None, Resources()):
        pass
    return job


def _rows(job: Job) -> list[dict[str, Any]]:
    return [row for part in sorted(job.finished()) for row in job.rows_of(part, ["path", "p_fake"])]
