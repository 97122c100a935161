import os
import signal
import threading

import pytest

from graphattn.kernels.signals import postponed_signals

pytestmark = pytest.mark.skipif(not hasattr(signal, "SIGUSR1"), reason="Windows has no signal for programs to use")


@pytest.fixture
def came():
    """What the handler of a signal has noted."""
    found = []
    before = signal.signal(signal.SIGUSR1, lambda number, frame: found.append(number))
    yield found
    signal.signal(signal.SIGUSR1, before)


def test_a_signal_comes_at_the_end(came):
    handler = signal.getsignal(signal.SIGUSR1)
    with postponed_signals():
        os.kill(os.getpid(), signal.SIGUSR1)
        assert came == []
    assert came == [signal.SIGUSR1] and signal.getsignal(signal.SIGUSR1) is handler


def test_what_a_handler_raises_reaches_the_caller(came):
    def refuse(number, frame):
        raise TimeoutError

    signal.signal(signal.SIGUSR1, refuse)
    done = []
    with pytest.raises(TimeoutError), postponed_signals():
        os.kill(os.getpid(), signal.SIGUSR1)
        done.append("to its end")
    assert done and signal.getsignal(signal.SIGUSR1) is refuse


def test_other_threads_change_nothing(came):
    handlers = []

    def run():
        with postponed_signals():
            handlers.append(signal.getsignal(signal.SIGUSR1))

    expected = signal.getsignal(signal.SIGUSR1)
    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    assert handlers == [expected]
