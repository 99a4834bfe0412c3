"""Inputs at URLs: what a folder or pattern stands for, and their contents, fetched ahead of the judge."""

from __future__ import annotations

import threading
from collections import Counter, deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from glob import has_magic
from itertools import chain
from pathlib import Path

from fakecore import storage
from fakecore.files import is_left_out
from fakecore.media.videofiles import named_video
from fakecore.sets.archives import named_archive
from fakecore.storage import StorageError
from fakedetect.scoring.entry import Input

_THREADS = 16  # transfers at a time: they wait for the network, not for a core
_AHEAD = 64  # files at most
_HELD_BYTES = 128 << 20  # of contents that the judge has not taken yet


class UrlWalk:
    """Yields the files at one URL after another, none twice. URLs that are shown alike, since what tells them apart may be a
    secret, get numbers: "https://host/photo#2".
    """

    def __init__(self) -> None:
        self._given: set[str] = set()
        self._folders: list[str] = []  # that were listed: their files are not held
        self._shown: Counter[str] = Counter()

    def walk(self, url: str) -> Iterator[Input]:
        """Yield what `url` stands for: a file, or what a pattern or folder holds."""
        folder = f"{url.rstrip('/')}/"
        is_listed = False
        for one in walk_url(url):
            assert one.url
            if one.url in self._given or self._was_listed(one.url):
                continue
            if one.url.startswith(folder) and one.url != url:
                is_listed = True
            else:
                self._given.add(one.url)
            yield self._numbered(one)
        if is_listed:
            self._folders.append(folder)

    def _was_listed(self, url: str) -> bool:
        return any(
            url.startswith(folder) and not any(map(is_left_out, url[len(folder) :].split("/")))
            for folder in self._folders
        )

    def _numbered(self, one: Input) -> Input:
        if one.path == one.url:
            return one
        self._shown[one.path] += 1
        number = self._shown[one.path]
        return one if number == 1 else replace(one, path=f"{one.path}#{number}")


def walk_url(url: str) -> Iterator[Input]:
    """Yield the files that a URL stands for: itself, what matches it as a pattern, or what is below it as a folder, listed when
    it is needed. A URL that ends in a file name with a suffix is a file, without a question to the store. What cannot be listed
    is an input with a problem.
    """
    try:
        if storage.is_web(url) or not (has_magic(url) or _may_be_folder(url)):
            yield at_url(url)
        elif has_magic(url) and not storage.exists(url):
            names = [name for name in storage.matches(url) if not is_left_out(name.rpartition("/")[2])]
            yield from map(at_url, names) if names else [_refused(url, "no file matches the pattern")]
        elif not _may_be_folder(url) or not (url.endswith("/") or storage.is_folder(url)):
            yield at_url(url)
        else:
            found = False
            for one in storage.list_files(url):
                found = True
                yield at_url(one.url, one.size, one.stamp and f"{one.size}; {one.stamp}")
            if not found:
                yield _refused(url, "there are no files below it")
    except StorageError as error:
        yield _refused(url, error.reason, is_passing=error.passing)


def at_url(url: str, size: int | None = None, stamp: str | None = None) -> Input:
    """Return the input for one file at a URL."""
    return Input(storage.shown(url), url=url, size=size, stamp=stamp)


def _may_be_folder(url: str) -> bool:
    return url.endswith("/") or not Path(storage.base_name(url)).suffix


def _refused(url: str, problem: str, *, is_passing: bool = False) -> Input:
    return Input(storage.shown(url), problem, url=url, is_passing=is_passing)


def is_packed(one: Input) -> bool:
    """Return whether an input is an archive at a URL, by its name, which is still to be fetched."""
    return (
        one.url is not None and one.data is None and one.archive is None and named_archive(storage.base_name(one.url))
    )


def fetched(inputs: Iterable[Input]) -> Iterator[Input]:
    """Yield the inputs in their order, those at URLs with their contents, which threads fetch ahead; what cannot be read is an
    input with a problem. Archives stay at their URLs, and so do videos larger than storage.MAX_BYTES.
    """
    rest = iter(inputs)
    for one in rest:
        if _is_to_fetch(one):
            yield from _ahead(chain([one], rest))
            return
        yield one


def _is_to_fetch(one: Input) -> bool:
    return (
        one.url is not None and one.problem is None and one.data is None and one.archive is None and not is_packed(one)
    )


def _ahead(inputs: Iterator[Input]) -> Iterator[Input]:
    room = _Room(_HELD_BYTES)
    waiting: deque[tuple[int, Input, Future[Input] | None]] = deque()
    pool = ThreadPoolExecutor(_THREADS, thread_name_prefix="fetch")
    number = 0
    try:
        while True:
            while len(waiting) < _AHEAD and (one := next(inputs, None)) is not None:
                future = pool.submit(_fetch, one, room, number) if _is_to_fetch(one) else None
                waiting.append((number, one, future))
                number += 1
            if not waiting:
                return
            place, one, future = waiting.popleft()
            room.turn_to(place)
            yield one if future is None else future.result()
            room.release(place)
    finally:
        room.close()
        pool.shutdown(wait=False, cancel_futures=True)


def _fetch(one: Input, room: _Room, number: int) -> Input:
    assert one.url
    backoff = replace(storage.BACKOFF, sleep=room.sleep)
    try:
        content = storage.read_bytes(one.url, size=one.size, backoff=backoff, reserve=lambda n: room.take(number, n))
    except StorageError as error:
        room.release(number)
        if error.status == "too_large" and named_video(Path(storage.base_name(one.url))):
            return one
        return replace(one, problem=error.reason, status=error.status, is_passing=error.passing)
    return replace(one, data=content)


@dataclass
class _Room:
    """The bytes that contents fetched ahead may take. Whoever wants more waits, but for the one whose turn it is: the judge
    waits for it, and what others hold is only released after it.
    """

    limit: int
    _held: dict[int, int] = field(default_factory=dict)
    _turn: int = 0
    _is_closed: bool = False
    _change: threading.Condition = field(default_factory=threading.Condition)

    def take(self, number: int, size: int) -> None:
        """Hold `size` more bytes for a file; 0 starts again, after a failure. Raises Stopped once nobody wants it any more."""
        with self._change:
            if size == 0:
                self._held.pop(number, None)
                self._change.notify_all()
            self._change.wait_for(
                lambda: self._is_closed or number <= self._turn or sum(self._held.values()) + size <= self.limit
            )
            if self._is_closed:
                raise storage.Stopped
            self._held[number] = self._held.get(number, 0) + size

    def release(self, number: int) -> None:
        with self._change:
            self._held.pop(number, None)
            self._change.notify_all()

    def turn_to(self, number: int) -> None:
        with self._change:
            self._turn = number
            self._change.notify_all()

    def sleep(self, seconds: float) -> None:
        """Wait between two tries. Raises Stopped once nobody wants the file any more."""
        with self._change:
            if self._change.wait_for(lambda: self._is_closed, seconds):
                raise storage.Stopped

    def close(self) -> None:
        with self._change:
            self._is_closed = True
            self._change.notify_all()
