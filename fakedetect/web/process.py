"""A worker process as the server sees it, and the tickets of what it is asked for; `worker` is what runs in it."""

from __future__ import annotations

import asyncio
import json
import sys
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from fakecore.errors import UserError
from fakecore.media.videofiles import SUFFIXES
from fakedetect.web.tasks import MARKED, Task

COMMAND = (sys.executable, "-m", "fakedetect.web.worker")
_LINE_BYTES = 64 * 1024 * 1024  # the row of a long video has its timeline
_START_S = 120.0  # until the detectors are loaded


@dataclass(eq=False)
class Ticket:
    """A file that waits or is being judged. `on_start` is called before, and says whether to judge; `on_progress` is called
    with (frames, expected).
    """

    task: Task | None  # None: a heat map, a report or a marked video
    request: dict[str, Any]
    answer: asyncio.Future[dict]
    on_start: Callable[[], Awaitable[bool]] | None = None
    on_progress: Callable[[int, int], None] | None = None
    alone: bool = False
    since: float = field(default_factory=time.monotonic)

    @property
    def id(self) -> str:
        return self.request["id"]

    @property
    def is_slow(self) -> bool:
        """Whether it looks like a video: videos never occupy all workers."""
        return self.task.path.endswith(tuple(SUFFIXES)) if self.task else self.request["what"] == MARKED


class WorkerDied(Exception):
    """A worker ended, was killed, or is to be."""


class DiedBefore(WorkerDied):
    """A worker ended before it took the files that it was given."""


class Worker:
    """One process and its pipes."""

    def __init__(self, number: int, config: str):
        self._number, self._config = number, config
        self._process: asyncio.subprocess.Process | None = None
        self.end: asyncio.Future | None = None  # done when the process has ended
        self.was_ready = False
        self.batch: list[Ticket] = []

    async def start(self) -> list[dict]:
        """Start the process; return what it says of its detectors."""
        pipe = asyncio.subprocess.PIPE
        self._process = await asyncio.create_subprocess_exec(
            *(*COMMAND, self._config),
            stdin=pipe,
            stdout=pipe,
            limit=_LINE_BYTES,
        )
        self.end = asyncio.ensure_future(self._process.wait())
        try:
            async with asyncio.timeout(_START_S):
                message = await self._read()
        except TimeoutError:
            raise WorkerDied from None
        if "refused" in message:
            raise UserError(message["refused"])
        self.was_ready = True
        return message["ready"]

    async def judge(self, batch: list[Ticket]) -> None:
        """Send a batch and pass on its answers. Raises WorkerDied; DiedBefore if the process did not begin with the batch."""
        self.batch = batch
        by_id = {one.id: one for one in batch}
        try:
            if batch[0].task is None:
                await self._write({"make": batch[0].request})
            else:
                await self._write({"tasks": [one.request for one in batch]})
            await self._read()  # {"taken": true}
        except WorkerDied:
            raise DiedBefore from None
        while "idle" not in (message := await self._read()):
            ticket = by_id[message["id"]]
            if "progress" in message:
                if ticket.on_progress:
                    ticket.on_progress(*message["progress"])
            elif not ticket.answer.done():
                ticket.answer.set_result(message["row"])
        self.batch = []

    @property
    def is_alive(self) -> bool:
        """Whether the process runs."""
        return self._process is not None and self._process.returncode is None

    def kill(self) -> None:
        """End the process at once."""
        if self._process and self._process.returncode is None:
            with suppress(ProcessLookupError):
                self._process.kill()

    async def stop(self) -> None:
        """End the process and wait for it."""
        self.kill()
        if self._process:
            assert self._process.stdin and self._process.stdout
            self._process.stdin.close()
            while await self._process.stdout.read(65536):  # to its end: then it is closed
                pass
            if self.end:
                await self.end

    async def _write(self, message: dict) -> None:
        assert self._process and self._process.stdin
        try:
            self._process.stdin.write(json.dumps(message).encode() + b"\n")
            await self._process.stdin.drain()
        except (BrokenPipeError, ConnectionResetError):
            raise WorkerDied from None

    async def _read(self) -> dict:
        assert self._process and self._process.stdout
        line = await self._process.stdout.readline()
        if not line.endswith(b"\n"):
            raise WorkerDied
        return json.loads(line)
