"""Several processes at one job, as torchrun starts them: which one this is, and how they wait for one another.

Whatever started them, a job of one process is the same code with nobody to wait for.
"""

from __future__ import annotations

import atexit
import gc
import os
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from datetime import timedelta
from typing import TYPE_CHECKING, Any, TypeVar

from fakecore.errors import UserError

if TYPE_CHECKING:
    import torch
    from lightning.fabric import Fabric

T = TypeVar("T")
PATIENCE = timedelta(
    days=7
)  # one may decode or write for hours while the others wait; those that died are noticed at once


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
            remedy="Its own output says why. The work on disk can be resumed.",
        )


class World:
    """The processes of the job, joined by `fabric`; None for a process that is alone. Every method must be called by all
    of them, in the same order, and raises PeerLost when another process is gone.

    They talk over gloo, beside whatever joins their GPUs: words on a CPU hold no GPU up.
    """

    def __init__(self, fabric: Fabric | None = None):
        self.rank = fabric.global_rank if fabric else 0
        self.size = fabric.world_size if fabric else 1
        if not self.alone:
            import torch.distributed

            self._group: Any = torch.distributed.new_group(backend="gloo", timeout=PATIENCE)
            atexit.register(self._leave)

    def _leave(self) -> None:
        # gloo's threads may still hold tensors of the last exchange; to free one while the interpreter is being taken
        # down aborts the process (pytorch pull request 179291). Without a reference to the groups their threads are joined.
        import torch.distributed

        self._group = None
        torch.distributed.destroy_process_group()
        gc.collect()

    @property
    def is_main(self) -> bool:
        return self.rank == 0

    @property
    def alone(self) -> bool:
        return self.size == 1

    def wait(self) -> None:
        """Return when all have come here."""
        self.any(False)

    def any(self, *flags: bool) -> list[bool]:
        """Which of the flags is true in any process."""
        return list(flags) if self.alone else [any(column) for column in zip(*self._gather(flags), strict=True)]

    def share(self, value: Any) -> Any:
        """What the first process gave, in all of them."""
        if self.alone:
            return value
        import torch.distributed

        values = [value]
        with lost_peers():
            torch.distributed.broadcast_object_list(values, 0, group=self._group)
        return values[0]

    def mean(self, values: torch.Tensor) -> torch.Tensor:
        """The mean over all processes of `values` on the CPU, elementwise."""
        if self.alone:
            return values
        import torch.distributed

        with lost_peers():
            torch.distributed.all_reduce(values, group=self._group)
        return values / self.size

    @contextmanager
    def together(self) -> Iterator[None]:
        """Work that all must have done before any goes on. An error in one ends them all, and one alone tells of it."""
        if self.alone:
            yield
            return
        error = None
        try:
            yield
        except Exception as caught:
            error = caught
        failed = [flag for (flag,) in self._gather((error is not None,))]
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

    def after_first(self, work: Callable[[], T]) -> T:
        """`work` in the first process, then in all others: they find in files what the first one left there."""
        with self.together():
            done = [work()] if self.is_main else []
        with self.together():
            return done[0] if self.is_main else work()

    def _gather(self, flags: tuple[bool, ...]) -> list[list[bool]]:
        import torch.distributed

        own = torch.tensor(flags)
        found = [torch.empty_like(own) for _ in range(self.size)]
        with lost_peers():
            torch.distributed.all_gather(found, own, group=self._group)
        return [row.tolist() for row in found]


ALONE = World()


@contextmanager
def lost_peers() -> Iterator[None]:
    """What the backends raise in the block for a connection that was closed comes out as PeerLost."""
    try:
        yield
    except RuntimeError as error:
        from torch.distributed import DistError

        if isinstance(error, DistError) or "gloo" in str(error):
            raise PeerLost from error
        raise
