import ast
import subprocess
import sys
from pathlib import Path

import pytest

from fakecore.messages import command, counted, duration

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize(
    ("typed", "script", "expected"),
    [
        ("python", "cli.py", "python cli.py score 'my photos'"),
        (".venv/bin/python", "../fakelab/cli.py", ".venv/bin/python ../fakelab/cli.py score 'my photos'"),
        ("python", "/else/where/bin/fakelab", "/else/where/bin/fakelab score 'my photos'"),
        ("python", "notebook.py", "fakelab score 'my photos'"),
        ("python", "", "fakelab score 'my photos'"),
    ],
)
def test_a_command_is_written_as_the_program_was_called(monkeypatch, typed, script, expected):
    monkeypatch.setattr(sys, "orig_argv", [typed, script])
    monkeypatch.setattr(sys, "argv", [script])
    assert command("score", "my photos") == expected


def test_an_installed_program_is_named_fakelab(monkeypatch, tmp_path):
    script = tmp_path / "fakelab"
    script.write_text("#!/bin/sh\n")
    script.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(sys, "argv", [str(script)])
    assert command("presets") == "fakelab presets"


def test_no_message_spells_out_how_the_program_is_called():
    """Messages name commands through `command`; docstrings, whose examples say `fakelab`, are no messages."""
    for path in [*ROOT.glob("fake*/**/*.py"), *ROOT.glob("benchmarks/**/*.py"), ROOT / "cli.py"]:
        name = str(path.relative_to(ROOT))
        if name == "fakecore/messages.py":
            continue
        found = [text for text in _messages(path) if "python cli.py" in text or "fakelab generate" in text]
        assert not found, f"{name}: {found}"


def _messages(path: Path) -> list[str]:
    """Return the text constants of a module, without its docstrings."""
    nodes = list(ast.walk(ast.parse(path.read_text())))
    docstrings = {id(node.value) for node in nodes if isinstance(node, ast.Expr)}
    return [
        node.value
        for node in nodes
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in docstrings
    ]


def test_the_command_in_a_real_hint_runs():
    done = subprocess.run([sys.executable, "cli.py", "presets"], cwd=ROOT, capture_output=True, text=True, check=True)
    hint = " ".join(done.stdout.split()).partition("Show every field of a preset: ")[2]
    assert hint == f"{sys.executable} cli.py presets NAME"
    words = [*hint.split()[:-1], "digits"]
    again = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, check=True)
    assert again.stdout.startswith("digits:")


def test_counted_1_is_singular():
    assert [counted(n, "epoch") for n in (0, 1, 2, 12345)] == ["0 epochs", "1 epoch", "2 epochs", "12,345 epochs"]


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.2, "0 s"), (59.7, "1 min"), (754, "13 min"), (3590, "1 h"), (7980, "2 h 13 min"), (273_600, "3 days 4 h")],
)
def test_durations_in_words(seconds, text):
    assert duration(seconds) == text
