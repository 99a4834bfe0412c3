"""A Ray cluster: connect to one, or start one on this machine."""

from __future__ import annotations

import io
import logging
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from dataclasses import dataclass
from typing import Any

from fakecore.cpus import usable_cpus
from fakecore.errors import UserError

_STARTS = 3  # of Ray, which gives its processes 30 s: a busy machine may need more
_STORE_BYTES = 128 << 20  # of the object store of a cluster that is started here; Ray's least is 75 MiB


@dataclass(frozen=True)
class Cluster:
    """Where work is done, and by how many: `workers` processes, each with `cpus` processors and `gpus` GPUs.

    Without an `address`, Ray starts on this machine; "auto" is the cluster that this machine is part of. `workers` None: as
    many as the cluster has room for.
    """

    address: str | None = None
    workers: int | None = None
    cpus: int = 1
    gpus: float = 0.0

    def workers_in(self, resources: dict[str, float]) -> int:
        """Return the number of workers for a cluster with these resources, {"CPU": 8.0, "GPU": 1.0}."""
        rooms = [resources.get("CPU", 1) / self.cpus] + ([resources.get("GPU", 0) / self.gpus] if self.gpus else [])
        return self.workers or max(1, int(min(rooms)))

    def words(self) -> list[object]:
        """Return the words of the command line that choose this cluster."""
        given: dict[str, object] = {"--address": self.address, "--workers": self.workers}
        given |= {"--worker-cpus": self.cpus if self.cpus != 1 else None, "--worker-gpus": self.gpus or None}
        found = [word for name, value in given.items() if value is not None for word in (name, value)]
        return ["--engine", "ray", *found]

    def device(self, name: str) -> str:
        """Return the device of workers for the one that was asked for: "auto" is a GPU only for workers that have one: Ray does
        not hide those of a machine from the others.
        """
        return "cpu" if name == "auto" and not self.gpus else name


@contextmanager
def connected(cluster: Cluster) -> Iterator[Any]:
    """Connect to a cluster, or start one on this machine, until the block ends; yield the ray module. A connection that the
    caller has is used, and kept.

    In the block, standard output is discarded: Ray prints to it what ends its processes. Raises UserError if Ray is not
    installed, does not start or cannot be reached.
    """
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # it would report to its makers
    os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")  # of its own errors too, which it repairs
    try:
        import ray
    except ModuleNotFoundError:
        raise UserError("--engine ray needs Ray", remedy="Install it: pip install 'fakelab[ray]'.") from None
    if ray.is_initialized():
        with redirect_stdout(_Nowhere()):
            yield ray
        return
    _start(ray, cluster)
    with redirect_stdout(_Nowhere()):
        try:
            yield ray
        finally:
            ray.shutdown()  # prints what it has held back


def _start(ray: Any, cluster: Cluster) -> None:
    """Connect to a cluster, or start one. Raises UserError."""
    options: dict[str, Any] = {"logging_level": logging.ERROR, "log_to_driver": False}
    if cluster.address is None:
        options |= {"num_cpus": max(usable_cpus(), cluster.cpus), "object_store_memory": _STORE_BYTES}
        options |= {"include_dashboard": False} | ({"num_gpus": _gpus(cluster.gpus)} if cluster.gpus else {})
    for left in reversed(range(_STARTS)):
        try:
            with _without_stderr():
                ray.init(cluster.address or "local", **options)
            return
        except Exception as error:  # of many kinds, a plain Exception too
            ray.shutdown()  # ends what it started
            if cluster.address or not left:
                what = (
                    f"the Ray cluster {cluster.address} cannot be reached" if cluster.address else "Ray does not start"
                )
                raise UserError(what, got=(str(error) or repr(error)).splitlines()[0]) from None


def _gpus(least: float) -> int:
    """Return the number of GPUs of this machine. Raises UserError if there are fewer than a worker asks for."""
    import torch

    found = torch.cuda.device_count()
    if found < least:
        raise UserError("this machine has too few GPUs for a worker", got=found, expected=f"--worker-gpus {least:g}")
    return found


class _Nowhere(io.TextIOBase):
    def write(self, text: str) -> int:
        return len(text)


@contextmanager
def _without_stderr() -> Iterator[None]:
    """Discard what Ray's own code, not in Python, prints when it starts."""
    sys.stderr.flush()
    kept, nowhere = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 2)
    os.close(nowhere)
    try:
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
