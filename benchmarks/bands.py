"""Bands, grids, unions and biases: graphattn against dense masked SDPA, FlexAttention, PyG, and edges one by one.

    python -m benchmarks.bands                          all of it, some minutes, one of them to compile FlexAttention
    python -m benchmarks.bands --only "128 each side"   a band over 8,192 nodes (FlexAttention has no backward pass on CPU)
    python -m benchmarks.bands --only grid              a grid of 128 x 128 nodes, reach 3
    python -m benchmarks.bands --only union             a band, global nodes and given edges together, and each alone
    python -m benchmarks.bands --only bias              ALiBi and T5 on a band, a complete and a causal graph
    python -m benchmarks.bands --only "64 each side"    bands over 1e5 ... 1e6 nodes: time per node, memory

Prints which kernel graphattn chose, medians, ratios, memory; then what a union costs beside its parts, and the time per
node of long bands, which should not change.
"""

from collections.abc import Callable

import torch
from torch import Tensor

from benchmarks import expected, peers
from benchmarks.edges import fits, node_tensors, prepare
from benchmarks.graphs import random_graph
from benchmarks.measure import PASSES, Case, Peer
from benchmarks.report import Report, parser
from graphattn import BandedGraph, CompleteGraph, GlobalGraph, GridGraph, attend, causal, choose_kernel
from graphattn.graphs import Graph
from graphattn.nn import ALiBi, T5Bias
from graphattn.nn.bias import Bias

LARGEST_MASK = 2**28  # pairs; a dense mask with more is left out
LARGEST_BIAS = 2**29  # numbers of pairs and heads, 2 GiB; a dense bias with more is left out
COPIES_OF_LEARNED = 8  # of a dense bias, to learn it


def structured_case(graph: Graph, heads: int, dim: int, peer_names: tuple[str, ...]) -> Case:
    """A graph that is a formula, with the peers asked for where they fit."""
    found = {"graphattn": Peer(lambda *tensors: attend(*tensors, graph))}
    if "dense" in peer_names and graph.num_queries * graph.num_keys <= LARGEST_MASK:
        found["dense SDPA"] = Peer(peers.dense_sdpa(graph))
    if "flex" in peer_names:
        found["FlexAttention, compiled"] = Peer(peers.flex_of_band(graph), trains=False)
    if "edges" in peer_names:
        found["graphattn, kernel='edges'"] = Peer(lambda *tensors: attend(*tensors, graph, kernel="edges"))
    if "pyg" in peer_names and fits(graph.num_edges, heads, dim):
        found["PyG TransformerConv"] = Peer(peers.transformer_conv(graph, heads, dim))
    inputs = node_tensors(3, graph.num_queries, heads, dim)
    return Case(inputs, found, expected.dot(graph), graph.num_queries, prepare(graph) if "pyg" in peer_names else None)


def compare(report: Report, work: str, graph: Graph, heads: int, dim: int, *peer_names: str, **options) -> None:
    query = torch.zeros(graph.num_queries, heads, dim)
    work = f"{work}, {heads} x {dim}, kernel {choose_kernel(graph, query).kernel!r}"
    report.run(work, structured_case, graph, heads, dim, peer_names, **options)


def band(report: Report, options) -> None:
    """One band that dense masked attention can still do."""
    work, peer_names = f"band, {options.nodes} nodes, {options.window} each side", ["dense", "edges"]
    if options.flex and report.wants(work):
        reason = peers.why_not_flex()
        report.say(f"FlexAttention is left out: {reason}") if reason else peer_names.append("flex")
    compare(report, work, BandedGraph(options.nodes, options.window, options.window), 8, 64, *peer_names)


def union(report: Report, options) -> None:
    """A band, global nodes and given edges in one graph; afterwards its time as a share of the sum of its parts'."""
    nodes = options.union_nodes
    parts = {
        "band": BandedGraph(nodes, 64, 64),
        "global nodes": GlobalGraph(nodes, range(0, nodes, -(-nodes // 8))),
        "edges": random_graph(nodes, 4 * nodes),
    }
    graph = parts["band"] | parts["global nodes"] | parts["edges"]
    first = len(report.rows)
    compare(report, f"union, {nodes} nodes", graph, 4, 32, "edges", "pyg")
    for name, part in parts.items():
        compare(report, f"union, its {name} alone", part, 4, 32)
    rows = [row for row in report.rows[first:] if row.peer == "graphattn"]
    for pass_ in PASSES if rows else ():
        whole, *alone = (row.timing.median for row in rows if row.pass_ == pass_)
        report.say(f"union, {pass_}: {whole / sum(alone):.2f} times the sum of its parts")


def bias_case(graph: Graph, kind: type[Bias], heads: int, dim: int) -> Case:
    """A rule of the distance, and the same bias as numbers for edges and for all pairs: made beforehand, if not learned."""
    rule = kind(heads)
    table = [x for parameter in rule.parameters() for x in node_tensors(1, *parameter.shape)]
    by_edge = peers.made_once(rule, lambda: rule(graph))

    def attend_with(bias: Callable[[], Bias | Tensor]) -> Callable[..., Tensor]:
        def call(query, key, value, table=None):
            peers.set_table(rule, table)
            return attend(query, key, value, graph, bias=bias())

        return call

    found = {
        "graphattn": Peer(attend_with(lambda: rule)),
        "graphattn, a number for each edge": Peer(attend_with(by_edge)),
    }
    if graph.num_queries * graph.num_keys * heads * (COPIES_OF_LEARNED if table else 1) <= LARGEST_BIAS:
        found["dense SDPA"] = Peer(peers.sdpa_with_bias(graph, rule))
    inputs = (*node_tensors(3, graph.num_queries, heads, dim), *table)
    return Case(inputs, found, expected.dot_with_bias(graph, rule), graph.num_queries)


def biases(report: Report, options) -> None:
    """Rules of the distance between query and key."""
    nodes, few, reach = options.nodes, options.bias_nodes, options.window
    graphs = {
        f"band of {nodes} nodes, reach {reach}": BandedGraph(nodes, reach, reach),
        f"complete, {few} nodes": CompleteGraph(few),
        f"causal, {few} nodes": causal(few),
    }
    for name, graph in graphs.items():
        for kind in (ALiBi, T5Bias):
            kernel = choose_kernel(graph, torch.zeros(graph.num_queries, 8, 64), bias=kind(8)).kernel
            report.run(f"bias {kind.__name__}, {name}, 8 x 64, kernel {kernel!r}", bias_case, graph, kind, 8, 64)


def long_bands(report: Report, options) -> None:
    """Ever longer bands; afterwards the time per node, which is constant where time is linear."""
    for num_nodes in options.lengths:
        graph = BandedGraph(num_nodes, options.long_window, options.long_window)
        compare(report, f"band, {num_nodes} nodes, {options.long_window} each side", graph, 4, 32, size=num_nodes)
    for pass_ in PASSES:
        rows = [row for row in report.rows if row.size is not None and row.pass_ == pass_]
        per_node = [row.timing.median / row.size * 1e9 for row in rows]
        for row, time in zip(rows, per_node, strict=True):
            report.say(f"{pass_}, {row.size} nodes: {time:.0f} ns per node, {time / per_node[0]:.2f} times the first")


def main(arguments: list[str] | None = None) -> None:
    options = parser(__doc__)
    sizes = {"nodes": 8192, "window": 128, "side": 128, "reach": 3, "long-window": 64}
    sizes |= {"union-nodes": 50_000, "bias-nodes": 2048}
    for name, size in sizes.items():
        options.add_argument(f"--{name}", type=int, default=size, help=f"default {size}")
    options.add_argument(
        "--lengths", type=int, nargs="*", default=[100_000, 300_000, 1_000_000], help="of the long bands"
    )
    options.add_argument("--no-flex", dest="flex", action="store_false", help="without compiling FlexAttention")
    options = options.parse_args(arguments)
    report = Report("bands", options)
    band(report, options)
    grid = GridGraph((options.side, options.side), (options.reach, options.reach))
    compare(report, f"grid {options.side} x {options.side}, reach {options.reach}", grid, 4, 32, "edges", "pyg")
    union(report, options)
    biases(report, options)
    long_bands(report, options)
    report.save()


if __name__ == "__main__":
    main()
