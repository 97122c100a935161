"""How time and memory grow with the number of edges, in float32 and in half precision, up to what the memory holds.

    python -m benchmarks.scale                              a million edges
    python -m benchmarks.scale --sweep                      1e5, 5e5, 1e6, ... edges, as many as memory allows
    python -m benchmarks.scale --sweep --largest 50000000 --memory 12   (docs/scale.md has its table)

A random graph with 50 edges for each node, its edge_index in int32. Every size, dtype and pass runs in a process of its own:
there the graph is made and sorted, then a pass runs a few times. The peak of resident memory (VmHWM of /proc/self/status)
is counted from where it was when the libraries were loaded, and stands beside the time, for each edge: of it `graph` is what
is there once the graph has been used (the caller's edge_index, the graph's own copy, and its sorted forms), and `pass` what
one pass needs beyond that and its inputs, results included. Linux only.
"""

import argparse
import json
import multiprocessing
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import asdict, dataclass
from itertools import cycle
from pathlib import Path

import torch
from torch import Tensor

from benchmarks.memory import GIVE_BACK, environment, resident
from benchmarks.report import line, machine, seconds
from graphattn import as_graph, attend
from graphattn.graphs import Graph

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}
PASSES = ("forward", "training")
EDGES_OF_A_NODE = 50
GIB = 2**30
COLUMNS = ("edges", "dtype", "pass", "sorting", "time", "ns/edge", "peak GiB", "bytes/edge", "graph", "pass needs")


@dataclass
class Work:
    num_edges: int
    dtype: str
    pass_: str
    heads: int
    dim: int
    rounds: int
    threads: int


@dataclass
class Found:
    """Seconds and bytes of one work."""

    sorting: float  # making the graph, and its sorted form (with the transpose, in training)
    time: float  # median of a pass
    peak: int  # beyond the libraries
    graph: int
    of_pass: int


def main(arguments: list[str] | None = None) -> None:
    options = parse(arguments)
    torch.set_num_threads(options.threads or torch.get_num_threads())
    lines = [
        f"# scale: {machine()}, {options.heads} heads of {options.dim}\n",
        line(COLUMNS),
        line(("---",) * len(COLUMNS)),
    ]
    print("\n".join(lines), flush=True)
    rows = []
    bytes_of_an_edge = 0.0
    for num_edges in sizes(options.least, options.largest) if options.sweep else [options.edges]:
        if bytes_of_an_edge * num_edges > options.memory * GIB:
            lines.append(f"\n{num_edges} edges would need {bytes_of_an_edge * num_edges / GIB:.1f} GiB")
            print(lines[-1])
            break
        for dtype in options.dtypes:
            for pass_ in PASSES:
                sizes_of = options.heads, options.dim, options.rounds, torch.get_num_threads()
                work = Work(num_edges, dtype, pass_, *sizes_of)
                found = measure(work)
                lines.append(line(cells(work, found)))
                print(lines[-1], flush=True)
                rows.append(asdict(work) | ({} if found is None else asdict(found)))
                # Of few edges a peak is mostly what does not grow with them.
                if found is not None and num_edges >= 10**6:
                    bytes_of_an_edge = max(bytes_of_an_edge, found.peak / num_edges)
    options.out.mkdir(parents=True, exist_ok=True)
    (options.out / "scale.md").write_text("\n".join(lines) + "\n")
    (options.out / "scale.json").write_text(json.dumps({"machine": machine(), "rows": rows}, indent=1))


def parse(arguments: list[str] | None) -> argparse.Namespace:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--sweep", action="store_true", help="from --least edges to --largest")
    options.add_argument("--memory", type=float, help="GiB that a process may need (default: 80 %% of what is free)")
    numbers = {"edges": 10**6, "least": 10**5, "largest": 10**10, "heads": 4, "dim": 16, "rounds": 3}
    for name, number in numbers.items():
        options.add_argument(f"--{name}", type=int, default=number, help=f"default {number}")
    options.add_argument("--dtypes", nargs="+", choices=list(DTYPES), default=list(DTYPES), help="default: both")
    options.add_argument("--threads", type=int, help="torch.set_num_threads (default: torch's)")
    options.add_argument("--out", type=Path, default=Path("results"), help="folder for the table and the raw figures")
    parsed = options.parse_args(arguments)
    parsed.memory = 0.8 * free_memory() / GIB if parsed.memory is None else parsed.memory
    return parsed


def sizes(least: int, largest: int) -> Iterator[int]:
    """`least`, 5, 10, 50, 100, ... times as many.

    >>> list(sizes(100, 3000))
    [100, 500, 1000]
    """
    for factor in cycle((5, 2)):
        if least > largest:
            return
        yield least
        least *= factor


def free_memory() -> int:
    with open("/proc/meminfo") as told:
        return next(int(line.split()[1]) * 1024 for line in told if line.startswith("MemAvailable"))


def cells(work: Work, found: Found | None) -> tuple[str, ...]:
    named = f"{work.num_edges:,}", work.dtype, work.pass_
    if found is None:
        return *named, *("out of memory",) * (len(COLUMNS) - len(named))
    per_edge = (f"{part / work.num_edges:.0f}" for part in (found.peak, found.graph, found.of_pass))
    times = seconds(found.sorting), seconds(found.time), f"{found.time / work.num_edges * 1e9:.1f}"
    return *named, *times, f"{found.peak / GIB:.2f}", *per_edge


def measure(work: Work) -> Found | None:
    """In a fresh process; None where it ran out of memory."""
    with environment(GIVE_BACK), ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
        try:
            return pool.submit(measure_here, work).result()
        except (BrokenProcessPool, MemoryError):
            return None


def measure_here(work: Work) -> Found:
    torch.set_num_threads(work.threads)
    torch.manual_seed(0)
    run_of(Work(1000, work.dtype, work.pass_, work.heads, work.dim, 1, work.threads))  # libraries and threads are there
    return run_of(work)


def run_of(work: Work) -> Found:
    num_nodes = max(work.num_edges // EDGES_OF_A_NODE, 2)
    start = resident("VmRSS")
    with open("/proc/self/clear_refs", "w") as reset:
        reset.write("5")
    edge_index = torch.randint(num_nodes, (2, work.num_edges), dtype=torch.int32)
    began = time.perf_counter()
    graph = as_graph(edge_index, num_nodes)
    graph.by_query()
    if work.pass_ == "training":
        graph.by_key()
    sorting = time.perf_counter() - began
    of_graph = resident("VmRSS") - start
    shape = num_nodes, work.heads, work.dim
    tensors = [torch.randn(shape).to(DTYPES[work.dtype]).requires_grad_(work.pass_ == "training") for _ in range(3)]
    times = []
    before = resident("VmRSS")
    peak_before = resident("VmHWM")
    for _ in range(work.rounds):
        with open("/proc/self/clear_refs", "w") as reset:
            reset.write("5")
        began = time.perf_counter()
        result = one_pass(graph, tensors)
        times.append(time.perf_counter() - began)
        of_pass = resident("VmHWM") - before
        del result
    times.sort()
    return Found(sorting, times[len(times) // 2], max(peak_before, before + of_pass) - start, of_graph, of_pass)


def one_pass(graph: Graph, tensors: list[Tensor]) -> tuple[Tensor, ...]:
    if not tensors[0].requires_grad:
        return (attend(*tensors, graph),)
    out = attend(*tensors, graph)
    return out, *torch.autograd.grad(out, tensors, torch.ones_like(out))


if __name__ == "__main__":
    main()
