"""TransposedGraph: `.T` of a graph whose class has no name for it."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor
from typing_extensions import Self

from graphattn.graphs.csr import CSR
from graphattn.graphs.graph import Graph, Index, whole
from graphattn.graphs.sizes import parse_flag
from graphattn.graphs.starts import Starts


@dataclass(frozen=True, init=False, repr=False)
class TransposedGraph(Graph):
    """Every edge of `graph` the other way round, such as the output grid of a strided convolution seen from its input.

    >>> from graphattn.graphs import GridGraph
    >>> GridGraph((2,), 1, stride=2).T.mask().int()
    tensor([[1, 0],
            [1, 1],
            [0, 1],
            [0, 1]], dtype=torch.int32)
    """

    graph: Graph  # its edges by (query, key)

    def __init__(self, graph: Graph):
        self._set(graph._ordered(False), not graph.edges_by_key)

    def _set(self, graph: Graph, edges_by_key: bool) -> None:
        sizes = tuple((keys, queries) for queries, keys in graph.sizes)
        self._freeze(sizes=sizes, edges_by_key=edges_by_key, graph=graph)

    def _restore(self, sizes, edges_by_key, graph):
        self._set(whole(graph)._ordered(False), parse_flag("edges_by_key", edges_by_key))

    def allows(self, query: Index, key: Index) -> Tensor:
        return self.graph.allows(key, query)

    @property
    def device(self) -> torch.device | None:
        return self.graph.device

    @property
    def num_edges(self) -> int:
        return self.graph.num_edges

    @property
    def starts(self) -> Starts:
        return tuple(start and start[::-1] for start in self.graph.starts)

    def _rows(self, device: torch.device) -> tuple[Tensor, Tensor]:
        csr = self.graph.by_key(device)
        return csr.rowptr.diff().long(), csr.col.long()

    def _build_degrees(self, device: torch.device) -> Tensor:
        return self.graph.by_key(device).rowptr.diff().long()

    def _build_csr(self, device: torch.device) -> CSR:
        return self.graph.by_key(device) if self.edges_by_key else super()._build_csr(device)

    def _build_csr_transposed(self, device: torch.device) -> CSR:
        return self.graph.by_query(device) if self.edges_by_key else super()._build_csr_transposed(device)

    def _transposed(self) -> Graph:
        # The graph itself would hold this one, and be held by it.
        return self.graph.twin(edges_by_key=not self.edges_by_key)

    def _map_tensors(self, function: Callable[[Tensor], Tensor]) -> Self:
        graph = self.graph._map_tensors(function)
        return self if graph is self.graph else self.twin(graph=graph)

    def _split(self) -> list[Graph]:
        return [TransposedGraph(graph)._ordered(self.edges_by_key) for graph in self.graph.examples()]

    @classmethod
    def _join(cls, graphs: list[Self]) -> Graph | None:
        kinds = {(type(graph.graph), graph.edges_by_key) for graph in graphs}
        joined = graphs[0].graph._join([graph.graph for graph in graphs]) if len(kinds) == 1 else None
        return None if joined is None else cls(joined)._ordered(graphs[0].edges_by_key)

    def _describe(self) -> str:
        return f"TransposedGraph({self.graph!r})"
