import signal
import threading

import pytest

from fakecore.errors import Interrupted
from fakecore.interrupt import StopRequest, preserved_interrupts, with_resume_command


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_first_signal_requests_a_stop_and_the_second_forces_it(number, capsys):
    with StopRequest() as stop:
        assert not stop.asked
        signal.raise_signal(number)
        assert stop.asked
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(number)
    assert "stopping" in capsys.readouterr().err


@pytest.fixture
def torchrun(monkeypatch):
    """As if torchrun had started this process."""
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "test")
    monkeypatch.setenv("RANK", "0")


def test_a_signal_forwarded_by_torchrun_counts_once(torchrun, monkeypatch):
    now = [100.0]
    monkeypatch.setattr("time.monotonic", lambda: now[0])
    with StopRequest() as stop:
        signal.raise_signal(signal.SIGINT)
        now[0] += 0.3
        signal.raise_signal(signal.SIGTERM)
        assert stop.asked
        now[0] += 2
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)


def test_the_end_of_torchrun_requests_a_stop(torchrun, monkeypatch):
    with StopRequest() as stop:
        assert not stop.asked
        monkeypatch.setattr("os.getppid", lambda: 1)
        assert stop.asked
    monkeypatch.delenv("TORCHELASTIC_RUN_ID")
    with StopRequest() as stop:
        assert not stop.asked


def test_previous_handlers_are_restored():
    before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    with StopRequest():
        assert signal.getsignal(signal.SIGINT) != before[0]
    assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)] == before


def test_a_thread_that_may_not_catch_signals_still_works():
    outcome = []

    def work():
        with StopRequest() as stop:
            outcome.append(stop.asked)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert outcome == [False]


def test_an_interruption_in_the_block_says_what_is_kept_and_how_to_resume():
    with pytest.raises(Interrupted) as caught, with_resume_command("fakelab generate --resume"):
        raise Interrupted("stopped at step 3 of 9; everything is saved")
    assert str(caught.value) == "stopped at step 3 of 9; everything is saved. Resume with: fakelab generate --resume"
    with pytest.raises(Interrupted) as caught, with_resume_command("fakelab generate --resume"):
        raise KeyboardInterrupt
    assert str(caught.value) == "saved work is kept. Resume with: fakelab generate --resume"


def test_other_errors_pass_unchanged():
    with pytest.raises(ValueError, match="mine"), with_resume_command("x"):
        raise ValueError("mine")


def test_an_interruption_that_a_library_converts_is_still_raised():
    with pytest.raises(KeyboardInterrupt), preserved_interrupts():
        try:
            signal.raise_signal(signal.SIGINT)
        except KeyboardInterrupt:
            raise ImportError("half imported") from None


def test_without_an_interruption_errors_pass_and_the_handler_is_restored():
    before = signal.getsignal(signal.SIGINT)
    with pytest.raises(ImportError), preserved_interrupts():
        raise ImportError
    with pytest.raises(Interrupted, match="at step 3"), preserved_interrupts():
        try:
            signal.raise_signal(signal.SIGINT)
        except KeyboardInterrupt:
            raise Interrupted("stopped at step 3") from None
    assert signal.getsignal(signal.SIGINT) is before
