"""Compute numbered results on a thread of its own, one ahead of those that are asked for."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Generic, TypeVar

T = TypeVar("T")


class Ahead(Generic[T]):
    """Returns `compute(number)`. Threads that ask for one number share the result; the last `keep` results are kept."""

    def __init__(self, compute: Callable[[int], T], keep: int = 4):
        self._compute, self._keep = compute, keep
        self._lock = threading.Lock()
        self._results: OrderedDict[int, Future[T]] = OrderedDict()
        self._pool = ThreadPoolExecutor(1)

    def __call__(self, number: int) -> T:
        with self._lock:
            wanted = self._started(number)
            self._started(number + 1)
        return wanted.result()

    def _started(self, number: int) -> Future[T]:
        if number not in self._results:
            self._results[number] = self._pool.submit(self._compute, number)
        self._results.move_to_end(number)
        while len(self._results) > self._keep:
            self._results.popitem(last=False)
        return self._results[number]
