"""Several processes at one job, as torchrun starts them: which one this is, and how they wait for one another.

Whatever started them, a job of one process is the same code with nobody to wait for.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from typing import TYPE_CHECKING, Any

from fakecore.errors import UserError

if TYPE_CHECKING:
    import torch
    from lightning.fabric import Fabric


def launched() -> bool:
    """True in a process that torchrun started."""
    return "TORCHELASTIC_RUN_ID" in os.environ


def rank() -> int:
    """The number of this process among all of the job: 0 for the one that speaks and keeps the books."""
    return int(os.environ["RANK"]) if launched() else 0


def world_size() -> int:
    """The number of processes of the job."""
    return int(os.environ["WORLD_SIZE"]) if launched() else 1


def local_rank() -> int:
    """The number of this process among those on its machine."""
    return int(os.environ["LOCAL_RANK"]) if launched() else 0


def local_size() -> int:
    """The number of the job's processes on this machine, which share its processors."""
    return int(os.environ["LOCAL_WORLD_SIZE"]) if launched() else 1


class PeerLost(UserError):
    """Another process of the job ended before its work was done; what it printed says why."""

    def __init__(self) -> None:
        super().__init__(
            "another process of this job ended early",
            remedy="What it printed says why. What is on disk can be resumed.",
        )


class World:
    """The processes of the job, joined by `fabric`; None for a process that is alone. Every method must be called by all
    of them, in the same order, and raises PeerLost when another process is gone.
    """

    def __init__(self, fabric: Fabric | None = None):
        self._fabric = fabric
        self.rank = fabric.global_rank if fabric else 0
        self.size = fabric.world_size if fabric else 1

    @property
    def is_main(self) -> bool:
        return self.rank == 0

    @property
    def alone(self) -> bool:
        return self.size == 1

    def wait(self) -> None:
        """Return when all have come here."""
        if not self.alone:
            with _lost_peers():
                self._fabric.barrier()

    def share(self, value: Any) -> Any:
        """What the first process gave, in all of them."""
        if self.alone:
            return value
        with _lost_peers():
            return self._fabric.broadcast(value)

    def mean(self, values: torch.Tensor) -> torch.Tensor:
        """The mean over all processes, elementwise."""
        if self.alone:
            return values
        with _lost_peers():
            return self._fabric.all_reduce(values, reduce_op="mean")

    @contextmanager
    def together(self) -> Iterator[None]:
        """Work that all must have done before any goes on. An error in one ends them all, and one alone tells of it."""
        if self.alone:
            yield
            return
        import torch

        error = None
        try:
            yield
        except Exception as caught:
            error = caught
        with _lost_peers():
            failed = self._fabric.all_gather(torch.tensor(error is not None)).tolist()
        if error is not None and failed.index(True) == self.rank:
            raise error
        if any(failed):
            raise PeerLost

    @contextmanager
    def first(self, held: AbstractContextManager) -> Iterator[None]:
        """Enter `held` in the first process alone, while the others wait for it."""
        with ExitStack() as stack:
            with self.together():
                if self.is_main:
                    stack.enter_context(held)
            yield


@contextmanager
def _lost_peers() -> Iterator[None]:
    try:
        yield
    except RuntimeError as error:  # what the backends raise for a connection that was closed
        raise PeerLost from error
