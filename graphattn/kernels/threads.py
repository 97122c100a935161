"""A pool of Python threads for compiled code that lets go of the interpreter's lock.

Numba's own threading layers are not used: its OpenMP layer kills forked DataLoader workers, its workqueue layer aborts when
two Python threads call it at once.
"""

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from typing import Protocol

import torch

SMALL_WORK = 2**17  # multiplications; less is done before another thread has woken up


class Divisible(Protocol):
    num_rows: int

    def pieces(self, threads: int) -> list[tuple[int, int]]: ...


@cache
def pool(threads: int) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(threads, thread_name_prefix="graphattn")


if hasattr(os, "register_at_fork"):  # threads do not survive a fork: the child starts its own when it needs them
    os.register_at_fork(after_in_child=pool.cache_clear)


def run_in_threads(loop: Callable[[int, int], None], rows: Divisible, work: int) -> None:
    """Calls loop(first, last) on ranges that cover all rows, in torch.get_num_threads() threads; errors are raised here."""
    threads = torch.get_num_threads()
    if threads == 1 or work < SMALL_WORK:
        loop(0, rows.num_rows)
        return
    for _ in pool(threads).map(lambda piece: loop(*piece), rows.pieces(threads)):
        pass
