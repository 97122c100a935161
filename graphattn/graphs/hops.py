"""Shortest paths between the ends of edges."""

from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from graphattn.graphs.graph import Graph
from graphattn.graphs.sizes import parse_integer

if TYPE_CHECKING:  # elsewhere by those who search: scipy takes a sixth of the time of `import graphattn`
    from scipy.sparse import csr_array

CHUNK = 2**22  # pairs (source, node) that one search may reach: some tens of MB


def hop_distances(graph: Graph, along: Graph, max_distance: int) -> Tensor:
    """For each edge of `graph`, the number of edges of `along` on the shortest way from its key to its query.

    A breadth-first search from all keys at once, some thousands at a time, which stops at `max_distance`; nodes times
    nodes numbers are never held.

    Args:
        graph: Whose edges are measured.
        along: A graph over the same nodes, whose edges are walked from key to query.
        max_distance: Longest way that is counted, at least 0.

    Returns:
        [num_edges] int64 in the order of `graph.edge_index()`, max_distance + 1 where there is no way so short.

    >>> from graphattn.graphs import BandedGraph, CompleteGraph
    >>> hop_distances(CompleteGraph(4), along=BandedGraph(4, 1, 1), max_distance=2).view(4, 4)
    tensor([[0, 1, 2, 3],
            [1, 0, 1, 2],
            [2, 1, 0, 1],
            [3, 2, 1, 0]])
    """
    max_distance = parse_integer("max_distance", max_distance)
    if graph.shape != along.shape or along.num_keys != along.num_queries:
        raise ValueError(f"'graph' and 'along' must be over one set of nodes (got {graph!r} and {along!r})")
    num_nodes, device = along.num_keys, graph.device
    key, query = graph.edge_index("cpu").numpy()
    steps = pattern(along.edge_index("cpu").numpy(), num_nodes)
    sources, row = np.unique(key, return_inverse=True)
    hops = np.full(len(key), max_distance + 1)
    rows_at_a_time = max(1, CHUNK // max(1, num_nodes))
    order = np.argsort(row, kind="stable")
    for start in range(0, len(sources), rows_at_a_time):
        chosen = sources[start : start + rows_at_a_time]
        first, last = np.searchsorted(row[order], (start, start + len(chosen)))
        edges = order[first:last]
        hops[edges] = search(steps, chosen, (row[edges] - start) * num_nodes + query[edges], max_distance)
    return torch.from_numpy(hops).to(device or torch.get_default_device())


def pattern(edges: np.ndarray, num_nodes: int) -> "csr_array":
    """1 where there is an edge, rows = keys."""
    from scipy.sparse import csr_array

    matrix = csr_array((np.ones(edges.shape[1], dtype=np.float32), tuple(edges)), shape=(num_nodes, num_nodes))
    matrix.sum_duplicates()
    matrix.data[:] = 1
    return matrix


def search(steps: "csr_array", sources: np.ndarray, wanted: np.ndarray, max_distance: int) -> np.ndarray:
    """Distance of each wanted place (row of the source * num_nodes + node), max_distance + 1 if it is further."""
    from scipy.sparse import csr_array

    num_nodes = steps.shape[0]
    ones = np.ones(len(sources), dtype=np.float32)
    front = csr_array((ones, (np.arange(len(sources)), sources)), shape=(len(sources), num_nodes))
    seen, hops = front, np.full(len(wanted), max_distance + 1)
    for distance in range(max_distance + 1):
        rows, nodes = front.nonzero()
        hops[(hops > max_distance) & np.isin(wanted, rows * num_nodes + nodes)] = distance
        if distance == max_distance or not front.nnz or (hops <= max_distance).all():
            break
        reached = front @ steps
        reached.data[:] = 1
        front = reached - reached.multiply(seen)
        front.eliminate_zeros()
        seen = seen + front
    return hops
