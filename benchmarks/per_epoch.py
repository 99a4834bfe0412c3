"""`python -m benchmarks.per_epoch RUN...` is an alias of the command `benchmark RUN...`."""

from __future__ import annotations

import runpy
import sys

if __name__ == "__main__":
    sys.argv[1:1] = ["benchmark"]
    runpy.run_module("cli", run_name="__main__", alter_sys=True)
