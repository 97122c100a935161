"""Peak memory of one call, beyond what it is given and what it gives back.

Every measurement runs in a process of its own. There the kernel's high-water mark of resident memory (VmHWM of
/proc/self/status) is set back to the present (by writing 5 to /proc/self/clear_refs), the call runs once, and

    extra = high-water mark - resident memory before - bytes of the results.

A call on an equal case has run before, so libraries, compiled code and thread stacks are not counted, nor what a graph keeps
for later calls (its CSR): that is measured by the resident memory before and after that call, as `kept`. glibc is told to
give freed blocks back at once; otherwise a warm heap would hide what a call needs. Linux only.
"""

import gc
import multiprocessing
import os
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from typing import NamedTuple

import torch

from benchmarks.measure import Case, calls_of

GIVE_BACK = {"MALLOC_MMAP_THRESHOLD_": "65536", "MALLOC_TRIM_THRESHOLD_": "65536"}  # bytes; read by glibc at its start


class Memory(NamedTuple):
    """Bytes: the peak of one call beyond inputs and results, and what stays after a first call."""

    extra: int
    kept: int


def peak_memory(build: Callable[..., Case], arguments: tuple, pass_: str, peer: str) -> Memory | None:
    """Measures one peer of `build(*arguments)` in a fresh process; None where it ran out of memory."""
    with environment(GIVE_BACK), ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
        job = pool.submit(measure_here, build, arguments, pass_, peer, torch.get_num_threads())
        try:
            return job.result()
        except (BrokenProcessPool, MemoryError):
            return None


def measure_here(build: Callable[..., Case], arguments: tuple, pass_: str, peer: str, threads: int) -> Memory:
    torch.set_num_threads(threads)
    calls_of(build(*arguments), pass_)[peer]()
    call = calls_of(build(*arguments), pass_)[peer]
    gc.collect()
    start = resident("VmRSS")
    call()
    before = resident("VmRSS")
    with open("/proc/self/clear_refs", "w") as reset:
        reset.write("5")
    result = call()
    results = result if isinstance(result, list) else [result]
    size = sum(x.numel() * x.element_size() for x in results)
    return Memory(max(resident("VmHWM") - before - size, 0), max(before - start, 0))


def resident(field: str) -> int:
    with open("/proc/self/status") as status:
        return next(int(line.split()[1]) * 1024 for line in status if line.startswith(field))


@contextmanager
def environment(variables: dict[str, str]) -> Iterator[None]:
    """Environment variables for the processes started meanwhile."""
    before = {name: os.environ.get(name) for name in variables}
    os.environ.update(variables)
    try:
        yield
    finally:
        for name, value in before.items():
            os.environ.pop(name) if value is None else os.environ.update({name: value})
