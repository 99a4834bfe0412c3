"""Many clients at once: requests a second and their times, beside `score` on the same files and beside the plainest upload."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import time
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from benchmarks.serve.process import Footprint, Serving, exchange, upload_request


@dataclass(frozen=True)
class Load:
    """Requests a second, and the times of requests in seconds: median, and 99th percentile; what the server held before and
    after them.
    """

    rate: float
    median_s: float
    p99_s: float
    failed: int
    before: Footprint | None = None
    after: Footprint | None = None

    def ideal_s(self, clients: int) -> float:
        """Return the time of a request where `clients` always wait for an answer, and none waits longer than another."""
        return clients / self.rate


async def _client(port: int, requests: list[bytes], times: list[float], failed: list[int]) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    for request in requests:
        begin = time.monotonic()
        status, _ = await exchange(reader, writer, request)
        times.append(time.monotonic() - begin)
        failed[0] += status != 200
    writer.close()


async def _all_clients(port: int, requests: list[bytes], clients: int) -> Load:
    times: list[float] = []
    failed = [0]
    begin = time.monotonic()
    await asyncio.gather(*(_client(port, requests[number::clients], times, failed) for number in range(clients)))
    took = time.monotonic() - begin
    return Load(len(times) / took, float(np.median(times)), float(np.quantile(times, 0.99)), failed[0])


def measure(serving: Serving, path: str, photos: list[Path], count: int, clients: int) -> Load:
    """Upload `count` photos, one a request, from so many clients at once."""
    ready = [upload_request(path, serving.port, photo) for photo in photos]
    requests = [ready[number % len(ready)] for number in range(count)]
    asyncio.run(_all_clients(serving.port, requests[: 10 * clients], clients))  # warm
    before = serving.footprint()
    measured = asyncio.run(_all_clients(serving.port, requests, clients))
    return replace(measured, before=before, after=serving.footprint())


def score_rate(folder: Path, count: int) -> float:
    """Return the photos a second of `score` on the folder, without its start: that of all, less that of one."""

    def seconds(what: Path) -> float:
        begin = time.monotonic()
        words = ["-m", "fakelab", "score", str(what), "--detector", "photos", "--no-stability", "--json"]
        subprocess.run([sys.executable, *words], check=True, capture_output=True)
        return time.monotonic() - begin

    one = next(folder.rglob("*.jpg"))
    return (count - 1) / (seconds(folder) - seconds(one))
