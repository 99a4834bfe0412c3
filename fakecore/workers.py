"""Do the parts of some work in the workers of a Ray cluster, each part at least once, whatever is killed.

Through Ray go the parts and short answers; a worker writes files itself. A part whose worker dies is done again by another one,
so a part must have the same result when it is done twice, even at the same time.
"""

from __future__ import annotations

import os
import time
from collections import deque
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple, NoReturn, TypeVar

from fakecore.cluster import Cluster, connected
from fakecore.cpus import VARIABLE
from fakecore.errors import Interrupted, UserError
from fakecore.interrupt import ask_all
from fakecore.progress import say

Part = TypeVar("Part")
_MOST_DEATHS = 20  # of the workers of one part, and of workers that start, one after the other
_PAUSE_S = 0.3  # between looks whether to stop
SHARED_S = 90.0  # until what one machine wrote to a shared file system is visible on another
_NONE = object()  # in place of an answer
_PATIENCE_S = 30.0  # until a note says that no worker could start


def _never() -> bool:
    return False


def _refuse_lost(part: object) -> NoReturn:
    raise UserError(
        f"{_MOST_DEATHS} workers died, one after the other, at the same part of the work",
        got=part,
        remedy="It may need more memory than they have. The same command resumes.",
    )


def done_by_workers(
    build: Callable[[], Callable[[Part], Any]],
    parts: Sequence[Part],
    cluster: Cluster,
    *,
    stopping: Callable[[], bool] = _never,
    grace_s: float = 0.0,
    lost: Callable[[Part], Any] = _refuse_lost,
) -> Generator[tuple[Part, Any]]:
    """Yield (part, answer) when a part is done, in any order; close the generator to stop at once.

    Each worker calls `build` once, in the folder of this process if its machine has it, and then what it returned, with one
    part after another. `build`, parts and answers travel through Ray: they are small, and importable there.

    When `stopping()` is true, no more parts are given out. Workers have `grace_s` seconds to end theirs, and every StopRequest
    in them is asked; answers that still come are yielded, then the generator ends. `lost` returns the answer for a part at
    which 20 workers died one after the other; by default it raises UserError.

    Raises UserError for a cluster that cannot be used, for workers that do not start, and for a UserError in a worker.
    """
    with connected(cluster) as ray:
        pool = _Pool(ray, build, cluster, may_stop=grace_s > 0)
        try:
            pool.start(min(len(parts), cluster.workers_in(ray.cluster_resources())))
            yield from pool.run(parts, stopping, lost)
            if stopping() and grace_s:
                yield from pool.finish(grace_s)
        finally:
            pool.close()


def wait_for_shared(path: Path, out: Path) -> None:
    """In a worker: wait until a file or folder is visible that the command made in `out`; a network file system keeps for a
    minute what it knows of a folder. Raises UserError if it stays invisible.
    """
    end = time.monotonic() + SHARED_S
    while not path.exists():
        if time.monotonic() > end:
            raise UserError(
                f"a machine of the cluster does not see what the command wrote to {out}",
                expected="an --out on a file system that all machines share",
            )
        time.sleep(_PAUSE_S)


class _Given(NamedTuple):
    """What a worker was given: a part, at which `deaths` workers died before. Without `has_part`, it starts."""

    worker: Any
    part: Any = None
    deaths: int = 0
    has_part: bool = True


class _Pool:
    """Workers, and what each of them does. One that dies is replaced by another, which starts wherever there is room: a part is
    never bound to a worker that does not run yet.
    """

    def __init__(self, ray: Any, build: Callable, cluster: Cluster, *, may_stop: bool):
        self._ray, self._cluster = ray, cluster
        # Two threads where one takes the request to stop while the other works; else the main thread does all.
        threads = {"max_concurrency": 2} if may_stop else {}
        self._new = ray.remote(FakelabWorker).options(num_cpus=cluster.cpus, num_gpus=cluster.gpus, **threads)
        self._arguments = (build, os.getcwd(), cluster.cpus)  # noqa: PTH109  text
        self._idle: list[Any] = []
        self._given: dict[Any, _Given] = {}  # by the reference to the answer
        self._failed_starts, self._has_run = 0, False

    def start(self, count: int) -> None:
        """Ask for `count` workers."""
        for _ in range(count):
            worker = self._new.remote(*self._arguments)
            self._given[worker.ready.remote()] = _Given(worker, has_part=False)

    def run(self, parts: Sequence, stopping: Callable[[], bool], lost: Callable) -> Iterator[tuple[Any, Any]]:
        """Give out parts, and yield them with their answers, until all are done or `stopping()`."""
        waiting = deque((part, 0) for part in parts)
        open_parts, patient_until = len(waiting), time.monotonic() + _PATIENCE_S
        while open_parts and not stopping():
            while self._idle and waiting:
                part, deaths = waiting.popleft()
                worker = self._idle.pop()
                self._given[worker.do.remote(part)] = _Given(worker, part, deaths)
            for given, answer in self._ended(_PAUSE_S):
                if answer is _NONE and given.deaths + 1 < _MOST_DEATHS:
                    waiting.appendleft((given.part, given.deaths + 1))
                    continue
                open_parts -= 1
                yield given.part, lost(given.part) if answer is _NONE else answer
            if not self._has_run and time.monotonic() > patient_until:
                patient_until = float("inf")
                self._note_no_room()

    def finish(self, grace_s: float) -> Iterator[tuple[Any, Any]]:
        """Ask the workers to stop, and yield the parts that they end within `grace_s` seconds."""
        end = time.monotonic() + grace_s
        for given in self._given.values():
            given.worker.stop.remote()
        while time.monotonic() < end and any(given.has_part for given in self._given.values()):
            for given, answer in self._ended(_PAUSE_S, replace=False):
                if answer is not _NONE:
                    yield given.part, answer

    def close(self) -> None:
        """End all workers."""
        for worker in [*self._idle, *(given.worker for given in self._given.values())]:
            self._end(worker)

    def _ended(self, timeout_s: float, *, replace: bool = True) -> Iterator[tuple[_Given, Any]]:
        """Wait for workers; yield the parts that they were given, and the answers: _NONE if the worker died, or stopped."""
        if not self._given:
            return
        ended, _ = self._ray.wait(list(self._given), num_returns=1, timeout=timeout_s)
        for reference in ended:
            given = self._given.pop(reference)
            answer = self._answer(reference, given, replace=replace)
            if given.has_part:
                yield given, answer

    def _answer(self, reference: Any, given: _Given, *, replace: bool) -> Any:
        try:
            answer = self._ray.get(reference)
        except self._ray.exceptions.RayTaskError:  # a defect in our code: it has a traceback
            raise
        except self._ray.exceptions.RayError as error:
            self._end(given.worker)  # it may still run, out of reach
            self._check_start(given, error)
            if given.has_part and replace:
                say("note: a worker died; its part is done again")
            self.start(1 if replace else 0)
            return _NONE
        self._idle.append(given.worker)
        if not given.has_part:
            self._failed_starts, self._has_run = 0, True
            return _NONE
        if answer["error"]:
            raise UserError(answer["error"])
        return _NONE if answer["stopped"] else answer["value"]

    def _check_start(self, given: _Given, error: Exception) -> None:
        """Raise UserError when many workers, one after the other, died while they started."""
        self._failed_starts += not given.has_part
        if self._failed_starts >= _MOST_DEATHS:
            lines = [line.strip() for line in str(error).splitlines() if line.strip()]
            remedy = "All machines need the same versions of fakelab, Python and Ray."
            raise UserError("the workers do not start", got=lines[-1] if lines else error, remedy=remedy)

    def _note_no_room(self) -> None:
        has = self._ray.cluster_resources()
        say(
            f"note: no worker could start yet. Each needs {self._cluster.cpus} processors and {self._cluster.gpus:g} GPUs of "
            f"one machine; the cluster has {has.get('CPU', 0):g} and {has.get('GPU', 0):g} in all. Waiting"
        )

    def _end(self, worker: Any) -> None:
        with suppress(Exception):  # it is dead, or Ray is
            self._ray.kill(worker)


class FakelabWorker:
    """A process of a cluster that does parts. Its name is that of the process."""

    def __init__(self, build: Callable[[], Callable[[Any], Any]], folder: str, cpus: int):
        os.environ[VARIABLE] = str(cpus)
        if os.path.isdir(folder):  # noqa: PTH112  relative paths of the command are in it
            os.chdir(folder)
        self._build: Callable[[], Callable[[Any], Any]] | None = build
        self._work: Callable[[Any], Any]

    def ready(self) -> None:
        """Answer when the process runs."""

    def do(self, part: Any) -> dict[str, Any]:
        """Do a part; return {"value": what the work returned, "error": a UserError as text, "stopped": whether it stopped}."""
        answer: dict[str, Any] = {"value": None, "error": "", "stopped": False}
        try:
            if self._build:
                self._work, self._build = self._build(), None
            answer["value"] = self._work(part)
        except UserError as error:
            answer["error"] = str(error)
        except Interrupted:
            answer["stopped"] = True
        return answer

    def stop(self) -> None:
        """Ask the work to stop at its next safe point."""
        ask_all()
