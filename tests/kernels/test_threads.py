import multiprocessing
import os
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from types import SimpleNamespace

import pytest
import torch

from graphattn.kernels import threads
from graphattn.kernels.threads import MOST_PIECES, PIECE, openmp, run_in_threads


@pytest.fixture(autouse=True, params=["torch's threads", "a pool"])
def same_threads_afterwards(request, monkeypatch):
    if request.param == "a pool":
        monkeypatch.setattr(threads, "openmp", lambda: None)
    elif openmp() is None:
        pytest.skip("torch does not run on GNU's OpenMP here")
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


class Rows(SimpleNamespace):
    def pieces(self, count):
        self.asked = count
        bounds = [self.num_rows * i // count for i in range(count + 1)]
        return list(pairwise(bounds))


@pytest.mark.parametrize("count", [1, 2, 3])
def test_every_row_once_and_results_in_order(count):
    torch.set_num_threads(count)
    results = run_in_threads(lambda first, last: list(range(first, last)), Rows(num_rows=1000), work=20 * PIECE)
    assert [row for piece in results for row in piece] == list(range(1000))


def test_pieces_depend_on_the_work_alone():
    for work, wanted in ((0, 1), (PIECE, 1), (7 * PIECE, 7), (10**12, MOST_PIECES)):
        for count in (1, 2):
            torch.set_num_threads(count)
            rows = Rows(num_rows=1000)
            run_in_threads(lambda first, last: None, rows, work)
            assert rows.asked == wanted


def test_as_many_threads_as_torch_has():
    torch.set_num_threads(2)
    barrier = threading.Barrier(2, timeout=30)  # passes only if two loops run at the same time
    run_in_threads(lambda first, last: barrier.wait(), Rows(num_rows=2), work=2 * PIECE)


def test_errors_come_back():
    torch.set_num_threads(2)

    def fail(first, last):
        raise ArithmeticError(f"in rows {first} to {last}")

    with pytest.raises(ArithmeticError, match="in rows 0 to"):
        run_in_threads(fail, Rows(num_rows=10), work=4 * PIECE)


@pytest.mark.parametrize("kind", [KeyboardInterrupt, MemoryError, SystemExit])
@pytest.mark.parametrize("count", [1, 2])
def test_errors_of_every_kind_and_of_every_thread_come_back(count, kind):
    torch.set_num_threads(count)
    for failing in range(8):

        def fail(first, last, failing=failing):
            if first == failing:
                raise kind(f"in row {first}")

        with pytest.raises(kind, match=f"in row {failing}"):
            run_in_threads(fail, Rows(num_rows=8), work=8 * PIECE)


def test_the_error_of_the_first_range_comes_back_and_ctrl_c_before_all():
    torch.set_num_threads(2)
    both = threading.Barrier(2, timeout=30)

    def fail(first, last):
        both.wait()
        if first == 0:
            time.sleep(0.05)  # the second range fails first
        raise kinds[first]

    kinds = [ValueError, KeyError]
    with pytest.raises(ValueError):
        run_in_threads(fail, Rows(num_rows=2), work=2 * PIECE)
    kinds[1] = KeyboardInterrupt
    with pytest.raises(KeyboardInterrupt):
        run_in_threads(fail, Rows(num_rows=2), work=2 * PIECE)


def test_what_ends_a_call_ends_all_its_threads():
    torch.set_num_threads(2)
    begun = []

    def interrupt(first, last):
        begun.append(first)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_in_threads(interrupt, Rows(num_rows=64), work=64 * PIECE)
    assert len(begun) <= 2  # one for each thread


def test_a_range_that_was_not_run_has_no_result(monkeypatch):
    torch.set_num_threads(2)
    monkeypatch.setattr(threads, "run_in_openmp", lambda *_: None)
    monkeypatch.setattr(threads, "run_in_pool", lambda *_: None)
    with pytest.raises(RuntimeError, match="ranges of the rows were not run"):
        run_in_threads(lambda first, last: first, Rows(num_rows=8), work=8 * PIECE)
    assert threads.run_in_threads(lambda first, last: None, Rows(num_rows=8), work=0) == [None]  # loops may return nothing


def test_what_ctypes_loses_is_noticed():
    with pytest.raises(KeyboardInterrupt, match="a signal came"):
        threads.run_in_openmp(lambda task, *_: None, lambda: None, 2)  # ended before its first line
    threads.run_in_openmp(lambda task, *_: task(None), lambda: None, 2)


def test_what_ctypes_loses_is_what_comes_back():
    """The exception itself: here of a call that never comes to its task."""
    before = sys.unraisablehook

    def late(_):
        raise TimeoutError("too late")

    with pytest.raises(TimeoutError, match="too late"):
        threads.run_in_openmp(lambda task, *_: threads.Task(late)(None), lambda: None, 2)
    assert sys.unraisablehook is before


SIGNALS = """
import random, signal, sys
from tests.kernels.test_threads import Rows, threads
from graphattn.kernels.threads import PIECE, run_in_threads
import torch

if sys.argv[1] == "a pool":
    threads.openmp = lambda: None
sys.unraisablehook = lambda _: None  # ctypes prints what it loses
came = caught = wrong = 0

def interrupt(*_):
    global came
    came += 1
    raise TimeoutError

signal.signal(signal.SIGALRM, interrupt)
torch.set_num_threads(2)
random.seed(0)
for _ in range(300):
    try:
        try:
            signal.setitimer(signal.ITIMER_REAL, random.uniform(1e-6, 1e-3))
            before = came
            for _ in range(100):
                wrong += run_in_threads(lambda first, last: first, Rows(num_rows=64), 64 * PIECE) != list(range(64))
                if came > before:
                    break
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
    except TimeoutError:
        caught += 1
print(came - caught, wrong, came > 200)
"""


@pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="this system has no timers")
def test_ctrl_c_at_any_time_reaches_the_caller(request):
    """Not even between ranges, or before the first, where no `try` is around it."""
    way = request.node.callspec.params["same_threads_afterwards"]
    command = [sys.executable, "-W", "ignore", "-c", SIGNALS, way]
    result = subprocess.run(command, capture_output=True, text=True, timeout=200)
    assert result.stdout.split() == ["0", "0", "True"], result.stderr


def test_a_call_inside_a_call():
    torch.set_num_threads(2)

    def outer(first, last):
        return first + sum(run_in_threads(lambda first, last: first, Rows(num_rows=10), work=10 * PIECE))

    assert run_in_threads(outer, Rows(num_rows=20), work=20 * PIECE) == [45 + i for i in range(20)]


def test_several_callers_at_once():
    torch.set_num_threads(2)

    def call(number):
        return run_in_threads(lambda first, last: number + first, Rows(num_rows=20), work=20 * PIECE)

    with ThreadPoolExecutor(4) as executor:
        results = list(executor.map(call, range(0, 3200, 100)))
    assert results == [[number + i for i in range(20)] for number in range(0, 3200, 100)]


def answer(connection):
    connection.send(run_in_threads(lambda first, last: (first, os.getpid()), Rows(num_rows=4), work=4 * PIECE))


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
def test_a_forked_process_has_threads_of_its_own():
    torch.set_num_threads(2)
    run_in_threads(lambda first, last: None, Rows(num_rows=4), work=4 * PIECE)  # the parent's, which do not survive
    context = multiprocessing.get_context("fork")
    receiver, sender = context.Pipe(duplex=False)
    child = context.Process(target=answer, args=(sender,))
    child.start()
    assert receiver.poll(60), "the forked process does not answer"
    assert receiver.recv() == [(i, child.pid) for i in range(4)]
    child.join()
