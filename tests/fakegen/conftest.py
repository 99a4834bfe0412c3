"""A small trained run that many tests read."""

from __future__ import annotations

import pytest

import fakegen

TINY = {
    "resolution": 16,
    "g_width": 8,
    "d_width": 8,
    "z_dim": 8,
    "epochs": 2,
    "checkpoint_every": 1,
    "snapshot_every": 1,
    "measure_every": 0,
}


@pytest.fixture(scope="session")
def tiny():
    """Settings under which an epoch of digits:3 takes a fraction of a second."""
    return dict(TINY)


@pytest.fixture(scope="session")
def run(tmp_path_factory, drawing):
    """A finished run of the digits preset on one class of digits; tests must not write into it."""
    out = tmp_path_factory.mktemp("runs") / "tiny"
    with drawing():
        return fakegen.train("digits-32", out=out, real="digits:3", changes=TINY, count=150, device="cpu").run
