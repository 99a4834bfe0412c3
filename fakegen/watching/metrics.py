"""The curves of metrics.jsonl while it grows: each line is read once, and a few hundred points stay in memory."""

from __future__ import annotations

import math
from collections import deque
from operator import add, itemgetter
from pathlib import Path
from typing import Any

from fakecore.files import whole_lines
from fakegen.training.log import NAMES

_COLUMNS = ("step", *NAMES)
_row_of = itemgetter(*_COLUMNS, "images_per_s")
MOST_POINTS = 300  # even: pairs of points are joined when there are more
_RECENT = 100  # lines: the rate is that of the last few flushes of the log
_TAIL = 512  # bytes, more than a line: how a file that was cut and has grown again is recognised


class Metrics:
    """The lines of a metrics.jsonl as at most MOST_POINTS points, each the mean of the same number of lines.

    `update` reads the lines that are new. A resumed run cuts the file; then all of it is read again.
    """

    def __init__(self, path: Path):
        self._path = path
        self._start_over()

    def _start_over(self) -> None:
        self.latest: dict[str, Any] | None = None  # the last line
        self._offset, self._tail, self._inode = 0, b"", 0
        self._width = 1  # lines of a full point
        self._points: list[list[float]] = []  # each: sums of (1, *_COLUMNS, images_per_s)
        self._rates: deque[float] = deque(maxlen=_RECENT)

    def update(self) -> None:
        """Read the lines written since the last call; an incomplete last line is left for the next."""
        try:
            found = self._path.stat()
        except FileNotFoundError:
            self._start_over()
            return
        if found.st_ino != self._inode or found.st_size < self._offset or self._read_tail() != self._tail:
            self._start_over()
        self._inode = found.st_ino
        for line, end in whole_lines(self._path, self._offset):
            self._add(line)
            self._offset = end
        self._tail = self._read_tail()

    @property
    def images_per_s(self) -> float | None:
        """Images per second over the last lines; None before the first."""
        return len(self._rates) / sum(1 / rate for rate in self._rates) if self._rates else None

    def curves(self) -> dict[str, list[float]]:
        """Return the points by column: `step` and each of NAMES, all of one length, as means."""
        columns: dict[str, list[float]] = {name: [] for name in _COLUMNS}
        for count, *sums, _ in self._points:
            for name, total in zip(_COLUMNS, sums, strict=True):
                columns[name].append(float(f"{total / count:.8g}"))
        return columns

    def _add(self, line: dict) -> None:
        try:  # a file may have millions of lines: little is done for each
            row = _row_of(line)
            rate = row[-1]
            usable = math.isfinite(sum(row))
        except (KeyError, TypeError):
            return  # not written by us
        if not usable:
            return
        self.latest = line
        if rate > 0:
            self._rates.append(rate)
        if not self._points or self._points[-1][0] >= self._width:
            if len(self._points) >= MOST_POINTS:
                pairs = zip(self._points[::2], self._points[1::2], strict=True)
                self._points = [list(map(add, *pair)) for pair in pairs]
                self._width *= 2
            self._points.append([1, *row])
        else:
            self._points[-1] = list(map(add, self._points[-1], (1, *row)))

    def _read_tail(self) -> bytes:
        """Return the bytes before the offset, which do not change while the file only grows."""
        start = max(0, self._offset - _TAIL)
        with self._path.open("rb") as file:
            file.seek(start)
            return file.read(self._offset - start)
