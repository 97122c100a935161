import multiprocessing
import os
import threading
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
