"""Bands and grids: graphattn against dense masked SDPA, FlexAttention and PyG on their edges.

    python -m benchmarks.bands                a band over 8,192 nodes, 128 each side; a grid 128 x 128; 1e5 ... 1e6 nodes
    python -m benchmarks.bands --flex         FlexAttention too, compiled (about a minute more; on CPU it has no backward pass)

Prints which kernel graphattn chose, medians, ratios, memory; then time per node of long bands, which should not change.
"""

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn.attention.flex_attention import create_block_mask, flex_attention

from benchmarks import expected, peers
from benchmarks.edges import fits, node_tensors, prepare
from benchmarks.measure import Case, Peer
from benchmarks.report import Report, parser
from graphattn import BandedGraph, GridGraph, attend, choose_kernel
from graphattn.graphs import Graph

LARGEST_MASK = 2**28  # pairs; a dense mask with more is left out


def flex(graph: BandedGraph) -> Callable[..., Tensor]:
    """FlexAttention, compiled, with the block mask made beforehand."""

    def is_edge(batch, head, query, key):
        return (query - key <= graph.before) & (key - query <= graph.after)

    mask = create_block_mask(is_edge, None, None, *graph.shape, device="cpu")
    compiled = torch.compile(flex_attention)

    def call(query, key, value):
        query, key, value = (x.transpose(0, 1)[None] for x in (query, key, value))
        return compiled(query, key, value, block_mask=mask)[0].transpose(0, 1)

    return call


def structured_case(graph: Graph, heads: int, dim: int, peer_names: tuple[str, ...]) -> Case:
    """A graph that is a formula, with the peers asked for where they fit."""
    found = {"graphattn": Peer(lambda *tensors: attend(*tensors, graph))}
    if "dense" in peer_names and graph.num_queries * graph.num_keys <= LARGEST_MASK:
        found["dense SDPA"] = Peer(peers.dense_sdpa(graph))
    if "flex" in peer_names:
        found["FlexAttention, compiled"] = Peer(flex(graph), trains=False)
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


def long_bands(report: Report, options) -> None:
    """Ever longer bands; afterwards the time per node, which is constant where time is linear."""
    for num_nodes in options.lengths:
        graph = BandedGraph(num_nodes, options.long_window, options.long_window)
        compare(report, f"band, {num_nodes} nodes, {options.long_window} each side", graph, 4, 32, size=num_nodes)
    rows = [row for row in report.rows if row.size is not None]
    for row in rows:
        report.say(f"{row.pass_}, {row.size} nodes: {row.timing.median / row.size * 1e9:.0f} ns per node")


def main(arguments: list[str] | None = None) -> None:
    options = parser(__doc__)
    sizes = {"nodes": 8192, "window": 128, "side": 128, "reach": 3, "long-window": 64}
    for name, size in sizes.items():
        options.add_argument(f"--{name}", type=int, default=size, help=f"default {size}")
    options.add_argument(
        "--lengths", type=int, nargs="*", default=[100_000, 300_000, 1_000_000], help="of the long bands"
    )
    options.add_argument("--flex", action="store_true", help="compile FlexAttention too")
    options = options.parse_args(arguments)
    report = Report("bands", options)
    band = BandedGraph(options.nodes, options.window, options.window)
    peer_names = ("dense", "edges", *(["flex"] if options.flex else []))
    compare(report, f"band, {options.nodes} nodes, {options.window} each side", band, 8, 64, *peer_names)
    grid = GridGraph((options.side, options.side), (options.reach, options.reach))
    compare(report, f"grid {options.side} x {options.side}, reach {options.reach}", grid, 4, 32, "edges", "pyg")
    long_bands(report, options)
    report.save()


if __name__ == "__main__":
    main()
