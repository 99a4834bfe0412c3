"""What all tests share: a pixel cache of their own, and the command line as a user runs it."""

from __future__ import annotations

import io
import os
import subprocess
import sys
from contextlib import chdir, redirect_stderr, redirect_stdout
from pathlib import Path
from unittest import mock

import pytest

ROOT = Path(__file__).parent.parent

if "PYTEST_XDIST_WORKER" in os.environ:  # one process of tests a core: threads of each would wait for one another
    os.environ["OMP_NUM_THREADS"] = "1"


@pytest.fixture(autouse=True, scope="session")
def _own_cache(tmp_path_factory):
    os.environ["FAKELAB_CACHE"] = str(tmp_path_factory.mktemp("cache"))


@pytest.fixture(scope="session")
def fakelab():
    """Call `python cli.py ...` in this process: fakelab("score", path) -> CompletedProcess with text output.

    It is the same code as in a process of its own, without the seconds that each takes to import torch.
    """
    import cli

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
    """Run `python cli.py ...` as its own process: fakelab_process("score", path) -> CompletedProcess with text output."""

    def run(*arguments: object, cwd: Path | None = None, timeout: float = 240) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, str(ROOT / "cli.py"), *map(str, arguments)]
        return subprocess.run(command, capture_output=True, text=True, cwd=cwd, timeout=timeout, check=False)

    return run


@pytest.fixture(scope="session")
def start_fakelab():
    """Start `python cli.py ...` and return the running process, to be interrupted or killed."""

    def start(*arguments: object) -> subprocess.Popen[str]:
        command = [sys.executable, str(ROOT / "cli.py"), *map(str, arguments)]
        return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)

    return start
