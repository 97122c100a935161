"""The edges among some of the nodes."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from graphattn.graphs.edge_list import EdgeListGraph
from graphattn.graphs.graph import Graph
from graphattn.graphs.sizes import is_sequence

CHUNK = 2**22  # pairs (query, key) tested at a time: some tens of MB


def subgraph(graph: Graph, nodes: Sequence[int] | Tensor | np.ndarray) -> EdgeListGraph:
    """The edges of a square `graph` among `nodes`, which are renumbered in the order given.

    >>> from graphattn.graphs import causal
    >>> subgraph(causal(10), [7, 2]).edge_index()
    tensor([[1, 1, 0],
            [1, 0, 0]])
    """
    if any(queries != keys for queries, keys in graph.sizes):
        raise ValueError(f"'subgraph' needs as many keys as queries (got {graph!r})")
    kept = _parse_nodes(nodes, graph.num_queries, graph._resolve(None))
    sizes = _sizes(graph, kept)
    few = kept.numel() ** 2 < graph.num_edges and not graph.has_own_order and not graph.edges_by_key
    edges = _edges_among_pairs(graph, kept) if few else _edges_among_all(graph, kept)
    return EdgeListGraph(edges, sizes, is_undirected=graph.is_symmetric)


def _edges_among_all(graph: Graph, nodes: Tensor) -> Tensor:
    place = torch.full((graph.num_queries,), -1, dtype=torch.int64, device=nodes.device)
    place[nodes] = torch.arange(nodes.numel(), device=nodes.device)
    edges = place[graph.edge_index()]
    return edges[:, (edges >= 0).all(dim=0)]


def _edges_among_pairs(graph: Graph, nodes: Tensor) -> Tensor:
    """The same edges in the same order, for a few nodes of a graph too big to be written out."""
    key, place = nodes.sort()
    parts = [torch.empty(2, 0, dtype=torch.int64, device=nodes.device)]
    step = max(1, CHUNK // max(1, nodes.numel()))
    for start in range(0, nodes.numel(), step):
        query, other = graph.allows(key[start : start + step, None], key).nonzero().t()
        parts.append(torch.stack([other, query + start]))
    return place[torch.cat(parts, dim=1)]


def _sizes(graph: Graph, nodes: Tensor) -> list[int]:
    if graph.num_examples == 1:
        return [nodes.numel()]
    example = torch.bucketize(nodes, torch.tensor(graph.query_ptr, device=nodes.device), right=True) - 1
    if (example.diff() < 0).any():
        raise ValueError(f"'nodes' of a batch must come example after example (got examples {example.tolist()})")
    return torch.bincount(example, minlength=graph.num_examples).tolist()


def _parse_nodes(nodes: Any, num_nodes: int, device: torch.device) -> Tensor:
    if not is_sequence(nodes):
        raise TypeError(f"'nodes' must be a list or a tensor [num_kept] of indices, or a bool mask (got {nodes!r})")
    nodes = torch.as_tensor(nodes, device=device)
    if nodes.dtype == torch.bool:
        if nodes.numel() != num_nodes:
            raise ValueError(f"a mask of 'nodes' must have one entry per node (got {nodes.numel()} for {num_nodes})")
        return nodes.nonzero().flatten()
    if nodes.numel() == 0:
        return nodes.long()
    if nodes.is_floating_point() or nodes.is_complex():
        raise TypeError(f"'nodes' must be integers or a bool mask (got {nodes.dtype})")
    low, high = (int(bound) for bound in nodes.aminmax())
    if low < 0 or high >= num_nodes:
        raise ValueError(f"'nodes' names node {low if low < 0 else high}, but there are {num_nodes} nodes")
    if nodes.unique().numel() < nodes.numel():
        raise ValueError("'nodes' must name every node at most once")
    return nodes.long()
