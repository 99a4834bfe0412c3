import signal
import threading

import pytest

from fakecore.interrupt import StopRequest


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_first_signal_is_a_wish_and_the_second_a_stop(number, capsys):
    with StopRequest() as stop:
        assert not stop.asked
        signal.raise_signal(number)
        assert stop.asked
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(number)
    assert "stopping" in capsys.readouterr().err


def test_the_handlers_from_before_come_back():
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
