"""Some nodes of a graph that is too large to be drawn."""

import torch
from torch import Tensor

from graphattn.graphs import EdgeListGraph, Graph

BLOCKS = 8


def sample_blocks(num_nodes: int, limit: int) -> tuple[Tensor, int]:
    """At most `limit` nodes in blocks of neighbours, evenly spread, and the length of a block (0: all nodes are there).

    >>> sample_blocks(1_000_000, 16)[0].tolist()[:6]
    [0, 1, 142856, 142857, 285713, 285714]
    """
    if num_nodes <= limit:
        return torch.arange(num_nodes), 0
    blocks = min(BLOCKS, limit)
    length = limit // blocks
    starts = [block * (num_nodes - length) // max(1, blocks - 1) for block in range(blocks)]
    return (torch.tensor(starts)[:, None] + torch.arange(length)).flatten(), length


def sample_nearby(graph: EdgeListGraph, limit: int) -> Tensor:
    """At most `limit` nodes of a square graph: the one of most edges, then step by step those with an edge to them."""
    key, query = graph.edge_index("cpu")
    degrees = key.bincount(minlength=graph.num_queries) + query.bincount(minlength=graph.num_queries)
    chosen = torch.zeros(graph.num_queries, dtype=torch.bool)
    for start in degrees.argsort(descending=True, stable=True).tolist():
        if int(chosen.sum()) == limit or degrees[start] == 0:
            break
        frontier = torch.tensor([start])[~chosen[[start]]]
        while frontier.numel():
            frontier = frontier[: limit - int(chosen.sum())]
            chosen[frontier] = True
            around = torch.cat([query[torch.isin(key, frontier)], key[torch.isin(query, frontier)]]).unique()
            around = around[~chosen[around]]
            frontier = around[degrees[around].argsort(descending=True, stable=True)]
    return chosen.nonzero().flatten()


def sample_nodes(graph: Graph, limit: int) -> tuple[Tensor, Tensor, str | None]:
    """Keys and queries to draw, and the sentence that says so if they are not all."""
    if graph.num_queries == graph.num_keys and isinstance(graph, EdgeListGraph) and graph.num_queries > limit:
        nodes = sample_nearby(graph, limit)
        return nodes, nodes, f"{len(nodes)} of {graph.num_queries:,} nodes, around those of most edges"
    keys, _ = sample_blocks(graph.num_keys, limit)
    queries, _ = sample_blocks(graph.num_queries, limit)
    if len(keys) == graph.num_keys and len(queries) == graph.num_queries:
        return keys, queries, None
    return keys, queries, describe_blocks(graph, keys, queries)


def describe_blocks(graph: Graph, keys: Tensor, queries: Tensor) -> str:
    if graph.num_queries == graph.num_keys:
        return f"{len(queries)} of {graph.num_queries:,} nodes, in blocks"
    return f"{len(queries):,} of {graph.num_queries:,} queries and {len(keys):,} of {graph.num_keys:,} keys, in blocks"


def weights_among(graph: Graph, weights: Tensor | None, keys: Tensor, queries: Tensor) -> Tensor:
    """Dense [queries, keys] of the chosen nodes: NaN without an edge, 0 without weights; repeated edges add up."""
    allowed = graph.allows(queries[:, None], keys[None, :]).cpu()
    dense = torch.full(allowed.shape, torch.nan).masked_fill(allowed, 0.0)
    if weights is None:
        return dense
    key, query = graph.edge_index("cpu")
    column, row = (place_of(nodes, size) for nodes, size in ((keys, graph.num_keys), (queries, graph.num_queries)))
    both = (column[key] >= 0) & (row[query] >= 0)
    return dense.index_put((row[query[both]], column[key[both]]), weights[both], accumulate=True)


def place_of(nodes: Tensor, num_nodes: int) -> Tensor:
    """Where each node is among the chosen, -1 if it is not."""
    place = torch.full((num_nodes,), -1)
    place[nodes] = torch.arange(len(nodes))
    return place
