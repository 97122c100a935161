"""GlobalGraph: some nodes see all and are seen by all."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, SupportsIndex

import numpy as np
import torch
from torch import Tensor
from typing_extensions import Self

from graphattn.graphs.complete import CompleteGraph
from graphattn.graphs.csr import row_pointer, rows_of
from graphattn.graphs.graph import Graph, Index
from graphattn.graphs.sizes import (
    Counts,
    abbreviate,
    is_sequence,
    parse_counts,
    parse_flag,
    parse_integer,
    parse_pairs,
    starts_and_total,
)


@dataclass(frozen=True, init=False, repr=False)
class GlobalGraph(Graph):
    """The nodes `nodes` attend to every node of their example, and every node attends to them.

    A star, a virtual node, a class token; the global tokens of Longformer (https://arxiv.org/abs/2004.05150).

    Args:
        num_nodes: number of nodes, or one int per example of a batch.
        nodes: the global nodes, in the numbering of the whole batch; order and repeats do not matter.

    >>> GlobalGraph(4, [1]).mask().int()
    tensor([[0, 1, 0, 0],
            [1, 1, 1, 1],
            [0, 1, 0, 0],
            [0, 1, 0, 0]], dtype=torch.int32)
    """

    nodes: tuple[int, ...]  # ascending

    def __init__(self, num_nodes: Counts, nodes: Sequence[SupportsIndex] | Tensor | np.ndarray):
        counts = parse_counts("num_nodes", num_nodes)
        self._set([(count, count) for count in counts], _parse_nodes(nodes, sum(counts)))

    def _set(self, sizes: Iterable[tuple[int, int]], nodes: Iterable[int], edges_by_key: bool = False) -> None:
        self._freeze(sizes=tuple(sizes), edges_by_key=edges_by_key, nodes=tuple(nodes))

    def _restore(self, sizes, edges_by_key, nodes):
        sizes = parse_pairs(sizes)
        if any(queries != keys for queries, keys in sizes):
            raise ValueError(f"'sizes' must be those of square graphs (got {sizes})")
        nodes = _parse_nodes(nodes, sum(count for count, _ in sizes))
        self._set(sizes, nodes, parse_flag("edges_by_key", edges_by_key))

    @classmethod
    def _of(cls, *args: Any) -> Self:
        graph = cls.__new__(cls)
        graph._set(*args)
        return graph

    def allows(self, query: Index, key: Index) -> Tensor:
        query, key = torch.as_tensor(query), torch.as_tensor(key)
        _, _, _, same = self._locate(query, key)
        nodes = torch.tensor(self.nodes, dtype=torch.int64, device=query.device)
        return same & (_is_among(query, nodes) | _is_among(key, nodes))

    @property
    def num_edges(self) -> int:
        return sum(
            2 * count * len(nodes) - len(nodes) ** 2 for (count, _), nodes in zip(self.sizes, self._nodes_of_examples())
        )

    @property
    def is_symmetric(self) -> bool:
        return True

    def _nodes_of_examples(self) -> list[tuple[int, ...]]:
        """Global nodes of each example, in the numbering of the batch."""
        if self.num_examples == 1:
            return [self.nodes]
        ends = torch.bucketize(torch.tensor(self.query_ptr), torch.tensor(self.nodes, dtype=torch.int64)).tolist()
        return [self.nodes[start:end] for start, end in pairwise(ends)]

    def _layout(self, device: torch.device) -> tuple[Tensor, Tensor, Index, Index]:
        """Of each query: whether it is global, its degree, its first key, and where its example's globals start."""
        _, example, first_key = self._local_queries(device)
        counts = [len(nodes) for nodes in self._nodes_of_examples()]
        is_global = torch.zeros(self.num_queries, dtype=torch.bool, device=device)
        is_global[torch.tensor(self.nodes, dtype=torch.int64, device=device)] = True
        num_keys = self._per_example([keys for _, keys in self.sizes], example)
        num_globals = self._per_example(counts, example)
        degrees = torch.where(is_global, torch.as_tensor(num_keys), torch.as_tensor(num_globals))
        return is_global, degrees.to(device), first_key, self._per_example(starts_and_total(counts)[:-1], example)

    def _build_degrees(self, device: torch.device) -> Tensor:
        return self._layout(device)[1]

    def _rows(self, device: torch.device) -> tuple[Tensor, Tensor]:
        is_global, degrees, first_key, first_global = self._layout(device)
        start = row_pointer(degrees)
        row = rows_of(start)
        step = torch.arange(row.numel(), device=device) - start[row]
        first_key, first_global = (torch.as_tensor(first, device=device).expand(self.num_queries)[row]
                                   for first in (first_key, first_global))  # fmt: skip
        nodes = torch.tensor((*self.nodes, 0), dtype=torch.int64, device=device)
        among_globals = nodes[(first_global + step).clamp(max=len(self.nodes))]
        return degrees, torch.where(is_global[row], first_key + step, among_globals)

    def normal_form(self) -> Graph:
        if len(self.nodes) == self.num_queries:
            return CompleteGraph._of(self.sizes, self.edges_by_key)
        return self

    def _transposed(self) -> Graph:
        return self._of(self.sizes, self.nodes, not self.edges_by_key)

    def _split(self) -> list[Graph]:
        return [
            self._of([size], [node - first for node in nodes], self.edges_by_key)
            for size, nodes, first in zip(self.sizes, self._nodes_of_examples(), self.query_ptr)
        ]

    @classmethod
    def _join(cls, graphs: list[Self]) -> Graph | None:
        if len({graph.edges_by_key for graph in graphs}) > 1:
            return None
        starts = starts_and_total(graph.num_queries for graph in graphs)
        nodes = [node + start for graph, start in zip(graphs, starts) for node in graph.nodes]
        return cls._of([size for graph in graphs for size in graph.sizes], nodes, graphs[0].edges_by_key)

    def _describe(self) -> str:
        counts = abbreviate([count for count, _ in self.sizes])
        nodes = list(self.nodes) if len(self.nodes) <= 6 else f"[{self.nodes[0]}, ..., {self.nodes[-1]}]"
        return f"GlobalGraph({counts}, nodes={nodes})"


def _is_among(index: Tensor, ascending: Tensor) -> Tensor:
    if ascending.numel() == 0:
        return torch.zeros_like(index, dtype=torch.bool)
    place = torch.searchsorted(ascending, index.contiguous()).clamp(max=ascending.numel() - 1)
    return ascending[place] == index


def _parse_nodes(nodes: Any, num_nodes: int) -> list[int]:
    if not is_sequence(nodes):
        raise TypeError(f"'nodes' must be a list of node indices (got {nodes!r}); wrap a single node: [node]")
    entries = nodes.tolist() if hasattr(nodes, "tolist") else nodes
    entries = sorted({parse_integer("nodes", node, minimum=None) for node in entries})
    if entries and (entries[0] < 0 or entries[-1] >= num_nodes):
        wrong = entries[0] if entries[0] < 0 else entries[-1]
        raise ValueError(f"'nodes' names node {wrong}, but there are {num_nodes} nodes (indices 0 to {num_nodes - 1})")
    return entries
