"""PrefixGraph: a prefix whose nodes see each other, then causal."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.types import Device
from typing_extensions import Self

from graphattn.graphs.banded import BandedGraph
from graphattn.graphs.complete import CompleteGraph
from graphattn.graphs.csr import row_pointer, rows_of
from graphattn.graphs.graph import Graph, Index
from graphattn.graphs.sizes import Counts, abbreviate, parse_counts, parse_flag, parse_pairs, parse_sizes
from graphattn.graphs.transposed import TransposedGraph


@dataclass(frozen=True, init=False, repr=False)
class PrefixGraph(Graph):
    """Nodes of the prefix attend to the whole prefix, later ones to themselves and all nodes before them.

    The mask of a prefix language model (Raffel et al. 2020, T5, section 3.2.1): the given text is read in both directions,
    what follows is written from left to right.

    Args:
        num_nodes: number of nodes, or one int per example of a batch.
        prefix: how many of the first nodes are the prefix, an int or one per example; 0 is causal, more nodes than an
            example has are all of them.

    >>> PrefixGraph(5, prefix=3).mask().int()
    tensor([[1, 1, 1, 0, 0],
            [1, 1, 1, 0, 0],
            [1, 1, 1, 0, 0],
            [1, 1, 1, 1, 0],
            [1, 1, 1, 1, 1]], dtype=torch.int32)
    """

    prefix: tuple[int, ...]  # one per example, at most its nodes

    def __init__(self, num_nodes: Counts, prefix: Counts):
        sizes, lengths = parse_sizes(num_nodes), parse_counts("prefix", prefix)
        if len(lengths) not in (1, len(sizes)):
            raise ValueError(
                f"'prefix' must be an int or one per example (got {len(lengths)} for {len(sizes)} examples)"
            )
        self._set(sizes, lengths * (len(sizes) if len(lengths) == 1 else 1))

    def _set(self, sizes: Sequence[tuple[int, int]], prefix: Sequence[int], edges_by_key: bool = False) -> None:
        prefix = tuple(min(length, size[0]) for length, size in zip(prefix, sizes))
        self._freeze(sizes=tuple(sizes), edges_by_key=edges_by_key, prefix=prefix)

    def _restore(self, sizes, edges_by_key, prefix):
        sizes, prefix = parse_pairs(sizes), parse_counts("prefix", prefix)
        if len(prefix) != len(sizes) or any(queries != keys for queries, keys in sizes):
            raise ValueError(
                f"'prefix' must hold one int per example of as many keys as queries (got {prefix} for {sizes})"
            )
        self._set(sizes, prefix, parse_flag("edges_by_key", edges_by_key))

    @classmethod
    def _of(cls, *args: Any) -> Self:
        graph = cls.__new__(cls)
        graph._set(*args)
        return graph

    def sees_next(self, device: Device = None) -> Tensor:
        """True for the nodes that see the one after them, all of the prefix but its last: bool `[num_nodes]`.

        They have nothing to predict: a loss leaves them out.

        >>> PrefixGraph([4, 3], prefix=[2, 0]).sees_next().tolist()
        [True, False, False, False, False, False, False]
        """
        node, prefix = self._places(self._resolve(device))
        return node + 1 < prefix

    def allows(self, query: Index, key: Index) -> Tensor:
        query, key, example, same = self._locate(query, key)
        return ((key <= query) | (key < self._per_example(self.prefix, example))) & same

    @property
    def num_edges(self) -> int:
        return sum(
            length**2 + (size * (size + 1) - length * (length + 1)) // 2
            for (size, _), length in zip(self.sizes, self.prefix)
        )

    @property
    def is_symmetric(self) -> bool:
        return all(length >= size - (size == 1) for (size, _), length in zip(self.sizes, self.prefix))

    def _places(self, device: torch.device) -> tuple[Tensor, Index]:
        """Of each node: its index inside the example, and the prefix of that example."""
        node, example, _ = self._local_queries(device)
        return node, self._per_example(self.prefix, example)

    def _build_degrees(self, device: torch.device) -> Tensor:
        node, prefix = self._places(device)
        return torch.maximum(node + 1, torch.as_tensor(prefix, device=device))

    def _rows(self, device: torch.device) -> tuple[Tensor, Tensor]:
        degrees, (_, _, first_key) = self.degrees(device), self._local_queries(device)
        start = row_pointer(degrees)
        row = rows_of(start)
        first_key = torch.as_tensor(first_key, device=device).expand(self.num_queries)
        return degrees, torch.arange(row.numel(), device=device) - start[row] + first_key[row]

    def normal_form(self) -> Graph:
        if all(length >= size for (size, _), length in zip(self.sizes, self.prefix)):
            return CompleteGraph._of(self.sizes, self.edges_by_key)
        if max(self.prefix) <= 1:
            offsets = (0,) * self.num_examples
            return BandedGraph._of(self.sizes, None, 0, 1, offsets, self.edges_by_key).normal_form()
        return self

    def _transposed(self) -> Graph:
        return TransposedGraph(self)

    def _split(self) -> list[Graph]:
        return [self._of([size], [length], self.edges_by_key) for size, length in zip(self.sizes, self.prefix)]

    @classmethod
    def _join(cls, graphs: list[Self]) -> Graph | None:
        if len({graph.edges_by_key for graph in graphs}) > 1:
            return None
        sizes = [size for graph in graphs for size in graph.sizes]
        return cls._of(sizes, [length for graph in graphs for length in graph.prefix], graphs[0].edges_by_key)

    def _describe(self) -> str:
        counts = abbreviate([count for count, _ in self.sizes])
        return f"PrefixGraph({counts}, prefix={abbreviate(self.prefix)})"
