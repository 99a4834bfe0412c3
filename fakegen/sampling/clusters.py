"""Make the fakes of a set in workers of a cluster: each makes whole units, and answers with their lines of the manifest, which
the process of the command lists in order.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Generator
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from pathlib import Path

from fakecore.cluster import Cluster
from fakecore.device import device_name
from fakecore.errors import UserError
from fakecore.labels import Label
from fakecore.progress import say
from fakecore.runs.mirror import local_folder
from fakecore.runs.runfolder import versions
from fakecore.sets.setwriter import ImageSetWriter, attempt_folder
from fakecore.sets.targets import target_at
from fakecore.sets.units import BATCH, FORMATS, SHARD, Made, UnitWriter, Wanted
from fakecore.storage import TRANSFERS
from fakecore.urls import is_url, shown
from fakecore.workers import done_by_workers, wait_for_shared
from fakegen.runs.run import open_run
from fakegen.sampling.fakes import Fakes

_LEAST_PARTS = 64


@dataclass(frozen=True)
class Task:
    """What workers are asked to make: `fakes` of the run at the path or URL `run`, for the set `out`, a URL or an
    absolute path.
    """

    run: str
    out: str
    attempt: str
    fakes: Fakes
    checkpoint_sha256: str
    image_format: str
    device: str
    versions: dict[str, str]


class OnCluster:
    """Makes what a writer misses. `devices` are those of the workers that made some of it, by name."""

    def __init__(
        self, writer: ImageSetWriter, cluster: Cluster, run: str, fakes: Fakes, checkpoint_sha256: str, device: str
    ):
        self._writer, self._cluster = writer, cluster
        used = {name: version for name, version in versions().items() if name != "python"}  # Ray compares Python's
        out = writer.url or str(writer.root.absolute())
        self._task = Task(run, out, writer.attempt, fakes, checkpoint_sha256, writer.image_format, device, used)
        self.devices: set[str] = set()

    def write(self, stopping: Callable[[], bool]) -> Generator[int]:
        """Yield the number of newly listed images when a part is made; end when `stopping()`. Raises UserError as
        `done_by_workers` does.
        """
        parts = _parts(self._writer.missing(), self._task)
        build = partial(_Maker, self._task, self._cluster.cpus)
        with closing(done_by_workers(build, parts, self._cluster, stopping=stopping)) as done:
            for _, (device, made) in done:
                if self.devices and device not in self.devices:
                    say(f"note: workers have different processors, so the last bits of fakes may differ: {device}")
                self.devices.add(device)
                yield self._writer.list_units(made)


def _parts(units: range, task: Task) -> list[range]:
    """Return the units as parts of 1,024 images, which a GPU makes together; of fewer, for sets with less than 64 of them."""
    most = SHARD // FORMATS[task.image_format].unit
    size = max(1, min(most, task.fakes.count // (BATCH * _LEAST_PARTS)))
    # Aligned: a GPU makes whole groups of blocks.
    edges = [units.start, *range(units.start // size * size + size, units.stop, size), units.stop]
    return [range(*edge) for edge in pairwise(edges) if edge[0] < edge[1]]


class _Maker:
    """The work of a worker: it holds the generator."""

    def __init__(self, task: Task, cpus: int):
        folder, threads = attempt_folder(Path(task.out), task.attempt), cpus
        if is_url(task.out):
            self._own = tempfile.TemporaryDirectory(prefix="fakelab-sample-")
            folder, threads = Path(self._own.name), max(cpus, TRANSFERS)
        else:
            wait_for_shared(folder, Path(task.out))
        _refuse_other_versions(task.versions)
        run = open_run(local_folder(task.run))
        generator = task.fakes.load(run, task.device)
        if generator.facts["sha256"] != task.checkpoint_sha256:
            what = f"a machine of the cluster has another checkpoint of {shown(task.run)}"
            raise UserError(what, got=generator.facts["sha256"][:12], expected=task.checkpoint_sha256[:12])
        wanted: dict[Label, Wanted] = {"fake": task.fakes.wanted(generator, run)}
        self._writer = UnitWriter(target_at(task.out, alone=False), folder, wanted, task.image_format, threads)
        self._device = device_name(generator.device)

    def __call__(self, units: range) -> tuple[str, list[Made]]:
        return self._device, [made for made in self._writer.write(units) if made]


def _refuse_other_versions(expected: dict[str, str]) -> None:
    """Raise UserError on a machine with other versions of the packages that decide the bytes of a set."""
    found = versions()
    for name, version in expected.items():
        if found.get(name) != version:
            what = f"a machine of the cluster has another version of {name}"
            raise UserError(what, got=found.get(name), expected=version, remedy="Install the same versions everywhere.")
