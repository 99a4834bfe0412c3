"""How many processors a process may use."""

from __future__ import annotations

import os
from contextlib import suppress

VARIABLE = "FAKELAB_CPUS"


def usable_cpus() -> int:
    """Return how many threads or processes of ours compute at a time: the value of FAKELAB_CPUS, if it is set, else the
    processors that the system lets this process use (of a machine that is shared, as by Slurm or taskset, its share).
    """
    with suppress(KeyError, ValueError):
        return max(1, int(os.environ[VARIABLE]))
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
