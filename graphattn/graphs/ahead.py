"""Which graphs show a node what comes after it."""

from functools import partial

from graphattn.graphs.algebra import IntersectionGraph, UnionGraph
from graphattn.graphs.banded import BandedGraph
from graphattn.graphs.batched import BatchedGraph
from graphattn.graphs.complete import CompleteGraph
from graphattn.graphs.global_ import GlobalGraph
from graphattn.graphs.graph import Graph
from graphattn.graphs.prefix import PrefixGraph

Prefixes = tuple[int, ...]  # a number of first nodes of each example


def prefix_of(graph: Graph) -> Prefixes | None:
    """How many first nodes of each example see each other, as a `PrefixGraph` states; no other node sees a later one.

    0 everywhere says that the graph is causal, None that a node outside of a stated prefix sees a later one. A formula tells it
    at once; other graphs are asked for their edges, the first time.

    Args:
        graph: with as many keys as queries in each example.

    >>> from graphattn.graphs import GlobalGraph, causal
    >>> prefix_of(causal([3, 4])), prefix_of(BandedGraph(5, 2, 2)), prefix_of(causal(5) & GlobalGraph(5, [0]))
    ((0, 0), None, (0,))
    >>> prefix_of(PrefixGraph([9, 8], [3, 0]) & BandedGraph([9, 8], 4, 4))
    (3, 0)
    """
    return graph.remember("prefix", partial(find_prefix, graph))


def find_prefix(graph: Graph) -> Prefixes | None:
    if isinstance(graph, PrefixGraph):
        return graph.prefix
    if isinstance(graph, UnionGraph):
        members = [prefix for prefix in map(prefix_of, graph.graphs) if prefix is not None]
        return tuple(map(max, zip(*members))) if len(members) == len(graph.graphs) else None
    if isinstance(graph, IntersectionGraph):
        members = [prefix for prefix in map(prefix_of, graph.graphs) if prefix is not None]
        if members:
            return tuple(map(min, zip(*members)))
    if isinstance(graph, BatchedGraph):
        members = [prefix for prefix in map(prefix_of, graph.graphs) if prefix is not None]
        return tuple(length for prefix in members for length in prefix) if len(members) == len(graph.graphs) else None
    if isinstance(graph, CompleteGraph):
        looks_ahead = any(num_keys > 1 for _, num_keys in graph.sizes)
    elif isinstance(graph, GlobalGraph):
        looks_ahead = graph.num_edges > len(graph.nodes)  # any edge but one to itself is there both ways
    elif isinstance(graph, BandedGraph):
        looks_ahead = any(band_looks_ahead(graph, *example) for example in zip(graph.sizes, graph.offsets))
    else:
        key, query = graph.edge_index()
        looks_ahead = bool((key > query).any())
    return None if looks_ahead else (0,) * graph.num_examples


def band_looks_ahead(graph: BandedGraph, size: tuple[int, int], offset: int) -> bool:
    num_queries, num_keys = size
    step = max(-graph.before, -((offset - 1) // graph.dilation))  # the first that leads to a later key
    return bool(num_queries) and step <= graph.after and offset + graph.dilation * step < num_keys
