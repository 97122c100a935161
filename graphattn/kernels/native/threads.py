"""Loops in C, in as many threads as torch has, without Python's lock and without a callback into Python.

The threads are torch's own where it runs on GNU's OpenMP: those of a layer before keep their cores busy for milliseconds while
they wait for more to do, and threads beside them would share what is left (a band of 8,192 nodes after a linear layer: 11.3 ms,
in torch's threads 7.2). Elsewhere, and in a forked process, which has lost them, it is a pool of Python's threads. Ctrl-C is
looked at between loops, as between torch's operations.
"""

import ctypes
import os
from collections.abc import Callable
from functools import cache, lru_cache
from pathlib import Path
from queue import SimpleQueue
from threading import Thread
from typing import Any

import torch
from torch import Tensor

from graphattn.kernels.native.library import library, loop
from graphattn.kernels.native.tape import tell_ran

PIECE = 2**18  # multiplications, some 50 us: less is done before another thread has woken up
MOST_PIECES = 64  # a few for each thread, so that none waits long for the last
PROCESS = os.getpid()


class Job(ctypes.Structure):
    """Job of pieces.h."""

    _fields_ = (
        ("loop", ctypes.c_void_p),
        ("work", ctypes.c_void_p),
        ("bounds", ctypes.c_void_p),
        ("pieces", ctypes.c_int64),
        ("next", ctypes.c_int64),
    )

    @staticmethod
    def words(name: str, work: int, bounds: Tensor) -> tuple[int, ...]:
        """Its fields: for a loop of this name and work at this address."""
        return loop(name).value or 0, work, bounds.data_ptr(), bounds.numel() - 1, 0


def count_pieces(work: int, piece: int | None = None) -> int:
    """Into how many pieces so many multiplications are cut, whatever the number of threads; or other work, `piece` at a time."""
    return min(max(work // (piece or PIECE), 1), MOST_PIECES)


@lru_cache(128)
def even_bounds(count: int, pieces: int) -> Tensor:
    """int64 [pieces + 1]: where pieces of so many things begin, and where the last one ends."""
    return torch.tensor([count * piece // pieces for piece in range(pieces + 1)], device="cpu")


def run(name: str, work: ctypes.Structure | ctypes.Array, bounds: Tensor) -> None:
    """The loop of that name over all pieces, in torch.get_num_threads() threads; returns when all are done.

    Args:
        name: Such as 'edges_forward_f32'.
        work: What the loop reads and writes: a struct, or several side by side.
        bounds: int64 [pieces + 1], contiguous; items bounds[i] ... bounds[i + 1] - 1 are piece i.
    """
    tell_ran(name, work, bounds)
    job = Job(*Job.words(name, ctypes.addressof(work), bounds))
    run_job(ctypes.addressof(job), job.pieces, (job, work, bounds))


def run_job(address: int, pieces: int, kept: Any) -> None:
    """Likewise, of a Job with so many pieces; `kept` is what it reads and writes."""
    threads = pieces if pieces == 1 else min(torch.get_num_threads(), pieces)
    take, run_openmp = take_pieces(), openmp()
    if threads <= 1:
        take(address)
    elif run_openmp is not None and os.getpid() == PROCESS:
        run_openmp(address_of_take_pieces(), address, threads, 0)
    else:
        # A helper of the pool may still be at work when a signal has taken its caller away.
        run_in_pool(lambda: take_of(kept, take, address), threads)


def take_of(kept: Any, take: Callable[[int], None], address: int) -> None:
    take(address)


@cache
def take_pieces() -> Any:  # a function of C, of which Python knows no type
    function = library().take_pieces
    function.argtypes, function.restype = [ctypes.c_void_p], None
    return function


@cache
def address_of_take_pieces() -> ctypes.c_void_p:
    return ctypes.cast(take_pieces(), ctypes.c_void_p)


@cache
def openmp() -> Any:
    """GNU OpenMP's function that runs a task in so many threads, from the library that torch has loaded; None without one."""
    folder = Path(torch.__file__).parent
    for path in (*folder.glob("lib/libgomp*"), *folder.parent.glob("torch.libs/libgomp*")):
        try:
            function = ctypes.CDLL(str(path), mode=os.RTLD_NOLOAD).GOMP_parallel
        except (OSError, AttributeError):  # not loaded, or without the function
            continue
        function.argtypes, function.restype = [ctypes.c_void_p, ctypes.c_void_p, ctypes.c_uint, ctypes.c_uint], None
        return function
    return None


def run_in_pool(task: Callable[[], None], threads: int) -> None:
    """task() in so many threads, one of them the caller's.

    Nothing waits for a helper that has not begun: it would find nothing left to do. Queues are made in C, so that Ctrl-C finds
    none half locked (concurrent.futures may hang from then on).
    """
    is_open = [True]
    begun: list[None] = []
    ended: SimpleQueue[None] = SimpleQueue()

    def help_out() -> None:
        begun.append(None)
        try:
            if is_open[0]:
                task()
        finally:
            ended.put(None)

    for _ in range(threads - 1):
        pool(threads - 1).put(help_out)
    try:
        task()
    finally:
        is_open[0] = False
        for _ in list(begun):
            ended.get()


@cache
def pool(threads: int) -> SimpleQueue[Callable[[], None]]:
    """Where so many threads wait for something to do."""
    tasks: SimpleQueue[Callable[[], None]] = SimpleQueue()
    for _ in range(threads):
        Thread(target=serve, args=(tasks,), name="graphattn", daemon=True).start()
    return tasks


def serve(tasks: SimpleQueue) -> None:
    while True:
        tasks.get()()  # kept by no name: it holds the arrays of its caller


if hasattr(os, "register_at_fork"):  # threads do not survive a fork: the child starts its own when it needs them
    os.register_at_fork(after_in_child=pool.cache_clear)
