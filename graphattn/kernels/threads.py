"""Compiled code that lets go of the interpreter's lock, in as many threads as torch has.

They are torch's own where it runs on GNU's OpenMP: those of a layer before keep their cores busy for milliseconds while they
wait for more to do, and threads beside them would share what is left (a band of 8,192 nodes after a linear layer: 11.3 ms, now
7.2). Elsewhere, and in a forked process, which has lost them, it is a pool of Python's.

Numba's own threading layers are not used: its OpenMP layer kills forked DataLoader workers, its workqueue layer aborts when
two Python threads call it at once.
"""

import ctypes
import os
import sys
from collections.abc import Callable
from functools import cache
from pathlib import Path
from queue import SimpleQueue
from threading import Thread, current_thread, get_ident, main_thread
from typing import Protocol, TypeVar

import torch

Result = TypeVar("Result")
PIECE = 2**18  # multiplications, some 50 us: less is done before another thread has woken up
MOST_PIECES = 64  # a few for each thread, so that none waits long for the last
Task = ctypes.CFUNCTYPE(None, ctypes.c_void_p)
PROCESS = os.getpid()
NOT_RUN = object()


class Divisible(Protocol):
    num_rows: int

    def pieces(self, count: int) -> list[tuple[int, int]]: ...


def run_in_threads(loop: Callable[[int, int], Result], rows: Divisible, work: int) -> list[Result]:
    """loop(first, last) on ranges that cover all rows, in torch.get_num_threads() threads; the results in order.

    The ranges depend on the work alone, so that sums over them are the same for any number of threads. Every thread, the
    calling one too, takes the next range when it has done one. An exception of a range comes back to the caller, Ctrl-C at
    any time too: there are no results then.
    """
    pieces = rows.pieces(min(max(work // PIECE, 1), MOST_PIECES))
    results, errors, numbers = [NOT_RUN] * len(pieces), [], iter(range(len(pieces)))

    def work_off() -> None:
        number = -1
        try:
            for number in numbers:  # in order, so that all before a range that fails are run
                results[number] = loop(*pieces[number])
                if errors:
                    break
        except BaseException as error:  # goes on in the calling thread
            errors.append((number, error))

    threads = min(torch.get_num_threads(), len(pieces))
    if threads <= 1:
        work_off()
    elif openmp() is not None and os.getpid() == PROCESS:
        run_in_openmp(openmp(), work_off, threads)
    else:
        run_in_pool(work_off, threads)
    if errors:
        raise first_of(errors)
    if any(result is NOT_RUN for result in results):
        raise RuntimeError("some ranges of the rows were not run; call again")
    return results


def first_of(errors: list[tuple[int, BaseException]]) -> BaseException:
    """Ctrl-C and what else ends programs; else the error of the first range, whichever thread was faster."""
    return min(errors, key=lambda found: (isinstance(found[1], Exception), found[0]))[1]


def run_in_openmp(parallel: Callable, task: Callable[[], None], threads: int) -> None:
    """task() in so many threads, one of them the caller's.

    What a signal raises (Ctrl-C) before or after the task, in the main thread, ctypes would print and lose; then the task has
    not come to its end there, and the exception is raised here.
    """
    caller, ended, lost = get_ident(), [False, False], []

    def callback(_) -> None:
        task()
        ended[get_ident() == caller] = True  # last: no signal is looked at between this and the return

    def keep(unraisable) -> None:
        if get_ident() == caller and "ctypes callback" in (unraisable.err_msg or ""):
            lost.append(unraisable.exc_value)
        else:
            before(unraisable)

    called, is_main = Task(callback), current_thread() is main_thread()
    before = sys.unraisablehook
    if is_main:  # no other thread changes it here, and no signal is looked at between these lines
        sys.unraisablehook = keep
    try:
        parallel(called, None, threads, 0)
    finally:
        if is_main:
            sys.unraisablehook = before
    if not ended[True]:
        raise lost.pop() if lost else KeyboardInterrupt("a signal came while threads were at work; its exception was lost")


@cache
def openmp() -> Callable | None:
    """GNU OpenMP's function that runs a task in so many threads, from the library that torch has loaded; None without one."""
    folder = Path(torch.__file__).parent
    for path in (*folder.glob("lib/libgomp*"), *folder.parent.glob("torch.libs/libgomp*")):
        try:
            function = ctypes.CDLL(str(path), mode=os.RTLD_NOLOAD).GOMP_parallel
            function.argtypes, function.restype = [Task, ctypes.c_void_p, ctypes.c_uint, ctypes.c_uint], None
            run_in_openmp(function, lambda: None, 1)
        except (OSError, AttributeError, MemoryError):  # not loaded, or callbacks are not allowed here
            continue
        return function
    return None


def run_in_pool(task: Callable[[], None], threads: int) -> None:
    """task() in so many threads, one of them the caller's.

    Nothing waits for a helper that has not begun: it would find nothing left to do. Queues are made in C, so that Ctrl-C finds
    none half locked (concurrent.futures may hang from then on).
    """
    is_open, begun, ended = [True], [], SimpleQueue()

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
def pool(threads: int) -> SimpleQueue:
    """Where so many threads wait for something to do."""
    tasks = SimpleQueue()
    for _ in range(threads):
        Thread(target=serve, args=(tasks,), name="graphattn", daemon=True).start()
    return tasks


def serve(tasks: SimpleQueue) -> None:
    while True:
        tasks.get()()  # kept by no name: it holds the arrays of its caller


if hasattr(os, "register_at_fork"):  # threads do not survive a fork: the child starts its own when it needs them
    os.register_at_fork(after_in_child=pool.cache_clear)
