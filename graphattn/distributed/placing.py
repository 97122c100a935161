"""How well an order of the nodes spreads a graph over processes, before any of them is started."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch

from graphattn.distributed.ranges import own_ptr, parse_ptr
from graphattn.graphs import as_graph
from graphattn.graphs.rows import rows_between
from graphattn.graphs.sizes import parse_integer


class Placing(NamedTuple):
    """Of each process: the queries and edges that it owns, and the keys of others that they see."""

    rows: tuple[int, ...]
    edges: tuple[int, ...]
    halo: tuple[int, ...]

    @property
    def halo_per_row(self) -> float:
        """Keys fetched for each own row, over all processes: what a layer moves beside what it computes on."""
        return sum(self.halo) / max(sum(self.rows), 1)

    @property
    def imbalance(self) -> float:
        """Edges of the process that has most, over the mean: the others wait for it."""
        return max(self.edges) * len(self.edges) / max(sum(self.edges), 1)

    def __str__(self) -> str:
        return (
            f"{len(self.rows)} processes: halo {self.halo_per_row:.3f} keys a row (most {max(self.halo)}),"
            f" edges of the fullest {self.imbalance:.2f} times the mean"
        )


def placing(
    graph: Any, num_processes: int, query_ptr: Sequence[int] | None = None, key_ptr: Sequence[int] | None = None
) -> Placing:
    """What `shard` would make of a graph on so many processes: try orders of the nodes with it.

    Args:
        graph: A Graph, or anything `as_graph` takes that knows its number of nodes.
        num_processes: How many processes.
        query_ptr, key_ptr: As in `shard`.

    Example:
        >>> from graphattn import BandedGraph
        >>> print(placing(BandedGraph(1000, 2, 1), 4))
        4 processes: halo 0.009 keys a row (most 3), edges of the fullest 1.00 times the mean
    """
    num_processes, whole = parse_integer("num_processes", num_processes, minimum=1), as_graph(graph)
    queries = own_ptr(whole, 0, num_processes)
    queries = queries if query_ptr is None else parse_ptr("query_ptr", query_ptr, whole.num_queries, num_processes)
    keys = queries if whole.num_keys == whole.num_queries else own_ptr(whole, 1, num_processes)
    keys = keys if key_ptr is None else parse_ptr("key_ptr", key_ptr, whole.num_keys, num_processes)
    rows, edges, halo = [], [], []
    for rank in range(num_processes):
        local, seen, _ = rows_between(whole, queries[rank], queries[rank + 1])
        first, last = keys[rank], keys[rank + 1]
        if isinstance(seen, slice):
            own = max(0, min(seen.stop, last) - max(seen.start, first))
        else:
            own = int(torch.logical_and(seen >= first, seen < last).sum())
        rows.append(local.num_queries)
        edges.append(local.num_edges)
        halo.append(local.num_keys - own)
    return Placing(tuple(rows), tuple(edges), tuple(halo))
