"""Attention over given edges, without projections: graphattn.attend, PyG's propagate, plain torch, dense SDPA.

    python -m benchmarks.edges                      random graphs (10k nodes, 500k edges; 200k, 4M), scores, edge features, a star
    python -m benchmarks.edges --sweep              time and memory for 1e4 ... 1e7 edges, 50 per node, with a picture
    python -m benchmarks.edges --compile            torch.compile'd peers and FlexAttention too

Prints the median time of each peer, its ratio to graphattn's, and the peak memory of one call beyond inputs and results. A
graph's sorted form (CSR and its transpose) is made once; that time stands beside the name of the work.
"""

import math
from collections.abc import Callable

import torch
from torch import Tensor

from benchmarks import expected, peers
from benchmarks.graphs import random_graph, star, two_way_star
from benchmarks.measure import Case, Peer
from benchmarks.report import Report, parser
from graphattn import attend
from graphattn.formulas.scores import Additive
from graphattn.graphs import Graph

LARGEST_MASK = 2**28  # pairs; a dense mask with more is left out
MESSAGES = 6  # tensors of edges x heads x dim that PyG holds at its peak in training
MOST_EDGES_FOR_ALL_ROUNDS = 4_000_000  # of a sweep; more take seconds, three times at most
MEMORY = 12 * 2**30  # bytes; peers that would need more are left out


def node_tensors(count: int, *shape: int) -> tuple[Tensor, ...]:
    generator = torch.Generator().manual_seed(1)
    return tuple(torch.randn(shape, generator=generator).requires_grad_() for _ in range(count))


def prepare(graph: Graph) -> Callable[[], object]:
    return lambda: (graph.csr(), graph.csr_transposed())


def fits(num_edges: int, heads: int, dim: int) -> bool:
    return num_edges * heads * dim * 4 * MESSAGES <= MEMORY


def pyg(layer: str, compiled: bool, peer: Callable[..., Callable], *arguments) -> dict[str, Peer]:
    """One of PyG's layers, eager and, if asked for, compiled."""
    found = {f"PyG {layer}": Peer(peer(*arguments))}
    return found | ({f"PyG {layer}, compiled": Peer(torch.compile(peer(*arguments)))} if compiled else {})


def dot_case(num_nodes: int, num_edges: int, heads: int, dim: int, with_dense: bool, compiled: bool) -> Case:
    """The dot product on a random graph."""
    graph = random_graph(num_nodes, num_edges)
    found = {"graphattn": Peer(lambda *tensors: attend(*tensors, graph))}
    if fits(num_edges, heads, dim):
        found |= pyg("TransformerConv", compiled, peers.transformer_conv, graph, heads, dim)
        found["plain torch"] = Peer(peers.gather_scatter(graph))
        if compiled:
            found["plain torch, compiled"] = Peer(torch.compile(peers.gather_scatter(graph)))
    if with_dense and num_nodes**2 <= LARGEST_MASK:
        found["dense SDPA"] = Peer(peers.dense_sdpa(graph), trains=False)
        if compiled:
            found["FlexAttention, compiled"] = Peer(peers.flex_of_edges(graph), trains=False)
    inputs = node_tensors(3, num_nodes, heads, dim)
    return Case(inputs, found, expected.dot(graph), num_nodes, prepare(graph))


def with_edge_features(graph: Graph, kernel: str | None = None) -> Callable[..., Tensor]:
    """TransformerConv with features of edges by algebra: W e is added to key and value, never per edge and channel."""

    def call(query, key, value, features, weight):
        weight = weight.unflatten(0, query.shape[1:])
        edge_query = torch.einsum("nhc,hcd->nhd", query, weight)
        out, edge_out = attend(query, key, value, graph, edge_features=features, edge_query=edge_query, kernel=kernel)
        return out + torch.einsum("nhd,hcd->nhc", edge_out, weight)

    return call


def edge_feature_case(num_nodes: int, num_edges: int, heads: int, dim: int, edge_dim: int, compiled: bool) -> Case:
    """The dot product with W e added to key and value, as in TransformerConv."""
    graph = random_graph(num_nodes, num_edges)
    found = {"graphattn": Peer(with_edge_features(graph))} | pyg(
        "TransformerConv", compiled, peers.transformer_conv, graph, heads, dim, edge_dim
    )
    inputs = (*node_tensors(3, num_nodes, heads, dim), *edge_tensors(num_edges, heads, dim, edge_dim))
    return Case(inputs, found, expected.dot_with_edges(graph), num_nodes, prepare(graph))


def edge_tensors(num_edges: int, heads: int, dim: int, edge_dim: int) -> tuple[Tensor, Tensor]:
    """Features, which come from data and need no gradient, and the weight that projects them."""
    (features,) = node_tensors(1, num_edges, edge_dim)
    return features.detach(), (torch.randn(heads * dim, edge_dim) / math.sqrt(edge_dim)).requires_grad_()


def gatv2(graph: Graph, kernel: str | None = None) -> Callable[..., Tensor]:
    """The score of GATv2."""

    def call(target, source, vector, features=None, weight=None):
        weight = None if weight is None else weight.unflatten(0, target.shape[1:])
        score = Additive(vector[0], weight, "leaky_relu")
        result = attend(target, source, source, graph, score=score, edge_features=features, kernel=kernel)
        return result if features is None else result[0]

    return call


def gatv2_case(num_nodes: int, num_edges: int, heads: int, dim: int, edge_dim: int | None, compiled: bool) -> Case:
    """The score of GATv2 on a random graph."""
    graph = random_graph(num_nodes, num_edges)
    found = {"graphattn": Peer(gatv2(graph))} | pyg(
        "GATv2Conv", compiled, peers.gatv2_conv, graph, heads, dim, edge_dim
    )
    inputs = (*node_tensors(2, num_nodes, heads, dim), *node_tensors(1, 1, heads, dim))
    if edge_dim is not None:
        inputs += edge_tensors(num_edges, heads, dim, edge_dim)
    return Case(inputs, found, expected.gatv2(graph), num_nodes, prepare(graph))


def gat_case(num_nodes: int, num_edges: int, heads: int, dim: int, compiled: bool) -> Case:
    """The score of GAT on a random graph: the additive score of one number per node and head."""
    graph = random_graph(num_nodes, num_edges)

    def call(target, source, value):
        one = target.new_ones(heads, 1)
        return attend(target, source, value, graph, score=Additive(one, activation="leaky_relu"))

    found = {"graphattn": Peer(call)} | pyg("GATConv", compiled, peers.gat_conv, graph, heads, dim)
    inputs = (*node_tensors(2, num_nodes, heads, 1), *node_tensors(1, num_nodes, heads, dim))
    return Case(inputs, found, expected.gat(graph), num_nodes, prepare(graph))


def star_case(num_leaves: int, heads: int, dim: int, two_way: bool) -> Case:
    """One node that sees many, beside the time of reading their keys and values once.

    Training must read them once, then read them again and write as many gradients: the second line beside is that alone.
    """
    graph = two_way_star(num_leaves) if two_way else star(num_leaves)
    query, key, value = (
        node_tensors(1, num_nodes, heads, dim)[0] for num_nodes in (graph.num_queries, *[graph.num_keys] * 2)
    )
    found = {"graphattn": Peer(lambda *tensors: attend(*tensors, graph))}
    tensors = key.detach(), value.detach()
    beside = {
        "reading keys and values": lambda: [x.sum() for x in tensors],
        "reading, then copying them": lambda: [(x.sum(), x.clone()) for x in tensors],
    }
    return Case((query, key, value), found, expected.dot(graph), graph.num_queries, prepare(graph), lambda _: beside)


def sweep(report: Report, options) -> None:
    """1e4, 3e4, 1e5, ... edges, 50 for each node."""
    exponents = range(2 * 4, round(2 * math.log10(options.largest)) + 1)
    for num_edges in (round(10 ** (exponent / 2)) for exponent in exponents):
        sizes = max(num_edges // 50, 2), num_edges, options.heads, options.dim
        rounds = options.rounds if num_edges <= MOST_EDGES_FOR_ALL_ROUNDS else min(options.rounds, 3)
        report.run(f"{num_edges} edges", dot_case, *sizes, True, options.compile, size=num_edges, rounds=rounds)


def works(report: Report, options) -> None:
    sizes = options.nodes, options.edges, options.heads, options.dim
    report.run(f"dot product, {options.edges} edges", dot_case, *sizes, True, options.compile)
    report.run("edge features", edge_feature_case, *sizes, options.edge_dim, options.compile)
    report.run("GAT", gat_case, *sizes, options.compile)
    report.run("GATv2", gatv2_case, *sizes, None, options.compile)
    report.run("GATv2, edge features", gatv2_case, *sizes, options.edge_dim, options.compile)
    sizes = options.large_nodes, options.large_edges, options.heads, options.dim
    report.run(f"dot product, {options.large_edges} edges", dot_case, *sizes, False, False, passes=("forward",))
    report.run(f"star of {options.leaves} leaves", star_case, options.leaves, options.heads, options.dim, False)
    if options.two_way:
        report.run("star, both ways", star_case, options.leaves, options.heads, options.dim, True)


def main(arguments: list[str] | None = None) -> None:
    options = parser(__doc__)
    sizes = {"nodes": 10_000, "edges": 500_000, "heads": 8, "dim": 16, "edge-dim": 16, "leaves": 1_000_000}
    sizes |= {"large-nodes": 200_000, "large-edges": 4_000_000, "largest": 10_000_000}
    for name, size in sizes.items():
        options.add_argument(f"--{name}", type=int, default=size, help=f"default {size}")
    options.add_argument("--sweep", action="store_true", help="1e4 ... --largest edges instead, with a picture")
    options.add_argument("--compile", action="store_true", help="torch.compile'd peers too")
    options.add_argument("--two-way", action="store_true", help="the star in both directions too (4 GiB more)")
    options = options.parse_args(arguments)
    report = Report("edges_sweep" if options.sweep else "edges", options)
    (sweep if options.sweep else works)(report, options)
    report.save()


if __name__ == "__main__":
    main()
