"""Photos a second of `score` and of `score --engine ray`."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from fakecore.cluster import Cluster
from fakedetect.engine.job import Job
from fakedetect.engine.judging import judge_parts
from fakedetect.engine.request import Request
from fakedetect.models.detector import Detector

DETECTOR = "photos"


@dataclass(frozen=True)
class Rate:
    """Seconds until the first photos were judged, photos a second from then on, and seconds in all."""

    start_s: float
    rate: float
    total_s: float


def of_score(files: list[Path], out: Path, cpus: int) -> Rate:
    """`score` in one process, on `cpus` processors."""
    begin, seen = time.perf_counter(), [(0.0, 0)]
    words = [sys.executable, "-m", "fakelab", "score", "--files-from", "-", "--null", "--detector", DETECTOR]
    process = subprocess.Popen(
        [*words, "--no-stability", "--out", str(out)],
        stdin=subprocess.PIPE,
        env=_environment(cpus),
        stderr=subprocess.DEVNULL,
    )
    assert process.stdin
    process.stdin.write(b"\0".join(os.fsencode(path) for path in files) + b"\0")
    process.stdin.close()
    while process.poll() is None:
        time.sleep(0.02)
        rows = out.read_bytes().count(b"\n") if out.exists() else 0
        if rows > seen[-1][1]:
            seen.append((time.perf_counter() - begin, rows))
    return rate_of(seen[1:], time.perf_counter() - begin)


def of_engine(files: list[Path], out: Path, workers: int) -> Rate:
    """`score --engine ray` with `workers` of one processor each, on a cluster that starts for it."""
    detector = Detector.load(DETECTOR, "cpu")
    request = Request(DETECTOR, {detector.id: detector.name}, device="cpu")
    begin, seen, count = time.perf_counter(), [], 0
    job = Job.create(str(out), request, ["photos"], map(str, files))
    for part in judge_parts(job, list(range(job.parts)), Cluster(workers=workers)):
        count += part.files
        seen.append((time.perf_counter() - begin, count))
    return rate_of(seen, time.perf_counter() - begin)


def of_nodes(files: list[Path], out: Path, nodes: int) -> Rate:
    """`score --engine ray` on a cluster of `nodes` with one processor each, which Ray simulates on this machine; the start of
    the cluster does not count.
    """
    import ray
    from ray.cluster_utils import Cluster

    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0})
    try:
        for _ in range(nodes):
            cluster.add_node(num_cpus=1)
        ray.init(cluster.address, log_to_driver=False, logging_level=logging.ERROR)
        return of_engine(files, out, nodes)
    finally:
        ray.shutdown()
        cluster.shutdown()


def _environment(cpus: int) -> dict[str, str]:
    return {**os.environ, "FAKELAB_CPUS": str(cpus), "OMP_NUM_THREADS": str(cpus)}


def rate_of(seen: list[tuple[float, int]], total_s: float) -> Rate:
    """Return the rate of (seconds since the start, photos judged by then)."""
    (first_s, first), (last_s, last) = seen[0], seen[-1]
    return Rate(first_s, (last - first) / (last_s - first_s), total_s)
