"""Cells of a sweep that behave as their names say, for workers of a cluster to import."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

from fakecore.errors import Interrupted, UserError
from fakecore.interrupt import StopRequest
from fakecore.runs.grid import Cell


def train(out: Path, cell: Cell) -> None:
    """Fail, die once, or train until asked to stop."""
    seen = (out / cell.name).exists()
    (out / cell.name).touch()
    if cell.name == "fails":
        raise UserError("no", got=1)
    if cell.name == "dies" and not seen:
        os.kill(os.getpid(), signal.SIGKILL)
    if cell.name == "long":
        with StopRequest() as stop:
            while not stop.asked:
                time.sleep(0.01)
        (out / "saved").touch()
        raise Interrupted("stopped")
