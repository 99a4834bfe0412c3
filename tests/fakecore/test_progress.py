import io
import os
import pty
import re
import struct
import subprocess
import sys
import termios
from fcntl import ioctl
from pathlib import Path

import pytest

from fakecore.progress import progress_bar, say, warn

ROOT = Path(__file__).parents[2]


def test_a_log_gets_a_line_of_what_takes_long_and_none_of_what_does_not(capfd, monkeypatch):
    now = [100.0]
    monkeypatch.setattr("time.monotonic", lambda: now[0])
    with progress_bar("training", 4000, "images", done=1000) as bar:
        bar.advance(100)
        assert capfd.readouterr() == ("", "")
        now[0] += 25
        bar.note("val AUROC 0.9")
        bar.advance(900)
        bar.advance(1)
        now[0] += 60
        bar.advance(999)
    out, lines = capfd.readouterr()
    assert out == "" and lines.splitlines() == [
        "training: 2,000/4,000 images, 40 images/s, 0:50 left, val AUROC 0.9",
        "training: 3,000/4,000 images, 24 images/s, 0:42 left, val AUROC 0.9",
    ]


class Terminal(io.StringIO):
    def isatty(self):
        return True


def test_a_terminal_sees_the_bar_on_stderr_only(monkeypatch, capsys):
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "160")
    with progress_bar("decoding", 4, "images", done=1) as bar:
        bar.advance(3)
        bar.note("nearly")
    assert "decoding" in terminal.getvalue()
    assert "4/4" in terminal.getvalue()
    assert "nearly" in terminal.getvalue()
    assert capsys.readouterr().out == ""


def test_a_bar_within_a_bar_stands_below_it(monkeypatch):
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    monkeypatch.setenv("TERM", "xterm")
    with progress_bar("training", 4, "images"), progress_bar("measuring", 2, "images") as bar:
        bar.advance()
    up_a_line = "\x1b[1A"
    assert up_a_line in terminal.getvalue()


def test_an_unknown_total_does_not_crash(monkeypatch):
    monkeypatch.setattr(sys, "stderr", Terminal())
    with progress_bar("reading", None, "frames") as bar:
        bar.advance(7)


WORK = """
import sys, time
from fakecore.progress import progress_bar, say, warn
total = int(sys.argv[1])
with progress_bar("training upsample-faces", total or None, "images", 1000) as bar:
    for step in range(8):
        time.sleep(0.15)
        bar.advance((total - 1000) // 8 if total else 77)
        if step == 4:
            bar.note("val AUROC 0.9876")
            say("a remark")
"""


def shown(columns: int, total: int, encoding: str = "utf-8") -> list[str]:
    """The lines that a terminal of so many columns is sent, without colours and cursor movements."""
    master, slave = pty.openpty()
    ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
    environment = {**os.environ, "TERM": "xterm", "PYTHONIOENCODING": encoding}
    environment.pop("COLUMNS", None)
    command = [sys.executable, "-c", WORK, str(total)]
    with subprocess.Popen(command, stdin=slave, stdout=slave, stderr=slave, env=environment, cwd=ROOT) as process:
        os.close(slave)
        data = b""
        while True:
            try:
                data += os.read(master, 1 << 16)
            except OSError:  # Linux: the other side was closed
                break
    os.close(master)
    assert process.returncode == 0, data
    text = re.sub(r"\x1b\[[0-9;]*m", "", data.decode(encoding))  # colours
    return [line for line in re.split(r"(?:\r|\n|\x1b\[[0-9;?]*[A-Za-z])+", text) if line]


@pytest.mark.parametrize("columns", [40, 60, 80, 120])
@pytest.mark.parametrize("total", [115_200, 101_299_500, 0])
def test_the_line_never_wraps(columns, total):
    lines = shown(columns, total)
    assert any("training" in line for line in lines)
    assert max(map(len, lines)) < columns, lines


def test_the_most_important_parts_stay_and_times_are_labelled():
    lines = [line for line in shown(80, 115_200) if line.startswith("training")]
    assert any(re.search(r" ━+  [\d,]+/115,200  [\d,]+ images/s  \d+:\d\d left$", line) for line in lines), lines
    assert re.search(r"  115,200/115,200  .*  in \d+:\d\d(  |$)", lines[-1]), lines[-1]
    for line in lines:
        assert len(re.findall(r"[\d-]:[\d-]{2}", line)) == len(re.findall(r" left| elapsed|  in ", line)), line
    wide = shown(120, 115_200)
    assert any(re.search(r"\d:\d\d elapsed  \d:\d\d left  val AUROC 0\.9876", line) for line in wide), wide


def test_a_terminal_without_unicode_gets_dashes():
    assert any("---" in line for line in shown(80, 5000, encoding="ascii"))


def test_remarks_go_to_stderr(capsys):
    say("a remark")
    assert capsys.readouterr() == ("", "a remark\n")


def test_a_warning_is_red_on_a_terminal_and_plain_elsewhere(capsys, monkeypatch):
    warn("a leak [in brackets]")
    assert capsys.readouterr() == ("", "a leak [in brackets]\n")
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    warn("a leak [in brackets]")
    out, errors = capsys.readouterr()
    assert out == "" and "\x1b[1;31ma leak [in brackets]" in errors
