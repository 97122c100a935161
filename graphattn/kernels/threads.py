"""Compiled code that lets go of the interpreter's lock, in as many threads as torch has.

They are torch's own where it runs on GNU's OpenMP: those of a layer before keep their cores busy for milliseconds while they
wait for more to do, and threads beside them would share what is left (a band of 8,192 nodes after a linear layer: 11.3 ms, now
7.2). Elsewhere, and in a forked process, which has lost them, it is a pool of Python's.

Numba's own threading layers are not used: its OpenMP layer kills forked DataLoader workers, its workqueue layer aborts when
two Python threads call it at once.
"""

import ctypes
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from pathlib import Path
from typing import Protocol, TypeVar

import torch

Result = TypeVar("Result")
PIECE = 2**18  # multiplications, some 50 us: less is done before another thread has woken up
MOST_PIECES = 64  # a few for each thread, so that none waits long for the last
Task = ctypes.CFUNCTYPE(None, ctypes.c_void_p)
PROCESS = os.getpid()


class Divisible(Protocol):
    num_rows: int

    def pieces(self, count: int) -> list[tuple[int, int]]: ...


def run_in_threads(loop: Callable[[int, int], Result], rows: Divisible, work: int) -> list[Result]:
    """loop(first, last) on ranges that cover all rows, in torch.get_num_threads() threads; the results in order.

    The ranges depend on the work alone, so that sums over them are the same for any number of threads. Every thread, the
    calling one too, takes the next range when it has done one.
    """
    pieces = rows.pieces(min(max(work // PIECE, 1), MOST_PIECES))
    results, errors, numbers = [None] * len(pieces), [], iter(range(len(pieces)))

    def work_off() -> None:
        for number in numbers:
            try:
                results[number] = loop(*pieces[number])
            except BaseException as error:  # goes on in the calling thread
                errors.append((number, error))
                return

    threads = min(torch.get_num_threads(), len(pieces))
    if threads <= 1:
        work_off()
    elif openmp() is not None and os.getpid() == PROCESS:
        openmp()(Task(lambda _: work_off()), None, threads, 0)
    else:
        run_in_pool(work_off, threads)
    if errors:
        raise min(errors, key=lambda found: found[0])[1]  # that of the first range, whichever thread was faster
    return results


@cache
def openmp() -> Callable | None:
    """GNU OpenMP's function that runs a task in so many threads, from the library that torch has loaded; None without one."""
    folder = Path(torch.__file__).parent
    for path in (*folder.glob("lib/libgomp*"), *folder.parent.glob("torch.libs/libgomp*")):
        try:
            function = ctypes.CDLL(str(path), mode=os.RTLD_NOLOAD).GOMP_parallel
            function.argtypes, function.restype = [Task, ctypes.c_void_p, ctypes.c_uint, ctypes.c_uint], None
            function(Task(lambda _: None), None, 1, 0)
        except (OSError, AttributeError, MemoryError):  # not loaded, or callbacks are not allowed here
            continue
        return function
    return None


def run_in_pool(task: Callable[[], None], threads: int) -> None:
    helpers = [pool(threads - 1).submit(task) for _ in range(threads - 1)]
    task()
    for helper in helpers:
        if not helper.cancel():  # one that has not begun would find nothing left to do
            helper.result()


@cache
def pool(threads: int) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(threads, thread_name_prefix="graphattn")


if hasattr(os, "register_at_fork"):  # threads do not survive a fork: the child starts its own when it needs them
    os.register_at_fork(after_in_child=pool.cache_clear)
