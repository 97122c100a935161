"""CompleteGraph: every query attends to every key."""

from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import Tensor
from typing_extensions import Self

from graphattn.graphs.csr import row_pointer, rows_of
from graphattn.graphs.graph import Graph, Index
from graphattn.graphs.sizes import Counts, abbreviate, parse_sizes


@dataclass(frozen=True, init=False, repr=False)
class CompleteGraph(Graph):
    """Every query attends to every key of its example: a sentence, a set; rectangular, cross attention.

    Args:
        num_queries: number of queries, or one int per example of a batch.
        num_keys: number of keys, likewise; the same nodes as the queries by default.

    >>> CompleteGraph(1_000_000).num_edges
    1000000000000
    >>> CompleteGraph(2, 3).edge_index()
    tensor([[0, 1, 2, 0, 1, 2],
            [0, 0, 0, 1, 1, 1]])
    >>> CompleteGraph([3, 5])
    CompleteGraph([3, 5])
    """

    def __init__(self, num_queries: Counts, num_keys: Counts | None = None):
        self._freeze(sizes=parse_sizes(num_queries, num_keys), edges_by_key=False)

    def _restore(self, sizes, edges_by_key):
        super()._restore(sizes, edges_by_key)

    def allows(self, query: Index, key: Index) -> Tensor:
        local, _, _, same = self._locate(query, key)
        return (same & (local == local)).expand(torch.broadcast_shapes(local.shape, torch.as_tensor(key).shape))

    @property
    def num_edges(self) -> int:
        return sum(queries * keys for queries, keys in self.sizes)

    @property
    def is_symmetric(self) -> bool:
        return all(queries == keys for queries, keys in self.sizes)

    def _build_degrees(self, device: torch.device) -> Tensor:
        num_keys = torch.tensor([keys for _, keys in self.sizes], device=device)
        if self.num_examples == 1:
            return num_keys.repeat(self.num_queries)
        return num_keys[self.batch(device)]

    def _rows(self, device: torch.device) -> tuple[Tensor, Tensor]:
        degrees = self.degrees(device)
        _, _, first_key = self._local_queries(device)
        if self.num_examples == 1:
            return degrees, torch.arange(self.num_keys, device=device).repeat(self.num_queries)
        start = row_pointer(degrees)
        row = rows_of(start)
        return degrees, torch.arange(row.numel(), device=device) - start[row] + torch.as_tensor(
            first_key, device=device
        )[row]

    def _transposed(self) -> Graph:
        return self._of([(keys, queries) for queries, keys in self.sizes], not self.edges_by_key)

    def _split(self) -> list[Graph]:
        return [self._of([size], self.edges_by_key) for size in self.sizes]

    @classmethod
    def _join(cls, graphs: list[Self]) -> Graph | None:
        if len({graph.edges_by_key for graph in graphs}) > 1:
            return None
        return cls._of([size for graph in graphs for size in graph.sizes], graphs[0].edges_by_key)

    @classmethod
    def _of(cls, sizes: Iterable[tuple[int, int]], edges_by_key: bool) -> Self:
        graph = cls.__new__(cls)
        graph._freeze(sizes=tuple(sizes), edges_by_key=edges_by_key)
        return graph

    def _describe(self) -> str:
        queries, keys = ([size[axis] for size in self.sizes] for axis in (0, 1))
        shown = abbreviate(queries) if queries == keys else f"{abbreviate(queries)}, {abbreviate(keys)}"
        return f"CompleteGraph({shown})"
