import io
import sys

from fakecore.progress import progress_bar, say


def test_silent_when_stderr_is_not_a_terminal(capfd):
    with progress_bar("working", 3, "images") as bar:
        for _ in range(3):
            bar.advance()
        bar.note("done")
    assert capfd.readouterr() == ("", "")


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


def test_an_unknown_total_is_no_crash(monkeypatch):
    monkeypatch.setattr(sys, "stderr", Terminal())
    with progress_bar("reading", None, "frames") as bar:
        bar.advance(7)


def test_remarks_never_mix_with_results(capsys):
    say("a remark")
    assert capsys.readouterr() == ("", "a remark\n")
