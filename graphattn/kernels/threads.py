"""A pool of Python threads for compiled code that lets go of the interpreter's lock.

Numba's own threading layers are not used: its OpenMP layer kills forked DataLoader workers, its workqueue layer aborts when
two Python threads call it at once.
"""

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from typing import Protocol, TypeVar

import torch

Result = TypeVar("Result")
PIECE = 2**18  # multiplications, some 50 us: less is done before another thread has woken up
MOST_PIECES = 64  # a few for each thread, so that none waits long for the last


class Divisible(Protocol):
    num_rows: int

    def pieces(self, count: int) -> list[tuple[int, int]]: ...


@cache
def pool(threads: int) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(threads, thread_name_prefix="graphattn")


if hasattr(os, "register_at_fork"):  # threads do not survive a fork: the child starts its own when it needs them
    os.register_at_fork(after_in_child=pool.cache_clear)


def run_in_threads(loop: Callable[[int, int], Result], rows: Divisible, work: int) -> list[Result]:
    """loop(first, last) on ranges that cover all rows, in torch.get_num_threads() threads; the results in order.

    The ranges depend on the work alone, so that sums over them are the same for any number of threads.
    """
    pieces = rows.pieces(min(max(work // PIECE, 1), MOST_PIECES))
    threads = min(torch.get_num_threads(), len(pieces))
    if threads <= 1:
        return [loop(*piece) for piece in pieces]
    return list(pool(threads).map(lambda piece: loop(*piece), pieces))
