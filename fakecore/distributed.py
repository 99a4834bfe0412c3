"""Several processes of one job, as started by torchrun: the rank of this process and the synchronisation among them.

A job of one process runs the same code without waiting.
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

T = TypeVar("T")
# One process may decode or write for hours while the others wait; a dead one is noticed at once.
PATIENCE = timedelta(days=7)


def launched() -> bool:
    """Return whether torchrun started this process."""
    return "TORCHELASTIC_RUN_ID" in os.environ


def rank() -> int:
    """Return the number of this process in the job; process 0 prints and writes records."""
    return int(os.environ["RANK"]) if launched() else 0


def world_size() -> int:
    """Return the number of processes in the job."""
    return int(os.environ["WORLD_SIZE"]) if launched() else 1


def local_rank() -> int:
    """Return the number of this process among those on its machine."""
    return int(os.environ["LOCAL_RANK"]) if launched() else 0


def local_size() -> int:
    """Return the number of processes of the job on this machine, which share its CPU cores."""
    return int(os.environ["LOCAL_WORLD_SIZE"]) if launched() else 1


class PeerLost(UserError):
    """Another process of the job ended before its work was done; its output gives the reason."""

    def __init__(self) -> None:
        super().__init__(
            "another process of this job ended early",
            remedy="Its own output says why. The work on disk can be resumed.",
        )


class World:
    """The processes of the job; if there are several, torch's process group connects them. All must call every method, in the
    same order. Methods raise PeerLost if another process is gone.

    Messages go over gloo, apart from the connection of the GPUs, so that no GPU waits for them.
    """

    def __init__(self, rank: int = 0, size: int = 1):
        self.rank, self.size = rank, size
        if not self.alone:
            import torch.distributed

            self._group: Any = torch.distributed.new_group(backend="gloo", timeout=PATIENCE)
            atexit.register(self._leave)

    def _leave(self) -> None:
        # gloo's threads may still hold tensors of the last exchange, and freeing one while the interpreter shuts down aborts
        # the process (pytorch pull request 179291). Without a reference to the groups, their threads are joined here.
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
        """Wait until all processes have called this."""
        self.any(False)

    def any(self, *flags: bool) -> list[bool]:
        """Return, for each flag, whether it is true in any process."""
        return list(flags) if self.alone else [any(column) for column in zip(*self._gather(flags), strict=True)]

    def share(self, value: Any) -> Any:
        """Return the value of the first process in all processes."""
        if self.alone:
            return value
        import torch.distributed

        values = [value]
        with lost_peers():
            torch.distributed.broadcast_object_list(values, 0, group=self._group)
        return values[0]

    def mean(self, values: torch.Tensor) -> torch.Tensor:
        """Return the element-wise mean of `values`, a CPU tensor, over all processes."""
        if self.alone:
            return values
        import torch.distributed

        with lost_peers():
            torch.distributed.all_reduce(values, group=self._group)
        return values / self.size

    @contextmanager
    def together(self) -> Iterator[None]:
        """All processes must finish the block before any continues. An error in one ends all; only one process reports it."""
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
        """Enter `held` in the first process only, while the others wait."""
        with ExitStack() as stack:
            with self.together():
                if self.is_main:
                    stack.enter_context(held)
            yield

    def after_first(self, work: Callable[[], T]) -> T:
        """Return `work()`, run by the first process, then by the first of each machine, then by the others: each finds the
        files that one before it wrote, also where machines do not share them.
        """
        done: list[T] = []
        for own_turn in (self.is_main, local_rank() == 0, True):
            with self.together():
                if own_turn and not done:
                    done.append(work())
        return done[0]

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
    """Raise PeerLost instead of the backends' errors for a closed connection."""
    try:
        yield
    except RuntimeError as error:
        from torch.distributed import DistError

        if isinstance(error, DistError) or "gloo" in str(error):
            raise PeerLost from error
        raise
