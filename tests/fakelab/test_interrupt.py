"""Ctrl-C in a real process: one line that says what is saved and how to resume, and exit code 130."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from fakecore.errors import Interrupted
from fakelab import app as cli
from tests.forks import DRAWN, Fork

ROOT = Path(__file__).parents[2]
SMALL = ["--set", "resolution=16", "--set", "g_width=8", "--set", "d_width=8", "--set", "batch=16", "--device", "cpu"]
SMALL += ["--set", "measure_every=0"]
STARTS_AGAIN = "interrupted: what was finished is kept; the same command starts again"


def interrupted(moment, *arguments, cache: Path, importing: bool = False) -> str:
    """Send SIGINT to `python cli.py ...` when `moment(process)` is true; return the last line of its stderr."""
    environment = {**os.environ, "FAKELAB_CACHE": str(cache), DRAWN: "1"}
    if importing:
        command = [sys.executable, str(ROOT / "cli.py"), *map(str, arguments)]
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
        process = subprocess.Popen(command, env=environment, **pipes)
    else:
        process = Fork(ROOT / "cli.py", arguments, environment)
    end = time.monotonic() + 120
    while not moment(process):
        assert process.poll() is None and time.monotonic() < end, "`moment` was never true"
        time.sleep(0.005)
    process.send_signal(signal.SIGINT)
    out, errors = process.communicate(timeout=60)
    assert process.returncode == 130, errors
    assert out == "" and "Traceback" not in errors and "Exception ignored" not in errors
    return errors.splitlines()[-1]


def has_mapped(word: str):
    """Return a function: has the process mapped a library of this name, so that it is importing?"""
    return lambda process: word in Path(f"/proc/{process.pid}/maps").read_text()


@pytest.mark.skipif(not Path("/proc/self/maps").exists(), reason="needs /proc")
@pytest.mark.parametrize("library", ["libtorch_cpu", "cv2"])
@pytest.mark.parametrize("command", [["generate"], ["sample", "nowhere", "--count", "3", "--out", "x"]])
def test_while_libraries_are_imported(command, library, tmp_path):
    assert interrupted(has_mapped(library), *command, cache=tmp_path, importing=True) == STARTS_AGAIN


def test_while_images_are_decoded(tmp_path):
    source, cache, run = tmp_path / "photos", tmp_path / "cache", tmp_path / "run"
    source.mkdir()
    picture = np.random.default_rng(0).integers(0, 256, (1500, 1500, 3), dtype=np.uint8)
    Image.fromarray(picture).save(source / "0.jpg")
    for number in range(1, 300):
        (source / f"{number}.jpg").symlink_to("0.jpg")
    words = ("generate", "digits-32", "--real", source, *SMALL, "--out", run)
    assert interrupted(lambda _: any(cache.glob("pixels/.tmp-*")), *words, cache=cache) == STARTS_AGAIN
    assert not run.exists() and not list(cache.glob("pixels/*"))


def test_while_plots_are_drawn_and_the_run_can_be_resumed(fakelab, tmp_path):
    run = tmp_path / "run"
    words = ("generate", "digits-32", "--real", "digits:3", "--epochs", 1, "--count", 100, *SMALL, "--out", run)
    line = interrupted(lambda _: (run / "plots" / "losses.png").exists(), *words, cache=tmp_path / "cache")
    hint = f"{sys.executable} {ROOT / 'cli.py'} generate --resume --out {run}"
    assert line == f"interrupted: saved work is kept. Resume with: {hint}"
    assert json.loads((run / "run.json").read_text())["status"] == "interrupted"
    assert fakelab(*hint.split()[2:]).returncode == 0
    assert (run / "set" / "imageset.json").is_file()


def test_while_fakes_are_written_and_the_set_can_be_resumed(fakelab, tmp_path):
    run, out = tmp_path / "run", tmp_path / "my set"
    made = fakelab("generate", "digits-32", "--real", "digits:3", "--epochs", 0, "--count", 3, *SMALL, "--out", run)
    assert made.returncode == 0, made.stderr
    listed = out / "metadata.jsonl"
    words = ("sample", run, "--count", 20_000, "--out", out, "--seed", 5)
    line = interrupted(lambda _: listed.exists() and listed.stat().st_size, *words, cache=tmp_path / "cache")
    hint = line.partition("Resume with: ")[2]
    assert hint.endswith(f"sample {run} --count 20000 --out '{out}' --epoch 0 --seed 5 --format png --resume")
    hint = hint.replace("--count 20000", f"--count {listed.read_text().count(chr(10)) + 3}")
    assert subprocess.run(["bash", "-c", hint], capture_output=True, check=False).returncode == 0
    assert (out / "imageset.json").is_file()


def test_two_signals_at_once_still_print_how_to_resume(tmp_path):
    run = tmp_path / "run"
    words = ("generate", "digits-32", "--real", "digits:3", "--epochs", 4000, "--set", "checkpoint_every=1", *SMALL)
    process = Fork(ROOT / "cli.py", (*words, "--out", run))
    while not (run / "checkpoints" / "epoch-0001.json").exists():
        assert process.poll() is None
        time.sleep(0.01)
    for _ in range(2):
        process.send_signal(signal.SIGINT)
        time.sleep(0.002)
    errors = process.communicate(timeout=60)[1]
    assert process.returncode == 130 and "Traceback" not in errors
    # The second signal may come between the text and the newline of the first one's message.
    assert "interrupted: " in errors.splitlines()[-1] and f"--resume --out {run}" in errors


@pytest.mark.parametrize("error", [KeyboardInterrupt(), Interrupted("")])
def test_without_a_message_the_line_is_not_empty(monkeypatch, capsys, error):
    def stopped(_):
        raise error

    monkeypatch.setattr(cli, "_run", stopped)
    with pytest.raises(SystemExit) as ended:
        cli.main(["score", "x"])
    assert ended.value.code == 130 and capsys.readouterr().err == STARTS_AGAIN + "\n"
