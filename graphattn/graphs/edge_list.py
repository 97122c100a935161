"""EdgeListGraph: the given edges."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.types import Device
from typing_extensions import Self

from graphattn.graphs.copied import Copied, copied
from graphattn.graphs.csr import CSR, compress_edges, index_dtype, rows_of
from graphattn.graphs.graph import Graph, Index
from graphattn.graphs.sizes import (
    Counts,
    Sizes,
    abbreviate,
    parse_flag,
    parse_pairs,
    parse_sizes,
    starts_and_total,
    totals,
)
from graphattn.graphs.snapshots import plain, snapshot
from graphattn.graphs.sorting import loops_for

INDEX_DTYPES = (torch.int64, torch.int32, torch.int16, torch.int8, torch.uint8)


@dataclass(frozen=True, init=False, repr=False, eq=False)
class EdgeListGraph(Graph):
    """The edges in the columns of `edge_index`: a molecule, a social network, anything.

    A multiset, as in PyTorch Geometric: a repeated column counts twice and keeps its own bias and features.
    `coalesce()` makes it a set. Edges keep the order of the columns; the sorted form (CSR) is made once, when
    first needed. Two edge lists are equal only if they are the same object.

    Args:
        edge_index: integers `[2, num_edges]`, row 0 = key (source), row 1 = query (target). It is copied, as int32 if
            it is that or many numbers that fit: what is written into it later changes no graph. Edges of a batch use
            the numbering of the nodes laid end to end.
        num_queries: number of queries, or one int per example of a batch.
        num_keys: number of keys, likewise; the same nodes as the queries by default.
        is_undirected: a promise that every edge is there in both directions (equally often).

    >>> graph = EdgeListGraph(torch.tensor([[5, 0, 2], [1, 3, 1]]), num_queries=4, num_keys=6)
    >>> graph
    EdgeListGraph(num_queries=4, num_keys=6, num_edges=3)
    >>> csr = graph.csr()
    >>> csr.rowptr.tolist(), csr.col.tolist(), csr.edge_id.tolist()
    ([0, 0, 2, 2, 3], [2, 5, 0], [2, 0, 1])
    """

    _edges: Tensor  # int64 or int32 [2, num_edges], in memory that nobody else has and nobody writes
    is_undirected: bool

    __eq__, __hash__ = object.__eq__, object.__hash__  # a cache asks often: no edges are compared

    def __init__(
        self, edge_index: Tensor, num_queries: Counts, num_keys: Counts | None = None, is_undirected: bool = False
    ):
        sizes = parse_sizes(num_queries, num_keys)
        _check_edge_index(edge_index)
        self._set_copy(sizes, copied(edge_index, sizes), is_undirected)

    def _set(self, sizes: Iterable[tuple[int, int]], edges: Tensor, is_undirected: bool) -> None:
        self._freeze(sizes=tuple(sizes), edges_by_key=False, _edges=edges, is_undirected=bool(is_undirected))

    def _set_checked(self, sizes: Sizes, edges: Tensor, is_undirected: bool) -> None:
        _check_pairs(sizes)
        self._set(sizes, edges, is_undirected)
        if edges.device.type == "cpu":  # elsewhere in csr(), once: reading a result there waits for the device
            self.remember("checked", self._check_range)

    def _set_copy(self, sizes: Sizes, copy: Copied, is_undirected: bool) -> None:
        if copy.is_sorted is None:
            self._set_checked(sizes, copy.edges, is_undirected)
            return
        _check_pairs(sizes)
        self._set(sizes, copy.edges, is_undirected)
        self._cache.update(checked=True, is_sorted=copy.is_sorted)

    def __getstate__(self) -> dict[str, Any]:
        state = self._fields()
        return {"edges": state.pop("_edges"), **state}

    def _restore(self, sizes, edges_by_key, edges, is_undirected):
        _check_edge_index(edges)
        sizes = parse_pairs(sizes)
        self._set_copy(sizes, copied(edges, sizes), parse_flag("is_undirected", is_undirected))

    @classmethod
    def _of(cls, *args: Any) -> Self:
        graph = cls.__new__(cls)
        graph._set(*args)
        return graph

    @classmethod
    def owning(
        cls, edges: Tensor, num_queries: Counts, num_keys: Counts | None = None, is_undirected: bool = False
    ) -> "EdgeListGraph":
        """The graph of `edges`, int64 or int32 [2, num_edges] in memory that the caller gives away: it is not copied."""
        graph = cls.__new__(cls)
        graph._set_checked(parse_sizes(num_queries, num_keys), edges, is_undirected)
        return graph

    @classmethod
    def of_copy(cls, copy: Copied, sizes: Sizes, is_undirected: bool = False) -> "EdgeListGraph":
        """The graph of edges that were copied for it, looked through no more than is left to."""
        graph = cls.__new__(cls)
        graph._set_copy(sizes, copy, is_undirected)
        return graph

    @classmethod
    def of_rows(cls, csr: CSR, num_keys: int) -> "EdgeListGraph":
        """The graph of sorted rows that another graph has checked; they are kept as they are, not sorted again."""
        num_queries = csr.rowptr.numel() - 1
        graph = cls._of([(num_queries, num_keys)], torch.stack([csr.col.long(), rows_of(csr.rowptr)]), False)
        graph.remember("checked", lambda: True)
        graph.remember_on("csr", csr.col.device, lambda _: csr)
        return graph

    @classmethod
    def from_csr(
        cls, rowptr: Tensor, col: Tensor, num_keys: Counts | None = None, is_undirected: bool = False
    ) -> "EdgeListGraph":
        """The graph with key `col[j]` for j in `rowptr[i] .. rowptr[i + 1] - 1` at query i.

        >>> EdgeListGraph.from_csr(torch.tensor([0, 2, 2]), torch.tensor([0, 4]), num_keys=5).edge_index()
        tensor([[0, 4],
                [0, 0]])
        """
        for name, x in (("rowptr", rowptr), ("col", col)):
            if not isinstance(x, Tensor):
                raise TypeError(f"{name!r} must be a tensor (got {type(x).__name__})")
        _check_rows(rowptr, col)
        rowptr, col = (snapshot(_check_indices(name, x)).long() for name, x in (("rowptr", rowptr), ("col", col)))
        check_rowptr(rowptr, col)
        return cls.owning(torch.stack([col, rows_of(rowptr)]), rowptr.numel() - 1, num_keys, is_undirected)

    @property
    def edges(self) -> Tensor:
        """`edge_index()`: int64 `[2, num_edges]`, a copy."""
        return self.edge_index()

    @property
    def device(self) -> torch.device:
        return self._edges.device

    @property
    def num_edges(self) -> int:
        return self._edges.size(1)

    @property
    def is_symmetric(self) -> bool:
        return self.is_undirected

    @property
    def has_own_order(self) -> bool:
        return True

    @property
    def has_repeats(self) -> bool:
        return self.remember("has_repeats", self._find_repeats)

    def _find_repeats(self) -> bool:
        csr = self.by_query()
        is_same = csr.col[1:] == csr.col[:-1]  # as the entry before, which may be of the row before
        starts = csr.rowptr[1:-1].long()
        is_same[starts[(starts > 0) & (starts < csr.col.numel())] - 1] = False
        return bool(is_same.any())

    @property
    def _places(self) -> Tensor:
        """query * num_keys + key of each edge, ascending."""

        def build() -> Tensor:
            csr = self.by_query()
            return rows_of(csr.rowptr) * self.num_keys + csr.col

        return self.remember("places", build)

    def allows(self, query: Index, key: Index) -> Tensor:
        query, key = (torch.as_tensor(index, device=self.device) for index in (query, key))
        place = query * self.num_keys + key
        if self.num_edges == 0:
            return torch.zeros_like(place, dtype=torch.bool)
        found = torch.searchsorted(self._places, place).clamp(max=self.num_edges - 1)
        return self._places[found] == place

    def mask(self, device: Device = None) -> Tensor:
        key, query = self.edge_index(device)
        mask = torch.zeros(self.shape, dtype=torch.bool, device=query.device)
        mask[query, key] = True
        return mask

    def edge_index(self, device: Device = None) -> Tensor:
        return self._edges.to(self.device if device is None else device, torch.int64, copy=True)

    def _edges_up_to(self, *sizes: int) -> Tensor:
        """The edges, in a dtype that holds numbers up to these sizes."""
        return self._edges if index_dtype(*sizes) == torch.int32 else self._edges.long()

    def coalesce(self) -> "EdgeListGraph":
        """Every edge once, by (query, key).

        >>> EdgeListGraph(torch.tensor([[1, 0, 1], [0, 1, 0]]), 2).coalesce().edge_index()
        tensor([[1, 0],
                [0, 1]])
        """
        places = torch.unique_consecutive(self._places)
        edges = torch.stack([places % max(self.num_keys, 1), places // max(self.num_keys, 1)])
        return self._of(self.sizes, edges, self.is_undirected)

    def _rows(self, device: torch.device) -> tuple[Tensor, Tensor]:
        csr = self.by_query(device)
        return csr.rowptr.diff().long(), csr.col.long()

    def _build_csr(self, device: torch.device) -> CSR:
        if device != self.device:
            return self.by_query().to(device)
        self.remember("checked", self._check_range)
        key, query = self._edges.unbind()
        csr = compress_edges(query, key, self.num_queries, self.num_keys, self.known("is_sorted"))
        if self.num_examples > 1:
            self._check_examples(csr)
        return csr

    def _build_csr_transposed(self, device: torch.device) -> CSR:
        self.by_query(device)  # checks the indices, and names them as the caller does
        return self.T.by_query(device)

    def _ordered(self, edges_by_key: bool) -> Graph:
        csr = self.by_key() if edges_by_key else self.by_query()
        edges = torch.stack([csr.col.long(), rows_of(csr.rowptr)])
        return self._of(self.sizes, edges.flip(0) if edges_by_key else edges, self.is_undirected)

    def _transposed(self) -> Graph:
        sizes = [(keys, queries) for queries, keys in self.sizes]
        return self._of(sizes, self._edges.flip(0), self.is_undirected)

    def _split(self) -> list[Graph]:
        own = self._edges_up_to(*self.shape)
        query_ptr = torch.tensor(self.query_ptr, dtype=own.dtype, device=self.device)
        example = torch.bucketize(own[1], query_ptr, right=True) - 1
        order = torch.argsort(example, stable=True)
        counts = torch.bincount(example, minlength=self.num_examples).tolist()
        return [
            self._of([size], edges - edges.new_tensor([[first_key], [first_query]]), self.is_undirected)
            for size, edges, first_key, first_query in zip(
                self.sizes, own[:, order].split(counts, dim=1), self.key_ptr, self.query_ptr
            )
        ]

    @classmethod
    def _join(cls, graphs: list[Self]) -> Graph | None:
        if len({graph.device for graph in graphs}) > 1:
            raise ValueError(f"graphs of one batch must be on one device (got {[str(g.device) for g in graphs]})")
        sizes = [size for graph in graphs for size in graph.sizes]
        key_ptr = starts_and_total(graph.num_keys for graph in graphs)
        query_ptr = starts_and_total(graph.num_queries for graph in graphs)
        own = [graph._edges_up_to(key_ptr[-1], query_ptr[-1]) for graph in graphs]
        edges = [
            edges + edges.new_tensor([[first_key], [first_query]])
            for edges, first_key, first_query in zip(own, key_ptr, query_ptr)
        ]
        return cls._of(sizes, torch.cat(edges, dim=1), all(graph.is_undirected for graph in graphs))

    def _map_tensors(self, function: Callable[[Tensor], Tensor]) -> Self:
        moved = function(self._edges)
        return self if moved is self._edges else self._of(self.sizes, moved, self.is_undirected)

    def _describe(self) -> str:
        queries, keys = (abbreviate([size[axis] for size in self.sizes]) for axis in (0, 1))
        return f"EdgeListGraph(num_queries={queries}, num_keys={keys}, num_edges={self.num_edges})"

    # Checks -----------------------------------------------------------------------------------------------------------

    def _check_range(self) -> bool:
        key, query = self._edges
        loops = loops_for(key, query)
        if loops is not None and not loops.some_outside(key, query, self.num_keys, self.num_queries):
            return True
        for name, index, size in (("key", key, self.num_keys), ("query", query, self.num_queries)):
            if index.numel() == 0:
                continue
            low, high = (int(bound) for bound in index.aminmax())
            if low < 0 or high >= size:
                raise ValueError(
                    f"'edge_index' names {name} {low if low < 0 else high}, but there are {size} "
                    f"{'keys' if name == 'key' else 'queries'} (indices 0 to {size - 1}); "
                    f"row 0 holds keys (sources), row 1 queries (targets)"
                )
        return True

    def _check_examples(self, csr: CSR) -> None:
        row, first_keys = rows_of(csr.rowptr), torch.tensor(self.key_ptr, device=csr.col.device)
        example = self.batch(csr.col.device)[row]
        crosses = (csr.col < first_keys[example]) | (csr.col >= first_keys[example + 1])
        if crosses.any():
            entry = int(crosses.nonzero()[0])
            query, key = int(row[entry]), int(csr.col[entry])
            raise ValueError(
                f"edges must stay inside their example (got key {key} for query {query} of example "
                f"{int(example[entry])}, whose keys are {self.key_ptr[int(example[entry])]} to "
                f"{self.key_ptr[int(example[entry]) + 1] - 1}); number the nodes through the batch laid end to end"
            )


def _check_edge_index(edge_index: Any) -> None:
    if not isinstance(edge_index, Tensor):
        raise TypeError(f"'edge_index' must be a tensor (got {type(edge_index).__name__}); see graphattn.as_graph")
    _check_indices("edge_index", edge_index)
    if edge_index.dim() != 2 or edge_index.size(0) != 2:
        raise ValueError(f"'edge_index' must have shape [2, num_edges] (got {list(edge_index.shape)})")


def _check_indices(name: str, x: Tensor) -> Tensor:
    if x.dtype not in INDEX_DTYPES:
        raise TypeError(f"{name!r} must hold integers (got {x.dtype})")
    if plain(x).layout != torch.strided:
        raise TypeError(f"{name!r} must be dense (got {plain(x).layout}); see graphattn.as_graph")
    return x


def _check_pairs(sizes: Sizes) -> None:
    queries, keys = totals(sizes)
    if queries * keys >= 2**63:  # query * num_keys + key sorts and finds edges
        raise ValueError(f"an edge list has fewer than 2^63 pairs of nodes (got {queries} queries and {keys} keys)")


def check_rowptr(rowptr: Tensor, col: Tensor) -> None:
    """Where rows start, and one column for each entry; in memory that nobody else writes."""
    _check_rows(rowptr, col)
    if int(rowptr[0]) != 0 or int(rowptr[-1]) != col.numel() or bool((rowptr.diff() < 0).any()):
        raise ValueError(f"'rowptr' must rise from 0 to num_edges = {col.numel()} (got {rowptr})")


def _check_rows(rowptr: Tensor, col: Tensor) -> None:
    if rowptr.dim() != 1 or rowptr.numel() == 0 or col.dim() != 1:
        raise ValueError(
            f"'rowptr' must have shape [num_queries + 1] and 'col' [num_edges] "
            f"(got {list(rowptr.shape)} and {list(col.shape)})"
        )
