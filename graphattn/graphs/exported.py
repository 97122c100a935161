"""Graphs while torch.export traces: tensors and torch's own operations, so that what is exported needs nothing of graphattn.

A graph is then an edge_index [2, num_edges] or a bool mask [num_queries, num_keys] over one example.
"""

from collections.abc import Sequence

import torch
from torch import Tensor


def is_exporting() -> bool:
    """Whether torch.export traces, also on the way to ONNX or AOTInductor; False while torch.compile does."""
    return torch.compiler._is_exporting_flag  # is_exporting() says the same, but in torch 2.11 also of torch.compile


def exported_edges(graph: Tensor) -> Tensor:
    """[2, num_edges] int64, those of a mask row by row."""
    return graph.nonzero().t().flip(0) if graph.dtype == torch.bool else graph.long()


def exported_degrees(graph: Tensor, num_queries: int) -> Tensor:
    if graph.dtype == torch.bool:
        return graph.sum(1)
    query = graph[1].long()
    return query.new_zeros(num_queries).index_add(0, query, torch.ones_like(query))


def exported_sizes(graph: Tensor, num_queries: int, num_keys: int) -> Tensor:
    """(num_queries, num_keys) of the one example: [1, 2] int64."""
    counts = [torch.full((1, 1), count, dtype=torch.int64) for count in (num_queries, num_keys)]
    return torch.cat(counts, 1)


def exported_beside(graphs: Sequence[Tensor], sizes: Sequence[tuple[int, int]]) -> Tensor:
    """The edges of graphs over common queries, the keys of all laid end to end."""
    edges, first = [], 0
    for graph, (_, num_keys) in zip(graphs, sizes, strict=True):
        key, query = exported_edges(graph)
        edges.append(torch.stack([key + first, query]))
        first = first + num_keys
    return torch.cat(edges, 1)


def exported_complete(num_queries: int, num_keys: int, device: torch.device) -> Tensor:
    """A mask: every query sees every key."""
    return torch.ones(num_queries, num_keys, dtype=torch.bool, device=device)


def exported_hops(graph: Tensor, along: Tensor, num_nodes: int, max_distance: int) -> Tensor:
    """`hop_distances` by products of num_nodes x num_nodes numbers."""
    steps = torch.zeros(num_nodes, num_nodes, device=along.device)
    key, query = exported_edges(along)
    steps = steps.index_put((key, query), steps.new_ones(()))
    front = torch.eye(num_nodes, device=along.device)
    seen, hops = front, torch.where(front > 0, 0, max_distance + 1)
    for distance in range(1, max_distance + 1):
        front = ((front @ steps > 0) & (seen == 0)).to(front.dtype)
        seen, hops = seen + front, torch.where(front > 0, distance, hops)
    key, query = exported_edges(graph)
    return hops[key, query]
