"""Kill workers, commands and nodes while work runs, and compare what it leaves with that of work that nothing disturbed."""

from __future__ import annotations

import logging
import os
import random
import signal
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from benchmarks.scale.works import Work

_WORKERS = (b"ray::FakelabWorker", b"fakedetect.engine.child")


@dataclass(frozen=True)
class Killed:
    """Kills of one kind, and the results afterwards: how many, missing, doubled, and different from those of quiet work; how
    many processes ran on after the commands had ended.
    """

    kills: int
    results: int
    missing: int
    doubled: int
    different: int
    left_over: int
    seconds: float


def workers(work: Work, folder: Path, kills: int) -> Killed:
    """Kill workers, and the processes that they start."""
    return _of_one_command(work, folder, "workers", kills, (), kill_a_worker)


def nodes(work: Work, folder: Path, kills: int, count: int = 3) -> Killed:
    """Kill nodes of a cluster that Ray simulates on this machine, and add others."""
    from ray.cluster_utils import Cluster

    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0})
    alive = [cluster.add_node(num_cpus=1) for _ in range(count)]
    logging.getLogger("ray").setLevel(logging.ERROR)

    def kill_one(_: int) -> bool:
        cluster.remove_node(alive.pop(random.randrange(len(alive))), allow_graceful=False)
        alive.append(cluster.add_node(num_cpus=1))
        return True

    try:
        return _of_one_command(
            work, folder, "nodes", kills, ("--address", cluster.address, "--workers", count), kill_one
        )
    finally:
        cluster.shutdown()


def commands(work: Work, folder: Path, kills: int) -> Killed:
    """Kill the command, and start it again; the last time, it ends by itself."""
    begin, out, done, left = time.perf_counter(), folder / "commands", 0, set[Process]()
    while done < kills:
        before, process = work.done(out), _start(work.command(out))
        while process.poll() is None and work.done(out) <= before:
            time.sleep(0.05)
        if process.poll() is not None:
            _check(process, "commands")
            break  # the work is done
        time.sleep(random.uniform(0, 1))
        left |= descendants(process.pid)
        process.kill()
        process.wait()
        done += 1
    process = _start(work.command(out))
    _check(process, "commands")
    return _compared(work, folder, out, done, left, time.perf_counter() - begin)


KINDS = {"workers": workers, "nodes": nodes, "commands": commands}


@dataclass(frozen=True)
class Process:
    """A process of this machine, which a later one with the same id is not."""

    id: int
    parent: int
    started: int

    @staticmethod
    def all() -> list[Process]:
        """Return those that run."""
        found = []
        for place in Path("/proc").iterdir():
            try:
                fields = (place / "stat").read_text().rpartition(")")[2].split()
            except OSError:
                continue
            if place.name.isdecimal() and fields[0] != "Z":
                found.append(Process(int(place.name), int(fields[1]), int(fields[19])))
        return found

    def has(self, marks: tuple[bytes, ...]) -> bool:
        """Return whether its command line contains one of `marks`."""
        try:
            words = Path(f"/proc/{self.id}/cmdline").read_bytes()
        except OSError:
            return False
        return any(mark in words for mark in marks)


def descendants(parent: int) -> set[Process]:
    """Return the processes that a process started, and those that these started."""
    running, found = Process.all(), set[Process]()
    todo = [parent]
    while todo:
        own = todo.pop()
        children = [one for one in running if one.parent == own]
        found.update(children)
        todo += [one.id for one in children]
    return found


def kill_a_worker(command: int) -> bool:
    """Kill a worker of a command, or a process of a worker; return whether there was one."""
    found = [one for one in descendants(command) if one.has(_WORKERS)]
    if not found:
        return False
    try:
        os.kill(random.choice(found).id, signal.SIGKILL)
    except ProcessLookupError:
        return False
    return True


def _of_one_command(
    work: Work, folder: Path, name: str, kills: int, more: tuple[object, ...], kill: Callable[[int], bool]
) -> Killed:
    """Run a command, and kill when something was finished since the last time, until `kills` are done or it ends."""
    begin, out, done, left = time.perf_counter(), folder / name, 0, set[Process]()
    process, before = _start(work.command(out, *more)), 0
    while done < kills and process.poll() is None:
        if work.done(out) <= before:
            time.sleep(0.05)
            continue
        time.sleep(random.uniform(*work.pause_s))
        left |= descendants(process.pid)
        before = work.done(out)
        done += process.poll() is None and kill(process.pid)
    _check(process, name)
    return _compared(work, folder, out, done, left, time.perf_counter() - begin)


def _start(words: list[str]) -> subprocess.Popen[bytes]:
    return subprocess.Popen(words, start_new_session=True, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)


def _check(process: subprocess.Popen[bytes], name: str) -> None:
    """Wait for a command; end with its errors if it failed."""
    errors = process.communicate()[1].decode(errors="replace")
    if process.returncode:
        raise SystemExit(f"{name}: the command ended with {process.returncode}: {errors[-2000:]}")


def _compared(work: Work, folder: Path, out: Path, kills: int, left: set[Process], seconds: float) -> Killed:
    work.run_quiet(folder / "quiet")
    found, quiet = work.results(out), dict(work.results(folder / "quiet"))
    names = {name for name, _ in found}
    different = sum(not _equal(value, quiet.get(name)) for name, value in found)
    missing, doubled = len(quiet.keys() - names), len(found) - len(names)
    return Killed(kills, len(found), missing, doubled, different, len(left & {*Process.all()}), seconds)


def _equal(one: object, other: object) -> bool:
    return abs(one - other) < 1e-4 if isinstance(one, float) and isinstance(other, float) else one == other
