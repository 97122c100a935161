"""Where one kernel overtakes another: every kernel on complete graphs, bands, random graphs and tiny ones, by size.

    python -m benchmarks.choose_kernel

Prints, for each graph, the median time of every kernel that runs it, the fastest, and what `choose_kernel` would take; a line
says where the choice is slower than the fastest by more than --margin. These figures are the ground for the order of kernels in
graphattn/kernels/choose.py.
"""

from collections.abc import Iterator

import torch

from benchmarks import expected
from benchmarks.edges import node_tensors
from benchmarks.graphs import random_graph
from benchmarks.measure import PASSES, Case, Peer, calls_of, check, interleaved
from benchmarks.report import machine, parser, seconds
from graphattn import BandedGraph, CompleteGraph, GridGraph, attend, causal, choose_kernel
from graphattn.graphs import Graph
from graphattn.kernels.choose import KERNELS

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
        if runs(kernel.name, graph, heads, dim):
            found[kernel.name] = Peer(lambda *tensors, name=kernel.name: attend(*tensors, graph, kernel=name))
    return Case(inputs, found, expected.dot(graph), graph.num_queries)


def runs(name: str, graph: Graph, heads: int, dim: int) -> bool:
    """Whether a kernel takes this graph, in bearable memory and time."""
    if name in ("reference", "edges_cuda"):  # they are there for tests: on CPU the second is interpreted
        return False
    if name == "edges_torch" and graph.num_edges * heads * dim > LARGEST_UNFUSED:
        return False
    try:
        choose_kernel(graph, torch.zeros(graph.num_queries, heads, dim), kernel=name)
    except ValueError:
        return False
    return True


def compare(work: str, graph: Graph, options) -> list[str]:
    """The lines of one graph: forward, forward + backward."""
    case = kernel_case(graph, options.heads, options.dim)
    check(case)
    chosen = choose_kernel(graph, case.inputs[0]).kernel
    lines = []
    for pass_ in PASSES:
        medians = {name: timing.median for name, timing in interleaved(calls_of(case, pass_), options.rounds).items()}
        fastest = min(medians, key=medians.get)
        note = (
            ""
            if medians[chosen] <= options.margin * medians[fastest]
            else f"{medians[chosen] / medians[fastest]:.1f} x slower"
        )
        times = ", ".join(f"{name} {seconds(median)}" for name, median in medians.items())
        lines.append(f"| {work} | {pass_} | {times} | {fastest} | {chosen} | {note} |")
    return lines


def main(arguments: list[str] | None = None) -> None:
    options = parser(__doc__)
    options.add_argument("--largest", type=int, default=4096, help="nodes of the largest graphs (default 4096)")
    options.add_argument("--heads", type=int, default=8)
    options.add_argument("--dim", type=int, default=16)
    options.add_argument(
        "--margin", type=float, default=1.2, help="a choice this many times slower is named (default 1.2)"
    )
    options = options.parse_args(arguments)
    torch.set_num_threads(options.threads or torch.get_num_threads())
    lines = [
        f"# choose_kernel: {machine()}\n",
        "| graph | pass | kernels | fastest | chosen | note |",
        "|---|---|---|---|---|---|",
    ]
    print("\n".join(lines), flush=True)
    for work, graph in families(options.largest):
        if options.only is None or options.only in work:
            found = compare(work, graph, options)
            print("\n".join(found), flush=True)
            lines += found
    options.out.mkdir(parents=True, exist_ok=True)
    (options.out / "choose_kernel.md").write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
