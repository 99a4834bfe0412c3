"""Kill the server under load, again and again: nothing that it accepted may be lost, or answered twice."""

from __future__ import annotations

import json
import random
import sqlite3
import threading
import time
import urllib.error
import urllib.request
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.serve.process import Serving, upload_request

_WAIT_S = 300.0


@dataclass
class Seen:
    """What the clients saw: jobs that were accepted, with the files they sent."""

    accepted: dict[str, list[str]] = field(default_factory=dict)
    refused: int = 0
    broken: int = 0  # requests whose connection broke: whether they were accepted is not known to the client


@dataclass(frozen=True)
class Kills:
    """What became of the accepted jobs after the kills."""

    kills: int
    accepted: int
    lost: int
    wrong: int  # rows that are missing, doubled, or of another file
    unexplained: int  # jobs on the server that no client was told of, and whose request did not break
    restart_s: float  # median


def run(serving: Serving, data: Path, photos: list[Path], kills: int, seed: int = 0) -> Kills:
    """Send jobs from four threads, kill the server `kills` times after 1 to 5 s each, and look at every accepted job.
    `data` is the data folder of the server.
    """
    chance = random.Random(seed)
    seen, stop = Seen(), threading.Event()
    threads = [threading.Thread(target=_send, args=(serving, photos, seen, stop, number)) for number in range(4)]
    for thread in threads:
        thread.start()
    restarts = []
    for _ in range(kills):
        time.sleep(chance.uniform(1, 5))
        serving.kill()
        restarts.append(serving.start())
    stop.set()
    for thread in threads:
        thread.join()
    lost = wrong = 0
    for job, names in seen.accepted.items():
        rows = _rows(serving, job)
        lost += rows is None
        wrong += rows is not None and [row["path"] for row in rows] != names
    with closing(sqlite3.connect(data / "jobs.sqlite")) as connection:
        unknown = len({job for (job,) in connection.execute("SELECT id FROM jobs")} - seen.accepted.keys())
    return Kills(kills, len(seen.accepted), lost, wrong, max(0, unknown - seen.broken), sorted(restarts)[kills // 2])


def _send(serving: Serving, photos: list[Path], seen: Seen, stop: threading.Event, number: int) -> None:
    chance = random.Random(f"client {number}")
    while not stop.is_set():
        photo = chance.choice(photos)
        body = upload_request("/v1/jobs", serving.port, photo)
        head, _, content = body.partition(b"\r\n\r\n")
        headers = dict(line.split(": ", 1) for line in head.decode().split("\r\n")[1:])
        request = urllib.request.Request(f"http://127.0.0.1:{serving.port}/v1/jobs", content, headers)
        try:
            with urllib.request.urlopen(request, timeout=60) as answer:
                seen.accepted[json.load(answer)["id"]] = [photo.name]
        except urllib.error.HTTPError:
            seen.refused += 1
            time.sleep(0.5)
        except (OSError, ValueError):
            seen.broken += 1
            time.sleep(0.1)


def _rows(serving: Serving, job: str) -> list[dict] | None:
    """Return the rows of a job when it is done; None if the server does not know it, or never finishes it."""
    begin = time.monotonic()
    while time.monotonic() - begin < _WAIT_S:
        try:
            return _get(serving, f"/v1/jobs/{job}/result")["results"]
        except urllib.error.HTTPError as error:
            if error.code != 409:
                return None
            time.sleep(0.2)
    return None


def _get(serving: Serving, path: str) -> dict:
    with urllib.request.urlopen(f"http://127.0.0.1:{serving.port}{path}", timeout=60) as answer:
        return json.load(answer)
