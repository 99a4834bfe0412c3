"""The workers of a server: hands them files in batches, across clients, and starts them again when they die.

A worker takes its share of what waits: at once if there is a whole batch, else what has come within BATCH_S. A batch whose
worker dies, or takes too long, is judged again file by file; a file that is alone when its worker dies again is given up.
"""

from __future__ import annotations

import asyncio
import json
import logging
import time
from collections import Counter, deque
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any

from fakecore.errors import UserError
from fakedetect.web.choices import Choice
from fakedetect.web.process import DiedBefore, Ticket, Worker, WorkerDied
from fakedetect.web.settings import ServeSettings
from fakedetect.web.tasks import MARKED, Task, failed_row

BATCH_S = 0.01
_MOST_BATCH = 32
_PAUSE_S = 1.0  # between starts of a worker that does not start
_log = logging.getLogger("fakelab.serve")


class QueueFull(Exception):
    """Too many files wait; `retry_s` is the time after which there may be room."""

    def __init__(self, retry_s: float):
        super().__init__()
        self.retry_s = retry_s


@dataclass
class Room:
    """Places in the queue that are kept for files that are being accepted."""

    files: int


class Pool:
    """Judges files in worker processes."""

    def __init__(self, settings: ServeSettings, offered: list[Choice]):
        self._settings = settings
        self._config = json.dumps(
            {
                "choices": [vars(one) for one in offered],
                "device": settings.device,
                "memory_mb": settings.memory_mb,
                "limits": {"max_pixels": settings.max_pixels, "max_minutes": settings.max_minutes},
            }
        )
        self._waiting: deque[Ticket] = deque()
        self._news = asyncio.Condition()
        self._reserved = 0  # places of files that are being accepted
        self._slow = 0  # videos that are being judged
        self._loops: list[asyncio.Task] = []
        self._started: asyncio.Future[list[dict[str, Any]]] | None = None
        self._alive: set[Worker] = set()  # those that have loaded the detectors
        self._rate = 1.0  # files a second, smoothed
        self.detectors: list[dict[str, Any]] = []  # as GET /v1/detectors shows them, the default first
        self.running: dict[str, Worker] = {}  # by the id of the task
        self.counts: Counter[str] = Counter()  # for /metrics: judged, batches, restarts, timeouts

    async def start(self) -> None:
        """Start the workers, and wait for the first to be ready. Raises UserError for a detector that cannot be used."""
        self._started = asyncio.get_running_loop().create_future()
        self._loops = [asyncio.create_task(self._work(number)) for number in range(self._settings.workers)]
        self.detectors = await self._started

    async def stop(self) -> None:
        """Stop the workers; what they were judging is given up."""
        for one in self._loops:
            one.cancel()
        await asyncio.gather(*self._loops, return_exceptions=True)

    @property
    def is_ready(self) -> bool:
        """Whether a worker has loaded the detectors, and lives."""
        return any(worker.is_alive for worker in self._alive)

    @property
    def queue_length(self) -> int:
        """The number of files that wait."""
        return len(self._waiting)

    def check_room(self, files: int) -> None:
        """Raise QueueFull if `files` more cannot wait."""
        if len(self._waiting) + self._reserved + files > self._settings.max_queue:
            raise QueueFull(max(1.0, len(self._waiting) / self._rate))

    @contextmanager
    def room(self, files: int) -> Iterator[Room]:
        """Keep room for `files` that are about to be submitted with it. Raises QueueFull if they cannot wait."""
        self.check_room(files)
        room = Room(files)
        self._reserved += files
        try:
            yield room
        finally:
            self._reserved -= room.files

    async def submit(
        self,
        task: Task,
        on_start: Callable[[], Awaitable[bool]] | None = None,
        on_progress: Callable[[int, int], None] | None = None,
        room: Room | None = None,
    ) -> Ticket:
        """Let a file be judged; its row becomes the result of the ticket's `answer`. It takes a place of `room`."""
        future = asyncio.get_running_loop().create_future()
        ticket = Ticket(task, task.to_json(), future, on_start, on_progress)
        if room:
            room.files -= 1
            self._reserved -= 1
        self._waiting.append(ticket)
        await self._announce()
        return ticket

    async def make(self, name: str, what: str, **asked: Any) -> str | None:
        """Let a worker write a heat map or a report, see `worker`; return why it cannot, or None."""
        ticket = Ticket(None, {"id": name, "what": what, **asked}, asyncio.get_running_loop().create_future())
        self._waiting.appendleft(ticket)
        await self._announce()
        return (await ticket.answer).get("error")

    async def draw(
        self,
        name: str,
        results: str,
        video: str,
        on_start: Callable[[], Awaitable[bool]],
        on_progress: Callable[[int, int], None],
    ) -> Ticket:
        """Let a marked video be drawn, after all that waits; the result of the ticket's `answer` has the `error`, if any."""
        request = {"id": name, "what": MARKED, "results": results, "video": video}
        ticket = Ticket(None, request, asyncio.get_running_loop().create_future(), on_start, on_progress)
        self._waiting.append(ticket)
        await self._announce()
        return ticket

    async def _announce(self) -> None:
        """Let workers that wait look at what is there."""
        async with self._news:
            self._news.notify_all()

    async def cancel(self, ticket: Ticket) -> None:
        """Give up a file: it no longer waits, and a worker that judges it alone is stopped."""
        ticket.answer.cancel()
        with suppress(ValueError):
            self._waiting.remove(ticket)
        worker = self.running.get(ticket.id)
        if worker and len(worker.batch) == 1:
            worker.kill()

    async def _work(self, number: int) -> None:
        """Keep one worker alive and busy."""
        assert self._started
        while True:
            worker = Worker(number, self._config)
            try:
                try:
                    described = await worker.start()
                    self._alive.add(worker)
                    if not self._started.done():
                        self._started.set_result(described)
                    while True:
                        await self._judge(worker, await self._batch_for(worker))
                except WorkerDied:
                    self.counts["restarts"] += 1
                    raise
                finally:
                    self._alive.discard(worker)
                    await worker.stop()
            except UserError as error:
                if not self._started.done():
                    self._started.set_exception(error)
                    return
                if self._started.exception():
                    return  # the server ends, and says why
                _log.error("worker %d does not start: %s", number, error)
                await asyncio.sleep(_PAUSE_S)
            except WorkerDied:
                await asyncio.sleep(0 if worker.was_ready else _PAUSE_S)
            except Exception:  # an error of ours must not leave files waiting for a worker that nobody starts again
                self.counts["restarts"] += 1
                _log.exception("error of worker %d", number)
                await asyncio.sleep(_PAUSE_S)

    async def _batch_for(self, worker: Worker) -> list[Ticket]:
        """Return the next batch for a worker. Raises WorkerDied, and takes nothing, if it dies before there is one."""
        next_batch: asyncio.Future = asyncio.ensure_future(self._next_batch())
        assert worker.end
        try:
            await asyncio.wait({next_batch, worker.end}, return_when=asyncio.FIRST_COMPLETED)
            if not worker.end.done():
                return next_batch.result()
            if next_batch.done():
                self._waiting.extendleft(reversed(next_batch.result()))
            raise WorkerDied
        finally:
            next_batch.cancel()

    async def _next_batch(self) -> list[Ticket]:
        """Return files of one kind, as many as fit in a batch, waiting BATCH_S for more after the first came."""
        while True:
            async with self._news:
                await self._news.wait_for(lambda: self._first() is not None)
                first = self._first()
                assert first
                wait_s = first.since + BATCH_S - time.monotonic()
                if first.alone or first.is_slow or wait_s <= 0 or len(self._like(first)) >= _MOST_BATCH:
                    return self._taken(first)
            await asyncio.sleep(wait_s)

    def _first(self) -> Ticket | None:
        """Return the first ticket that may be taken: one worker is kept free of videos."""
        room = self._slow < max(1, self._settings.workers - 1)
        return next((one for one in self._waiting if room or not one.is_slow), None)

    def _like(self, first: Ticket) -> list[Ticket]:
        if first.alone or first.is_slow or first.task is None:
            return [first]
        kind, found = first.task.kind, []
        for one in self._waiting:
            if one.task and not one.alone and not one.is_slow and one.task.kind == kind:
                found.append(one)
                if len(found) == _MOST_BATCH:
                    break
        return found

    def _taken(self, first: Ticket) -> list[Ticket]:
        """Take what is like `first`, at most a worker's share of all files here. Without that limit, one worker would judge
        large batches, while the other gets what comes meanwhile, in small ones, which take longer for each file.
        """
        share = -(-(len(self._waiting) + len(self.running)) // self._settings.workers)
        batch = self._like(first)[:share]
        for one in batch:
            self._waiting.remove(one)
        return batch

    async def _judge(self, worker: Worker, batch: list[Ticket]) -> None:
        """Let a worker judge a batch. Raises WorkerDied when it dies or takes too long; the rest of the batch then waits
        again, or is given up.
        """
        batch = [one for one in batch if not one.answer.done() and await self._may_start(one)]
        if not batch:
            return
        slow = sum(one.is_slow for one in batch)
        self._slow += slow
        self.counts["batches"] += 1
        begin, is_late = time.monotonic(), False
        self.running |= {one.id: worker for one in batch}
        doing = "judging it" if batch[0].task else "drawing it" if batch[0].is_slow else "making it"
        why: str | None = f"{doing} ended the process: it needs too much memory, or the file is malicious"
        try:
            async with asyncio.timeout(self._settings.max_s):
                await worker.judge(batch)
        except DiedBefore:
            why = None
            raise
        except TimeoutError:
            self.counts["timeouts"] += 1
            is_late = True
            why = f"{doing} took longer than {self._settings.max_s:g} s, the limit of this server"
            raise WorkerDied from None
        finally:
            self._slow -= slow
            for one in batch:
                self.running.pop(one.id, None)
            self._settle(batch, why, is_late)
            self._rate += 0.1 * (len(batch) / max(1e-3, time.monotonic() - begin) * self._settings.workers - self._rate)
            await self._announce()

    @staticmethod
    async def _may_start(ticket: Ticket) -> bool:
        if ticket.on_start and not await ticket.on_start():
            why = "the server or a worker ended each time it was " + ("judged" if ticket.task else "drawn")
            if not ticket.answer.done():  # cancelled meanwhile
                ticket.answer.set_result(failed_row(ticket.task.name if ticket.task else "", why))
            return False
        return True

    def _settle(self, batch: list[Ticket], why: str | None, is_late: bool) -> None:
        """Put back what was not answered, to be judged alone, or give it up: what ended a worker while alone with it, or was
        late while alone with it. Without a `why`, the files had no part in the worker's end.
        """
        for one in batch:
            if one.answer.done():
                self.counts["judged"] += 1
            elif why is None:
                self._waiting.appendleft(one)
            elif one.alone or (is_late and len(batch) == 1):
                name = one.task.name if one.task else ""
                one.answer.set_result(failed_row(name, why))
            else:
                one.alone = True
                self._waiting.appendleft(one)
