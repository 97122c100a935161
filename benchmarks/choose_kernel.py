"""Where one kernel overtakes another: every kernel on complete graphs, bands, random graphs and tiny ones, by size.

    python -m benchmarks.choose_kernel

Prints, for each graph, the median time of every kernel that runs it, the fastest, and what `choose_kernel` would take; a line
says where the choice is slower than the fastest by more than --margin. These figures are the ground for the order of kernels in
graphattn/kernels/choose.py.

With --write they go to graphattn/kernels/crossovers.json too, with the machine, the date and this command. The constants there
stay as they are: beside them stands on the screen what these figures suggest, and a person decides, who sees those of other
machines too.
"""

import sys
import time
from collections.abc import Iterator
from pathlib import Path

import torch

from benchmarks import crossovers, expected
from benchmarks.edges import node_tensors
from benchmarks.graphs import random_graph
from benchmarks.measure import PASSES, Case, Peer, calls_of, check, interleaved
from benchmarks.report import machine, parser, processor, seconds
from graphattn import BandedGraph, CompleteGraph, GridGraph, attend, causal, choose_kernel
from graphattn.graphs import Graph
from graphattn.kernels.choose import KERNELS
from graphattn.kernels.crossovers import CROSSOVERS, FILE
from graphattn.kernels.policy import share_of_tiles

LARGEST_UNFUSED = 2**28  # edges x heads x dim; 'edges_torch' keeps tensors of some of its edges


def families(largest: int) -> Iterator[tuple[str, Graph]]:
    """Graphs in which one thing grows: size, window, reach, density."""
    sizes = [size for size in (16, 64, 256, 1024, 2048) if size <= largest]
    yield from ((f"complete, {size} nodes", CompleteGraph(size)) for size in sizes)
    yield from ((f"causal, {size} nodes", causal(size)) for size in sizes)
    yield from ((f"{size} nodes, 4 edges each", random_graph(size, 4 * size)) for size in sizes)
    for window in (1, 2, 4, 8, 16, 64, 256):
        yield f"band, {largest} nodes, {window} each side", BandedGraph(largest, window, window)
    yield f"band, {largest} nodes, 8 steps of 4 each side", BandedGraph(largest, 8, 8, dilation=4)
    side = round(largest**0.5)
    for reach in (1, 2, 3, 4, 5, 7, 8):
        yield f"grid {side} x {side}, reach {reach}", GridGraph((side, side), reach)
    side = round(largest ** (1 / 3))
    for reach in (1, 2):
        yield f"grid {side} x {side} x {side}, reach {reach}", GridGraph((side, side, side), reach)
    for longest in (size for size in (8, 32, 128, 512) if size <= largest):
        yield f"32 sentences of 1 ... {longest} words", CompleteGraph([1 + i * (longest - 1) // 31 for i in range(32)])
    for density in (0.001, 0.01, 0.1, 0.3):
        yield f"{largest} nodes, {density:.1%} of pairs", random_graph(largest, max(round(density * largest**2), 1))


def kernel_case(graph: Graph, heads: int, dim: int) -> Case:
    """Every kernel that runs this graph, as peers."""
    inputs = node_tensors(3, graph.num_queries, heads, dim)
    found = {}
    for kernel in KERNELS:
        if "cpu" not in kernel.only_by_name and runs(kernel.name, graph, heads, dim):
            found[kernel.name] = Peer(lambda *tensors, name=kernel.name: attend(*tensors, graph, kernel=name))
    return Case(inputs, found, expected.dot(graph), graph.num_queries)


def runs(name: str, graph: Graph, heads: int, dim: int) -> bool:
    """Whether a kernel takes this graph, in bearable memory and time."""
    if name == "reference":  # it is there for tests
        return False
    if name == "edges_torch" and graph.num_edges * heads * dim > LARGEST_UNFUSED:
        return False
    try:
        choose_kernel(graph, torch.zeros(graph.num_queries, heads, dim), kernel=name)
    except ValueError:
        return False
    return True


def compare(work: str, graph: Graph, options) -> tuple[list[str], dict[str, list[float]]]:
    """The lines of one graph: forward, forward + backward; and the seconds of both by kernel."""
    case = kernel_case(graph, options.heads, options.dim)
    check(case)
    chosen = choose_kernel(graph, case.inputs[0]).kernel
    lines: list[str] = []
    seconds_of: dict[str, list[float]] = {name: [] for name in case.peers}
    for pass_ in PASSES:
        medians = {name: timing.median for name, timing in interleaved(calls_of(case, pass_), options.rounds).items()}
        for name, median in medians.items():
            seconds_of[name].append(median)
        fastest = min(medians, key=medians.__getitem__)
        note = (
            ""
            if medians[chosen] <= options.margin * medians[fastest]
            else f"{medians[chosen] / medians[fastest]:.1f} x slower"
        )
        times = ", ".join(f"{name} {seconds(median)}" for name, median in medians.items())
        lines.append(f"| {work} | {pass_} | {times} | {fastest} | {chosen} | {note} |")
    return lines, seconds_of


class Figures:
    """What was measured, in the form of graphattn/kernels/crossovers.json."""

    def __init__(self, options):
        self.options = options
        self.graphs: dict[str, dict] = {}
        self.points: dict[str, list[crossovers.Point]] = {name: [] for name in CROSSOVERS.least_share_of_tiles}

    def add(self, work: str, graph: Graph, seconds_of: dict[str, list[float]]) -> None:
        shares = {}
        for kernel in KERNELS:
            if kernel.name in self.points and kernel.name in seconds_of and "edges_cpu" in seconds_of:
                shares[kernel.name] = share_of_tiles(kernel, graph)
                times = (seconds_of[name][-1] for name in (kernel.name, "edges_cpu"))
                self.points[kernel.name].append(crossovers.Point(shares[kernel.name], *times))
        in_ms = {name: [float(f"{1e3 * x:.3g}") for x in both] for name, both in seconds_of.items()}
        self.graphs[work] = in_ms | {"share of tiles": {name: round(share, 3) for name, share in shares.items()}}

    def suggestions(self) -> Iterator[str]:
        for name, points in self.points.items():
            found, stands = crossovers.least_share(points), CROSSOVERS.least_share_of_tiles[name]
            yield f"least_share_of_tiles of {name}: {found or 'nothing'} by {len(points)} graphs here, {stands} in the file"

    def write(self, command: str) -> None:
        options = self.options
        crossovers.record(options.file, "tiles and edges", {
            "work": f"graphs of benchmarks/choose_kernel.py, {options.heads} heads of {options.dim}",
            "machine": f"{processor()}, {torch.get_num_threads()} threads",
            "dtype": "float32", "date": time.strftime("%Y-%m-%d"), "command": command, "torch": torch.__version__,
            "unit": "ms, [forward, forward and backward]", "graphs": self.graphs,
        })  # fmt: skip


def main(arguments: list[str] | None = None) -> None:
    options = parser(__doc__)
    options.add_argument("--largest", type=int, default=4096, help="nodes of the largest graphs (default 4096)")
    options.add_argument("--heads", type=int, default=8)
    options.add_argument("--dim", type=int, default=16)
    options.add_argument(
        "--margin", type=float, default=1.2, help="a choice this many times slower is named (default 1.2)"
    )
    options.add_argument("--write", action="store_true", help="put the figures into graphattn/kernels/crossovers.json")
    options.add_argument("--file", type=Path, default=FILE, help=f"another one than {FILE.name} beside the kernels")
    given = sys.argv[1:] if arguments is None else arguments
    options = options.parse_args(given)
    torch.set_num_threads(options.threads or torch.get_num_threads())
    lines = [
        f"# choose_kernel: {machine()}\n",
        "| graph | pass | kernels | fastest | chosen | note |",
        "|---|---|---|---|---|---|",
    ]
    print("\n".join(lines), flush=True)
    figures = Figures(options)
    for work, graph in families(options.largest):
        if options.only is None or options.only in work:
            found, seconds_of = compare(work, graph, options)
            print("\n".join(found), flush=True)
            lines += found
            figures.add(work, graph, seconds_of)
    print("\n".join(figures.suggestions()))
    if options.write:
        figures.write(" ".join(["python -m benchmarks.choose_kernel", *(x for x in given if x != "--write")]))
    options.out.mkdir(parents=True, exist_ok=True)
    (options.out / "choose_kernel.md").write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
