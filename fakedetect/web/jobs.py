"""Jobs: accepted with their files, judged by the pool, kept for a while. Joins the database, the files and the workers.

In the data folder: `incoming/` holds requests that arrive, `jobs/ID/` the uploads of a job and, in `jobs/ID/PLACE/`, what a
page shows of a file.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
import shutil
import time
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, asynccontextmanager, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from fakedetect.web.pool import Pool, QueueFull, Room
from fakedetect.web.problems import Problem
from fakedetect.web.process import Ticket
from fakedetect.web.settings import ServeSettings
from fakedetect.web.store import Job, KeyReused, Store, StoredFile
from fakedetect.web.tasks import HEAT, REPORT, TRACKS, Task
from fakedetect.web.uploads import Received

_CLEANING_S = 60.0
_EVENTS_KEPT = 1000  # of a client that does not read
_GIBIBYTE = 1 << 30
T = TypeVar("T")
_log = logging.getLogger("fakelab.serve")


@dataclass(frozen=True)
class Options:
    """How the files of a request are judged; `stability` None: for a single file only, as `score` does."""

    detector: str
    stability: bool | None = None
    whole_frame: bool = False
    marked: bool = False  # whether marked videos are drawn

    def tested(self, files: int) -> bool:
        """Return whether photos are tested for stability, in a request of so many files."""
        return files == 1 if self.stability is None else self.stability


class Jobs:
    """The jobs of one server."""

    def __init__(self, settings: ServeSettings, store: Store, pool: Pool):
        self._settings, self._store, self._pool = settings, store, pool
        self.incoming, self._folder = settings.data / "incoming", settings.data / "jobs"
        self._thread = ThreadPoolExecutor(1, "jobs-database")
        self._tickets: dict[tuple[str, int], Ticket] = {}
        self._tasks: set[asyncio.Task] = set()
        self._listeners: dict[str, set[asyncio.Queue]] = {}
        self._size: tuple[float, int] = (-1e9, 0)  # of the data folder: when it was measured, bytes

    async def start(self) -> None:
        """Delete what no job owns, and resume what was unfinished when the last server ended."""
        shutil.rmtree(self.incoming, ignore_errors=True)
        for folder in (self.incoming, self._folder):
            folder.mkdir(exist_ok=True, mode=0o700)
        await self._delete_orphans()
        waiting = await self._in_database(self._store.unfinished)
        undrawn = await self._in_database(self._store.undrawn)
        for name in dict.fromkeys(file.job for file in waiting):
            job = await self._in_database(self._store.job, name)
            assert job
            for file in job.files:
                if file.state != "done":
                    await self._submit(job, file)
        for file in undrawn:
            self._keep(self._draw(file))
        if not self._settings.keep_uploads:
            await asyncio.to_thread(self._delete_judged, {file.upload for file in waiting + undrawn})
        if waiting:
            _log.info("resuming %d files of an earlier server", len(waiting))
        self._keep(self._clean_up())

    async def stop(self) -> None:
        """Stop; what is unfinished is resumed at the next start."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._thread.shutdown()

    async def accept(
        self, owner: str, options: Options, received: Received, key: str | None = None
    ) -> tuple[Job, bool]:
        """Accept the files of a request as a job; return it, and whether it is new: with the idempotency `key` of an earlier
        equal request, that job is returned. Raises Problem.
        """
        digest = await asyncio.to_thread(_digest, options, received) if key is not None else ""

        def claim(name: str) -> list[str]:
            folder = self._folder / name
            folder.mkdir(mode=0o700)
            places = []
            for place, upload in enumerate(received.files):
                target = folder / f"upload-{place}{upload.path.suffix}"
                upload.path.rename(target)
                places.append(str(target.relative_to(self._settings.data)))
            return places

        files = [(one.name, "", one.size) for one in received.files]
        add = partial(self._store.add, owner, vars(options), files, key=key, digest=digest, claim=claim)
        async with self.room(len(received.files)) as room:
            try:
                name, is_new = await self._in_database(add)
            except KeyReused:
                raise Problem(422, "This Idempotency-Key was used for another request. Choose a new one.") from None
            job = await self._in_database(self._store.job, name)
            assert job
            if is_new:
                for file in job.files:
                    await self._submit(job, file, room)
            return job, is_new

    @asynccontextmanager
    async def room(self, files: int) -> AsyncIterator[Room]:
        """Keep room in the queue for files that are about to be submitted. Raises Problem if so many more cannot wait, or the
        data folder is full.
        """
        await self._check_storage()
        with ExitStack() as kept:
            try:
                room = kept.enter_context(self._pool.room(files))
            except QueueFull as full:
                raise Problem(429, "Too many files wait. Try again later.", retry_s=full.retry_s) from None
            yield room

    async def check_room(self) -> None:
        """Raise Problem if no file can wait, or the data folder is full: called before a request is received."""
        async with self.room(1):
            pass

    async def _check_storage(self) -> None:
        now = time.monotonic()
        if now - self._size[0] > 10:
            self._size = now, await asyncio.to_thread(_size_of, self._settings.data)
        if self._size[1] > self._settings.max_data_gb * _GIBIBYTE:
            raise Problem(507, "The server's storage for jobs is full. Try again later.", retry_s=3600)

    async def job(self, name: str) -> Job | None:
        """Return a job, or None."""
        return await self._in_database(self._store.job, name)

    async def jobs_of(self, owner: str) -> list[Job]:
        """Return the jobs of an owner, the newest first."""
        return await self._in_database(self._store.jobs_of, owner)

    async def delete(self, name: str) -> None:
        """Delete a job, its uploads and results; what is being judged of it is stopped."""
        job = await self.job(name)
        for file in job.files if job else ():
            if ticket := self._tickets.pop((name, file.place), None):
                await self._pool.cancel(ticket)
        await self._in_database(self._store.delete, name)
        await asyncio.to_thread(shutil.rmtree, self._folder / name, ignore_errors=True)
        self._publish(name, {"event": "deleted"})

    def results(self, job: Job, place: int) -> Path:
        """Return the folder of what a page shows of a file."""
        return self._folder / job.id / str(place)

    async def heat(self, job: Job, file: StoredFile, allow: Callable[[], None]) -> Path:
        """Return the heat map of a judged photo, made at the first request if `allow` raises nothing. Raises Problem where
        there is none.
        """
        results = self.results(job, file.place)
        if not (results / HEAT).is_file():
            if not file.result or file.result["status"] != "ok" or file.result["kind"] != "image":
                raise Problem(404, "There is a heat map of judged photos only.")
            allow()
            asked = {"results": str(results), "row": file.result, "choice": job.options["detector"]}
            if why := await self._pool.make(f"heat {job.id} {file.place}", HEAT, **asked):
                raise Problem(404, f"{why}.")
        return results / HEAT

    async def report(self, job: Job, allow: Callable[[], None], place: int | None = None) -> Path:
        """Return the report of a judged file, or of all files of a job, made at the first request if `allow` raises nothing.
        Raises Problem where there is none yet.
        """
        files = [one for one in job.files if place is None or one.place == place]
        if not all(one.result for one in files):
            raise Problem(409, "The job is not done yet.", state=job.state)
        target = (self._folder / job.id if place is None else self.results(job, files[0].place)) / REPORT
        if not target.is_file():
            allow()
            judged = [(one.result, str(self.results(job, one.place))) for one in files]
            asked = {"target": str(target), "files": judged, "choice": job.options["detector"]}
            if why := await self._pool.make(f"report {job.id} {place}", REPORT, **asked):
                raise Problem(404, f"{why}.")
        return target

    async def events(self, name: str) -> AsyncIterator[dict[str, Any] | None]:
        """Yield what happens to a job, {"event", ...}, until it is done and its marked videos are drawn, or it is deleted; None
        from time to time, if nothing does.
        """
        queue: asyncio.Queue = asyncio.Queue(_EVENTS_KEPT)
        self._listeners.setdefault(name, set()).add(queue)
        try:
            job = await self.job(name)
            undrawn = {file.place for file in job.files if file.is_undrawn} if job else set()
            for file in job.files if job else ():
                yield {"event": "file", "place": file.place, "state": file.state}
                if file.marked:
                    yield {"event": "marked", "place": file.place, "state": file.marked}
            is_done = job is None or job.finished is not None
            if is_done:
                yield {"event": "done" if job else "deleted"}
            while undrawn or not is_done:
                try:
                    event = await asyncio.wait_for(queue.get(), 15)
                except TimeoutError:
                    event = None
                kind = event and event["event"]
                if kind == "done" and is_done:
                    continue  # it was read from the database, too
                yield event
                if kind == "marked":
                    (undrawn.discard if event["state"] in ("ready", "failed") else undrawn.add)(event["place"])
                elif kind == "done":
                    is_done = True
                elif kind == "deleted":
                    return
        finally:
            self._listeners[name].discard(queue)
            if not self._listeners[name]:
                del self._listeners[name]

    def _publish(self, name: str, event: dict[str, Any]) -> None:
        for queue in self._listeners.get(name, ()):
            with suppress(asyncio.QueueFull):
                queue.put_nowait(event)

    async def _submit(self, job: Job, file: StoredFile, room: Room | None = None) -> None:
        options = Options(**job.options)
        task = Task(
            id=f"{job.id} {file.place}",
            path=str(self._settings.data / file.upload),
            name=file.name,
            choice=options.detector,
            stability=options.tested(len(job.files)),
            whole_frame=options.whole_frame,
            results=str(self.results(job, file.place)),
            marked=options.marked,
        )

        async def on_start() -> bool:
            may = await self._in_database(self._store.start, job.id, file.place)
            self._publish(job.id, {"event": "file", "place": file.place, "state": "running"})
            return may

        def on_progress(analysed: int, expected: int) -> None:
            self._publish(
                job.id, {"event": "progress", "place": file.place, "analysed": analysed, "expected": expected}
            )

        ticket = await self._pool.submit(task, on_start, on_progress, room)
        self._tickets[job.id, file.place] = ticket
        self._keep(self._finish(job.id, file, ticket))

    async def _finish(self, job: str, file: StoredFile, ticket: Ticket) -> None:
        """Record the row of a file when it is known, then let its marked video be drawn."""
        try:
            row = await ticket.answer
        except asyncio.CancelledError:
            if ticket.answer.cancelled() and (job, file.place) not in self._tickets:
                return  # deleted
            raise
        draw = (self._folder / job / str(file.place) / TRACKS).is_file()
        await self._in_database(partial(self._store.finish, job, file.place, row, draw=draw))
        self._tickets.pop((job, file.place), None)
        self._publish(job, {"event": "file", "place": file.place, "state": "done"})
        if draw:
            self._publish(job, {"event": "marked", "place": file.place, "state": "waiting"})
        found = await self.job(job)
        if found and found.finished is not None:
            self._publish(job, {"event": "done"})
        if draw and found:
            await self._draw(file)
        elif not self._settings.keep_uploads:
            (self._settings.data / file.upload).unlink(missing_ok=True)

    async def _draw(self, file: StoredFile) -> None:
        """Let the marked video of a judged file be drawn, and record what became of it; its verdict stays as it is."""
        job, place, results = file.job, file.place, self._folder / file.job / str(file.place)

        async def on_start() -> bool:
            may = await self._in_database(self._store.start_drawing, job, place)
            self._publish(job, {"event": "marked", "place": place, "state": "drawing"})
            return may

        def on_progress(drawn: int, expected: int) -> None:
            self._publish(job, {"event": "drawing", "place": place, "drawn": drawn, "expected": expected})

        upload = self._settings.data / file.upload
        ticket = await self._pool.draw(f"drawing {job} {place}", str(results), str(upload), on_start, on_progress)
        self._tickets[job, place] = ticket
        try:
            error = (await ticket.answer).get("error")
        except asyncio.CancelledError:
            if ticket.answer.cancelled() and (job, place) not in self._tickets:
                return  # deleted
            raise
        await self._in_database(self._store.finish_drawing, job, place, error)
        self._tickets.pop((job, place), None)
        for left in (results / TRACKS, *results.glob(".tmp-*.mp4")):  # the latter of a worker that was stopped
            left.unlink(missing_ok=True)
        if not self._settings.keep_uploads:
            upload.unlink(missing_ok=True)
        self._publish(job, {"event": "marked", "place": place, "state": "failed" if error else "ready"})

    def _delete_judged(self, needed: set[str]) -> None:
        """Delete uploads that are not `needed` any more: of a server that was killed when it had stored their result."""
        for upload in self._folder.glob("*/upload-*"):
            if str(upload.relative_to(self._settings.data)) not in needed:
                upload.unlink(missing_ok=True)

    async def _delete_orphans(self) -> None:
        """Delete the folders that belong to no job: of a server that was killed, or written while their job was deleted."""
        found = list(self._folder.iterdir())  # before the jobs are listed: a folder is older than its job
        known = await self._in_database(self._store.ids)
        for folder in found:
            if folder.name not in known:
                await asyncio.to_thread(shutil.rmtree, folder, ignore_errors=True)

    async def _clean_up(self) -> None:
        """Delete jobs that ended long ago, and what no job owns, again and again."""
        while True:
            await self._delete_orphans()
            old = await self._in_database(self._store.finished_before, time.time() - 3600 * self._settings.keep_h)
            for name in old:
                await self.delete(name)
            await asyncio.sleep(_CLEANING_S)

    def _keep(self, coroutine: Any) -> None:
        task = asyncio.create_task(coroutine)
        self._tasks.add(task)
        task.add_done_callback(self._forget)

    def _forget(self, task: asyncio.Task) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()):
            _log.error("error in a job", exc_info=error)

    async def _in_database(self, call: Callable[..., T], *arguments: Any) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._thread, call, *arguments)


def _digest(options: Options, received: Received) -> str:
    """Return a digest of what a request asks for: equal requests, equal digests."""
    digest = hashlib.sha256(repr(vars(options)).encode())
    for upload in received.files:
        with upload.path.open("rb") as file:
            digest.update(upload.name.encode() + b"\0" + hashlib.file_digest(file, "sha256").digest())
    return digest.hexdigest()


def _size_of(folder: Path) -> int:
    total = 0
    for path in folder.rglob("*"):
        with suppress(OSError):
            total += path.lstat().st_size
    return total
