"""BatchedGraph and batch_graphs: graphs side by side."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, overload

import torch
from torch import Tensor
from torch.types import Device
from typing_extensions import Self

from graphattn.graphs.csr import CSR, index_dtype
from graphattn.graphs.graph import Graph, Index, whole
from graphattn.graphs.sizes import starts_and_total
from graphattn.graphs.starts import Starts

if TYPE_CHECKING:
    from graphattn.graphs.edge_list import EdgeListGraph


@dataclass(frozen=True, init=False, repr=False)
class BatchedGraph(Graph):
    """Graphs of different kinds laid end to end; no edge crosses from one to the next.

    `batch_graphs` makes one only where the graphs have no common kind.

    >>> from graphattn.graphs import CompleteGraph, causal
    >>> BatchedGraph([CompleteGraph(1), causal(2)]).mask().int()
    tensor([[1, 0, 0],
            [0, 1, 0],
            [0, 1, 1]], dtype=torch.int32)
    """

    graphs: tuple[Graph, ...]  # each of one or more examples

    def __init__(self, graphs: Iterable[Graph]):
        self._set(graphs)

    def _restore(self, sizes, edges_by_key, graphs):
        self._set(map(whole, graphs))

    def _set(self, graphs: Iterable[Graph]) -> None:
        members = _flatten(_check_graphs(graphs))
        common_device(members)
        sizes = tuple(size for graph in members for size in graph.sizes)
        self._freeze(sizes=sizes, edges_by_key=False, graphs=members)

    @property
    def device(self) -> torch.device | None:
        return common_device(self.graphs)

    @property
    def num_edges(self) -> int:
        return sum(graph.num_edges for graph in self.graphs)

    @property
    def is_symmetric(self) -> bool:
        return all(graph.is_symmetric for graph in self.graphs)

    @property
    def has_own_order(self) -> bool:
        return any(graph.has_own_order for graph in self.graphs)

    @property
    def has_repeats(self) -> bool:
        return any(graph.has_repeats for graph in self.graphs)

    @property
    def starts(self) -> Starts:
        return tuple(start for graph in self.graphs for start in graph.starts)

    def _starts(self) -> list[tuple[Graph, int, int]]:
        """Every graph with its first query and its first key in the batch."""
        queries = starts_and_total(graph.num_queries for graph in self.graphs)
        return list(zip(self.graphs, queries, starts_and_total(graph.num_keys for graph in self.graphs)))

    def allows(self, query: Index, key: Index) -> Tensor:
        query, key = (torch.as_tensor(index, device=self.device) for index in (query, key))
        allowed = torch.zeros_like(query + key, dtype=torch.bool)
        for graph, first_query, first_key in self._starts():
            if 0 in graph.shape:
                continue
            near_query = (query - first_query).clamp(0, graph.num_queries - 1)
            near_key = (key - first_key).clamp(0, graph.num_keys - 1)
            inside = (query == near_query + first_query) & (key == near_key + first_key)
            allowed = allowed | (inside & graph.allows(near_query, near_key))
        return allowed

    def edge_index(self, device: Device = None) -> Tensor:
        device = self._resolve(device)
        return torch.cat(
            [
                graph.edge_index(device) + torch.tensor([[first_key], [first_query]], device=device)
                for graph, first_query, first_key in self._starts()
            ],
            dim=1,
        )

    def _rows(self, device: torch.device) -> tuple[Tensor, Tensor]:
        csr = self.by_query(device)
        return csr.rowptr.diff().long(), csr.col.long()

    def _build_csr(self, device: torch.device) -> CSR:
        return _stack([(graph.by_query(device), first_key) for graph, _, first_key in self._starts()], self.shape)

    def _build_csr_transposed(self, device: torch.device) -> CSR:
        return _stack([(graph.by_key(device), first) for graph, first, _ in self._starts()], self.shape)

    def _build_degrees(self, device: torch.device) -> Tensor:
        return torch.cat([graph.degrees(device) for graph in self.graphs])

    def normal_form(self) -> Graph:
        return batch_graphs([graph.normal_form() for graph in self.graphs])

    def _ordered(self, edges_by_key: bool) -> Graph:
        return BatchedGraph([graph._ordered(edges_by_key) for graph in self.graphs])

    def _transposed(self) -> Graph:
        return BatchedGraph([graph.T for graph in self.graphs])

    def _split(self) -> list[Graph]:
        return [example for graph in self.graphs for example in graph.examples()]

    @classmethod
    def _join(cls, graphs: list[Self]) -> Graph | None:
        return cls(graphs)

    def _map_tensors(self, function: Callable[[Tensor], Tensor]) -> Self:
        graphs = [graph._map_tensors(function) for graph in self.graphs]
        return self if all(a is b for a, b in zip(graphs, self.graphs)) else type(self)(graphs)

    def _describe(self) -> str:
        shown = ", ".join(map(repr, self.graphs[:3])) + (", ..." if len(self.graphs) > 3 else "")
        return f"BatchedGraph([{shown}])" + (f" ({len(self.graphs)} graphs)" if len(self.graphs) > 3 else "")


@overload
def batch_graphs(graphs: Iterable["EdgeListGraph"]) -> "EdgeListGraph": ...


@overload
def batch_graphs(graphs: Iterable[Graph]) -> Graph: ...


def batch_graphs(graphs: Iterable[Graph]) -> Graph:
    """Graphs laid end to end: of one kind a ragged graph of that kind, else a `BatchedGraph`.

    Nodes and edges of the second graph follow those of the first. Batches are taken apart first, so that a
    batch of batches is one flat batch.

    >>> from graphattn.graphs import CompleteGraph, causal
    >>> batch_graphs([CompleteGraph(3), CompleteGraph(5)])
    CompleteGraph([3, 5])
    >>> batch_graphs([causal(3), CompleteGraph(2)])
    BatchedGraph([BandedGraph(3, before=2, after=0), CompleteGraph(2)])
    """
    graphs = _flatten(_check_graphs(graphs))
    if len(graphs) == 1:
        return graphs[0]
    kinds = {type(graph) for graph in graphs}
    joined = kinds.pop()._join(list(graphs)) if len(kinds) == 1 else None
    return BatchedGraph(graphs) if joined is None else joined


def _check_graphs(graphs: Iterable[Any]) -> list[Graph]:
    if isinstance(graphs, Graph):
        raise TypeError(f"'graphs' must be a list of graphs (got one {type(graphs).__name__})")
    graphs = list(graphs)
    if not graphs:
        raise ValueError("a batch has at least one graph (got an empty list)")
    for graph in graphs:
        if not isinstance(graph, Graph):
            raise TypeError(f"'graphs' must hold graphs (got {type(graph).__name__}); see graphattn.as_graph")
    return graphs


def _flatten(graphs: list[Graph]) -> tuple[Graph, ...]:
    return tuple(
        member for graph in graphs for member in (graph.graphs if isinstance(graph, BatchedGraph) else (graph,))
    )


def common_device(graphs: Iterable[Graph]) -> torch.device | None:
    """The device of the graphs that have one, None if none has; ValueError if they are on several."""
    devices = {graph.device for graph in graphs} - {None}
    if len(devices) > 1:
        raise ValueError(f"graphs must be on one device (got {sorted(map(str, devices))}); use graph.to(device)")
    return devices.pop() if devices else None


def _stack(parts: list[tuple[CSR, int]], shape: tuple[int, int]) -> CSR:
    """CSR of graphs side by side, each with its first column in the batch."""
    first_edges = starts_and_total(csr.col.numel() for csr, _ in parts)
    dtype = index_dtype(*shape, first_edges[-1])
    starts = [csr.rowptr[:-1].to(dtype) + first_edge for (csr, _), first_edge in zip(parts, first_edges)]
    rowptr = torch.cat([*starts, starts[0].new_full((1,), first_edges[-1])])
    col = torch.cat([csr.col.to(dtype) + first_col for csr, first_col in parts])
    if all(csr.edge_id is None for csr, _ in parts):
        return CSR(rowptr, col, None)
    edge_id = [_edge_ids(csr).to(dtype) + first_edge for (csr, _), first_edge in zip(parts, first_edges)]
    return CSR(rowptr, col, torch.cat(edge_id))


def _edge_ids(csr: CSR) -> Tensor:
    return torch.arange(csr.col.numel(), device=csr.col.device) if csr.edge_id is None else csr.edge_id
