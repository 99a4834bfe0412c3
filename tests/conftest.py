"""What all tests share: a separate pixel cache, the command line as a user runs it, and videos of drawn faces."""

from __future__ import annotations

import io
import os
import shutil
import subprocess
import sys
from contextlib import chdir, redirect_stderr, redirect_stdout
from pathlib import Path
from unittest import mock

import pytest

from fakecore.cpus import usable_cpus
from tests.figures import Figures
from tests.forks import Fork

ROOT = Path(__file__).parent.parent
LONG = (
    "test_processes.py",
    "test_interruption.py",
    "test_interrupt.py",
    "test_app.py",
    "test_clusters.py",
    "test_judging.py",
)  # 30 s and more


def pytest_collection_modifyitems(items):
    """Start with the longest files: xdist gives a file to one process, and a long one at the end leaves the others idle."""
    items.sort(key=lambda item: item.path.name not in LONG)


def pytest_xdist_auto_num_workers(config):
    """Return a process more than there are cores: a third of the time, tests wait for processes, servers and disks."""
    return usable_cpus() + 1


def pytest_configure(config):
    """Hide GPUs: the tests mean the CPU, also on a machine with a GPU; but for `-m gpu`, those that are marked so."""
    if config.option.markexpr != "gpu":
        os.environ["CUDA_VISIBLE_DEVICES"] = ""


def pytest_runtest_setup(item):
    if item.get_closest_marker("gpu"):
        import torch

        if not torch.cuda.is_available():
            pytest.skip("needs a GPU")


if "PYTEST_XDIST_WORKER" in os.environ:  # one process of tests a core: threads of each would wait for one another
    os.environ["OMP_NUM_THREADS"] = "1"


@pytest.fixture(scope="module")
def browser():
    """A real browser, Debian's `chromium`; tests that need it are skipped where it is missing."""
    reason = "NO TEST OF A PAGE IN A BROWSER RAN: "
    api = pytest.importorskip("playwright.sync_api", reason=reason + "playwright is not installed")
    path = shutil.which("chromium")
    if path is None:
        pytest.skip(reason + "there is no chromium; install it: apt-get install chromium")
    with api.sync_playwright() as playwright:
        running = playwright.chromium.launch(executable_path=path, args=["--no-sandbox"])
        yield running
        running.close()


@pytest.fixture
def web():
    """A web server with files of a test's own, which misbehaves at other paths."""
    from tests.stores import Web

    server = Web()
    yield server
    server.close()


@pytest.fixture(autouse=True, scope="session")
def _own_cache(tmp_path_factory):
    os.environ["FAKELAB_CACHE"] = str(tmp_path_factory.mktemp("cache"))


@pytest.fixture(autouse=True, scope="session")
def drawing():
    """A context manager in which figures are drawn. Elsewhere they are saved as an empty picture."""
    figures = Figures()
    with figures.left_empty():
        yield figures.drawn


@pytest.fixture
def drawn(drawing):
    """Figures are drawn in a test."""
    with drawing():
        yield


@pytest.fixture(scope="session")
def fakelab():
    """Call `python cli.py ...` in this process: fakelab("score", path) -> CompletedProcess with text output.

    It is the same code as in a process of its own, without the seconds that each takes to import torch.
    """
    from fakelab import app as cli

    def run(*arguments: object, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
        words = [str(ROOT / "cli.py"), *map(str, arguments)]
        out, errors = io.StringIO(), io.StringIO()
        with (
            chdir(cwd or Path.cwd()),
            mock.patch.object(sys, "argv", words),
            redirect_stdout(out),
            redirect_stderr(errors),
            pytest.raises(SystemExit) as ended,
        ):
            cli.main()
        return subprocess.CompletedProcess(words, ended.value.code, out.getvalue(), errors.getvalue())

    return run


@pytest.fixture(scope="session")
def fakelab_process():
    """Run `python cli.py ...` as its own process, a fork: fakelab_process("score", path) -> CompletedProcess with text."""

    def run(*arguments: object, cwd: Path | None = None, timeout: float = 240) -> subprocess.CompletedProcess[str]:
        process = Fork(ROOT / "cli.py", arguments, cwd=cwd)
        out, errors = process.communicate(timeout)
        return subprocess.CompletedProcess(process.args, process.returncode or 0, out, errors)

    return run


@pytest.fixture(scope="session")
def start_fakelab():
    """Start `python cli.py ...` and return the running process, a fork, to be interrupted or killed."""

    def start(*arguments: object, **environment: object) -> Fork:
        return Fork(
            ROOT / "cli.py", arguments, {**os.environ, **{name: str(value) for name, value in environment.items()}}
        )

    return start


@pytest.fixture(scope="session")
def draw_face():
    """A function that draws a face, which MTCNN detects, on uint8 RGB `frame`: centre (x, y), about `side` pixels high."""
    import cv2

    def draw(frame, x: float, y: float, side: float, skin=(224, 172, 138)) -> None:
        dark, hair = tuple(int(value * 0.75) for value in skin), (60, 40, 30)

        def blob(across: float, down: float, width: float, height: float, colour) -> None:
            middle, axes = (int(x + across * side), int(y + down * side)), (int(width * side), int(height * side))
            cv2.ellipse(frame, middle, axes, 0, 0, 360, colour, -1, cv2.LINE_AA)

        blob(0, -0.08, 0.52, 0.62, hair)
        blob(0, 0.05, 0.45, 0.57, skin)
        for eye in (-0.19, 0.19):
            blob(eye, -0.06, 0.12, 0.06, dark)
            blob(eye, -0.05, 0.085, 0.045, (245, 245, 245))
            blob(eye, -0.05, 0.045, 0.045, (40, 30, 25))
            blob(eye, -0.16, 0.13, 0.03, hair)
        blob(0, 0.14, 0.07, 0.05, dark)
        blob(0, 0.33, 0.17, 0.055, (170, 70, 70))

    return draw


@pytest.fixture(scope="session")
def write_video(draw_face):
    """A function that writes a 320x240 video; each of `people`, called with a frame number, places a face or returns None."""
    import cv2
    import numpy as np

    def write(path: Path, people: list, count: int = 20, fps: float = 10, background=(120, 140, 150)) -> Path:
        writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*"mp4v"), fps, (320, 240))
        for number in range(count):
            frame = np.full((240, 320, 3), background, dtype=np.uint8)
            for where in filter(None, (person(number) for person in people)):
                draw_face(frame, *where)
            writer.write(np.ascontiguousarray(frame[..., ::-1]))
        writer.release()
        return path

    return write
