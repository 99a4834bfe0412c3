"""`sample` and `sweep` on a cluster of Ray, whose workers and commands are killed."""

from __future__ import annotations

import hashlib
import os
import signal
import threading
import time
from functools import partial
from pathlib import Path

import pytest

import fakegen
from benchmarks.scale.kills import descendants
from fakecore.cluster import Cluster, connected
from fakecore.errors import Interrupted
from fakecore.runs.grid import ASKED, Cell, run_cells
from tests.cells import train

SMALL = {"resolution": 16, "g_width": 8, "d_width": 8, "z_dim": 8, "measure_every": 0, "epochs": 0}


@pytest.fixture(scope="module")
def address():
    """The address of a cluster that this process has started, and that its commands join."""
    pytest.importorskip("ray")
    with connected(Cluster(cpus=2)) as ray:
        yield ray.get_runtime_context().gcs_address


def files_of(folder: Path) -> dict[str, str]:
    """{path: SHA-256}, hidden files too."""
    paths = (path for path in folder.rglob("*") if path.is_file() and path.name != ".lock")
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in paths}


def wait_until(true, process) -> None:
    end = time.monotonic() + 120
    while not true():
        assert process.poll() is None and time.monotonic() < end, process.communicate(9)
        time.sleep(0.01)


def kill_a_worker() -> None:
    """Kill the worker of the cluster, whose processes are ours."""
    for process in descendants(os.getpid()):
        if process.has((b"ray::FakelabWorker",)):
            os.kill(process.id, signal.SIGKILL)
            return
    raise AssertionError("no worker runs")


@pytest.mark.parametrize(
    ("words", "what"),
    [
        (("sample", "run", "--workers", 2), "--workers applies only to --engine. Add --engine ray."),
        (("sample", "run", "--engine", "spark"), "there is no engine 'spark' (expected one of ray)"),
        (
            ("sample", "run", "--engine", "ray", "--out", "https://host/set"),
            "an http(s) URL cannot be written to",
        ),
        (("sweep", "generate", "digits-32", "--worker-gpus", 1), "--worker-gpus applies only to --engine"),
        (
            ("sweep", "detect-train", "--real", "a", "--fake", "b", "--engine", "ray", "--jobs", 2),
            "combined with --jobs",
        ),
        (("score", "a.jpg", "--engine", "ray", "--worker-cpus", 0), "--worker-cpus is too small"),
    ],
)
def test_options_of_the_engine_are_checked_first(words, what, fakelab, tmp_path):
    count = ("--count", 3) if words[0] == "sample" else ()
    done = fakelab(*words, *count, *(() if "--out" in words else ("--out", tmp_path / "out")))
    assert done.returncode == 2 and what in done.stderr
    assert not (tmp_path / "out").exists()


def test_a_set_whose_workers_and_command_are_killed_equals_that_of_one_machine(
    address, tmp_path, start_fakelab, fakelab, drawing
):
    run = fakegen.train("digits-32", out=tmp_path / "run", real="digits:3", changes=SMALL, count=3).run
    fakegen.sample(run, tmp_path / "one", count=3_000)
    out = tmp_path / "set"
    manifest = out / "metadata.jsonl"
    words = ("sample", run, "--count", 3_000, "--out", out, "--engine", "ray", "--workers", 1)
    command = start_fakelab(*words, "--address", address)
    wait_until(lambda: manifest.exists() and manifest.stat().st_size, command)
    kill_a_worker()
    listed = manifest.stat().st_size
    wait_until(lambda: manifest.stat().st_size > listed, command)
    command.kill()
    command.wait(9)
    assert not (out / "imageset.json").exists(), "it was killed too late"
    done = fakelab(*words, "--resume")
    assert done.returncode == 0, done.stderr
    at_url = fakelab(*words[:4], "--out", (tmp_path / "at").as_uri(), *words[6:])
    assert at_url.returncode == 0, at_url.stderr
    assert files_of(out) == files_of(tmp_path / "at") == files_of(tmp_path / "one")


def test_a_cell_that_fails_or_dies_does_not_end_the_others_and_ctrl_c_lets_them_save(address, tmp_path, capfd):
    (tmp_path / ASKED).touch()

    def interrupt() -> None:
        while not (tmp_path / "long").exists():
            time.sleep(0.01)
        os.kill(os.getpid(), signal.SIGINT)

    threading.Thread(target=interrupt, daemon=True).start()
    cells = [Cell(name, {}) for name in ("fails", "dies", "long", "waits")]
    with pytest.raises(Interrupted, match="all progress is saved"):
        run_cells(tmp_path, cells, partial(train, tmp_path), 1, Cluster(address, workers=1))
    lines = capfd.readouterr().err.splitlines()
    assert [line for line in lines if "of 4" in line or "died" in line] == [
        "fails: no (got 1) (1 of 4)",
        "note: a worker died; its part is done again",
        "dies: done (2 of 4)",
    ]
    assert (tmp_path / "saved").exists() and not (tmp_path / "waits").exists()
