import threading
from itertools import pairwise
from types import SimpleNamespace

import pytest
import torch

from graphattn.kernels.threads import MOST_PIECES, PIECE, run_in_threads


@pytest.fixture(autouse=True)
def same_threads_afterwards():
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


class Rows(SimpleNamespace):
    def pieces(self, count):
        self.asked = count
        bounds = [self.num_rows * i // count for i in range(count + 1)]
        return list(pairwise(bounds))


@pytest.mark.parametrize("threads", [1, 2, 3])
def test_every_row_once_and_results_in_order(threads):
    torch.set_num_threads(threads)
    results = run_in_threads(lambda first, last: list(range(first, last)), Rows(num_rows=1000), work=20 * PIECE)
    assert [row for piece in results for row in piece] == list(range(1000))


def test_pieces_depend_on_the_work_alone():
    for work, wanted in ((0, 1), (PIECE, 1), (7 * PIECE, 7), (10**12, MOST_PIECES)):
        for threads in (1, 2):
            torch.set_num_threads(threads)
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
