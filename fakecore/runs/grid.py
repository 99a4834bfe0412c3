"""Grids: one training per combination of settings, in sequence or in parallel, in a folder that records the request, so
that repeating the command resumes it.
"""

from __future__ import annotations

import itertools
import re
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from contextlib import closing, contextmanager
from dataclasses import dataclass
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import torch

from fakecore.cluster import Cluster
from fakecore.cpus import usable_cpus
from fakecore.errors import Interrupted, UserError
from fakecore.files import read_json, write_bytes, write_json
from fakecore.interrupt import StopRequest, end_with_parent
from fakecore.progress import say
from fakecore.report.pages import data_uri, write_page
from fakecore.report.tables import as_csv
from fakecore.runs.runfolder import InUse, locked
from fakecore.workers import SHARED_S, done_by_workers, wait_for_shared

ASKED = "sweep.json"  # the request of a sweep, in its folder
_GRACE_S = 30.0  # in which the cells of a cluster save what they have, after Ctrl-C


@dataclass(frozen=True)
class Cell:
    """One training of a grid: `name` is its folder, `varied` the settings by which it differs from the others."""

    name: str
    varied: dict[str, str]


@dataclass(frozen=True)
class Swept:
    """The result of a sweep: `rows` of the table, `failed` names of runs that could not be trained or read, and `remarks`
    on rows that cannot be compared.
    """

    folder: Path
    table: Path
    report: Path
    rows: list[dict[str, Any]]
    failed: list[str]
    remarks: tuple[str, ...] = ()


def parse_over(assignments: Iterable[str]) -> dict[str, list[str]]:
    """`["lr=1e-4,2e-4", "batch=64,128"]` as a dict of lists. Raises UserError for a field without values, or named twice."""
    over: dict[str, list[str]] = {}
    for assignment in assignments:
        name, _, values = assignment.partition("=")
        name, chosen = name.strip(), [value.strip() for value in values.split(",") if value.strip()]
        if not name or not chosen:
            raise UserError("--over could not be read", got=repr(assignment), expected="field=value,value...")
        if name in over:
            raise UserError(f"--over names {name} twice", expected="all of its values in one --over")
        over[name] = chosen
    return over


def combinations(over: Mapping[str, Sequence[str]]) -> list[dict[str, str]]:
    """Return every combination of the values of `over`, the last field innermost; one empty combination if `over` is empty."""
    return [dict(zip(over, values, strict=True)) for values in itertools.product(*over.values())]


def cell_name(varied: Mapping[str, str], *words: str) -> str:
    """Return a folder name: `words`, then field=value of each varied field, in characters that are valid on any system."""
    return re.sub(r"[^\w.,=+-]+", "-", "_".join([*words, *(f"{name}={value}" for name, value in varied.items())]))


def check_grid(cells: Sequence[Cell], over: Mapping[str, object], changes: Mapping[str, object], jobs: int) -> None:
    """Raise UserError when two cells are one, a field is given to both --over and --set, or `jobs` is below 1."""
    names = [cell.name for cell in cells]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise UserError("a sweep names the same run twice", got=", ".join(twice))
    if overlap := sorted(set(over) & set(changes)):
        raise UserError(f"{overlap[0]} is given to both --over and --set", expected="one of the two")
    if jobs < 1:
        raise UserError("--jobs is out of range", got=jobs, expected="1 or more")


@contextmanager
def claimed(out: Path, asked: dict[str, Any]) -> Iterator[None]:
    """Lock the folder against other processes and write the request to its sweep.json. Raises UserError, before anything is
    written, unless the folder is new, empty or a sweep of the same request.
    """
    _refuse_foreign(out, asked)
    with locked(out):
        _refuse_foreign(out, asked)  # again: another process may have been first
        write_json(out / ASKED, asked)
        yield


def _refuse_foreign(out: Path, asked: dict[str, Any]) -> None:
    if (out / ASKED).is_file():
        if read_json(out / ASKED) != asked:
            remedy = "Repeat its own command to resume it, or choose another --out."
            raise UserError(f"{out} contains a sweep with other settings", remedy=remedy)
    elif out.is_file():
        raise UserError(f"{out} is a file", expected="a new folder", remedy="Choose another --out.")
    elif out.is_dir() and any(entry.name != ".lock" for entry in out.iterdir()):
        raise UserError(f"{out} is not empty", expected="a new folder, or the folder of a sweep")


def run_cells(
    out: Path, cells: Sequence[Cell], train: Callable[[Cell], None], jobs: int, cluster: Cluster | None = None
) -> dict[str, str]:
    """Call `train` with every cell of the sweep in `out`, `jobs` at a time; return {name: reason} of those that failed with a
    UserError or ran out of device memory.

    Several jobs run in separate processes that share the threads; workers of a `cluster` have threads of their own. `train`
    must be importable there. Raises Interrupted when stopped.
    """
    if cluster:
        return _on_cluster(out, cells, train, cluster)
    if jobs == 1:
        failed = {}
        for number, cell in enumerate(cells, 1):
            say(f"{cell.name} ({number} of {len(cells)})")
            if why := _attempt(train, cell):
                failed[cell.name] = why
        return failed
    threads = max(1, usable_cpus() // jobs)
    with ProcessPoolExecutor(jobs, get_context("spawn"), _prepare_worker, (threads,)) as pool:
        return _side_by_side(pool, cells, train)


def _side_by_side(pool: ProcessPoolExecutor, cells: Sequence[Cell], train: Callable[[Cell], None]) -> dict[str, str]:
    waiting = {pool.submit(_attempt, train, cell): cell for cell in cells}
    failed = {}
    try:
        for number, future in enumerate(as_completed(waiting), 1):
            cell = waiting[future]
            why = future.result()
            say(f"{cell.name}: {why or 'done'} ({number} of {len(cells)})")
            if why:
                failed[cell.name] = why
    except BrokenProcessPool:
        raise UserError(
            "a training process was killed, probably because memory ran out",
            remedy="Repeat the command with --jobs 1: finished runs are kept.",
        ) from None
    except BaseException:
        pool.shutdown(wait=True, cancel_futures=True)
        raise
    return failed


def _on_cluster(out: Path, cells: Sequence[Cell], train: Callable[[Cell], None], cluster: Cluster) -> dict[str, str]:
    failed: dict[str, str] = {}

    def killed(cell: Cell) -> str:
        return "its process was killed again and again, probably because memory ran out"

    work = partial(_CellWork, out, train, cluster.cpus)
    with StopRequest() as stop:
        done = done_by_workers(work, cells, cluster, stopping=lambda: stop.asked, grace_s=_GRACE_S, lost=killed)
        number = 0
        with closing(done):
            for number, (cell, why) in enumerate(done, 1):
                say(f"{cell.name}: {why or 'done'} ({number} of {len(cells)})")
                if why:
                    failed[cell.name] = why
        if number < len(cells):
            raise Interrupted("stopped; all progress is saved. Repeat the command to resume")
    return failed


class _CellWork:
    """The work of a worker of a cluster: it trains cells of the sweep in `out`."""

    def __init__(self, out: Path, train: Callable[[Cell], None], threads: int):
        wait_for_shared(out / ASKED, out)
        self._train, self._threads = train, threads

    def __call__(self, cell: Cell) -> str | None:
        torch.set_num_threads(self._threads)  # of this thread
        return _attempt(self._when_free, cell)

    def _when_free(self, cell: Cell) -> None:
        """Train a cell. The lock of a worker that was killed may outlive it on another machine: wait for it."""
        end = time.monotonic() + SHARED_S
        while True:
            try:
                return self._train(cell)
            except InUse:
                if time.monotonic() > end:
                    raise
                time.sleep(1)


def _prepare_worker(threads: int) -> None:
    torch.set_num_threads(threads)
    end_with_parent()


def _attempt(train: Callable[[Cell], None], cell: Cell) -> str | None:
    """Train a cell; return the reason of a failure, or None. Raises Interrupted when stopped."""
    try:
        train(cell)
    except Interrupted:
        raise Interrupted(f"stopped in {cell.name}; all progress is saved. Repeat the command to resume") from None
    except KeyboardInterrupt:  # not inside a loop that handles a request to stop
        raise Interrupted(f"stopped in {cell.name}; finished work is kept. Repeat the command to resume") from None
    except UserError as error:
        return str(error)
    except torch.OutOfMemoryError as error:
        return f"the device is out of memory: {str(error).splitlines()[0][:120]}"
    return None


def write_table(out: Path, columns: Sequence[str], rows: Sequence[Mapping[str, object]]) -> Path:
    """Write sweep.csv into `out`."""
    write_bytes(out / "sweep.csv", as_csv(columns, rows))
    return out / "sweep.csv"


def write_sweep_page(
    out: Path,
    package: str,
    columns: Sequence[str],
    lines: Sequence[tuple[bool, Sequence[tuple[str, bool]]]],
    **values: Any,
) -> Path:
    """Write sweep.html into `out` by the package's own sweep.html.j2, which extends fakecore's; curves.png goes into it.

    `lines` are those of the table: whether it is the best, and for each of `columns` (text, whether it is a number).
    """
    curves = out / "curves.png"
    write_page(
        out / "sweep.html",
        package,
        "sweep.html.j2",
        title=f"Sweep: {out.name}",
        asked=read_json(out / ASKED)["request"],
        columns=columns,
        lines=lines,
        curves=data_uri(curves) if curves.is_file() else None,
        **values,
    )
    return out / "sweep.html"
