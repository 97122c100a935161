"""Signals, such as Ctrl-C, whose exceptions would be lost in code that is written in C."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from threading import current_thread, main_thread


@contextmanager
def postponed_signals() -> Iterator[None]:
    """What a signal calls is called at the end of the `with`, not inside of it.

    To be used around C code that calls Python and drops the exceptions of these calls. Only the main thread sees signals;
    in others nothing is done. Signals without a handler in Python are as ever.
    """
    if current_thread() is not main_thread():
        yield
        return
    handlers = {number: signal.getsignal(number) for number in signal.valid_signals()}
    handlers = {number: handler for number, handler in handlers.items() if callable(handler)}
    is_open, came = [True], []

    def note(number: int, frame) -> None:
        if is_open[0]:
            came.append((number, frame))
        else:  # came while the handlers are put back
            handlers[number](number, frame)

    try:
        for number in handlers:
            signal.signal(number, note)
        yield
    finally:
        is_open[0] = False  # first: another signal may break off what follows, and no handler may stay deaf
        try:
            put_back(handlers, note)
        finally:
            for number, frame in dict(came).items():
                handlers[number](number, frame)


def put_back(handlers: dict, note) -> None:
    for number, handler in handlers.items():
        if signal.getsignal(number) is note:  # not one that was set since
            signal.signal(number, handler)
