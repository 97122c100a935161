"""Union, intersection and complement of graphs: `|`, `&`, `~`. They stay symbolic."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import reduce
from typing import Any

import torch
from torch import Tensor
from typing_extensions import Self

from graphattn.graphs.banded import BandedGraph, intersect_bands, unite_bands
from graphattn.graphs.batched import common_device
from graphattn.graphs.complete import CompleteGraph
from graphattn.graphs.csr import row_pointer, rows_of
from graphattn.graphs.graph import Graph, Index, whole
from graphattn.graphs.grid import GridGraph, intersect_grids
from graphattn.graphs.sizes import parse_flag
from graphattn.graphs.starts import Starts, common_starts

CHUNK = 2**22  # pairs (query, key) that the complement tests at a time: some tens of MB


@dataclass(frozen=True, init=False, repr=False)
class _Combination(Graph):
    """What unions and intersections share: two or more graphs of equal sizes."""

    graphs: tuple[Graph, ...]

    def __init__(self, graphs: Iterable[Graph]):
        members = tuple(graphs)
        _check_operands(members)
        self._set(members)

    @classmethod
    def _of(cls, graphs: Iterable[Graph], edges_by_key: bool) -> Self:
        graph = cls.__new__(cls)
        graph._set(graphs, edges_by_key)
        return graph

    def _set(self, graphs: Iterable[Graph], edges_by_key: bool = False) -> None:
        # The order of the operands' own edges says nothing about ours.
        members = tuple(graph if graph.has_own_order else graph._ordered(False) for graph in graphs)
        self._freeze(sizes=members[0].sizes, edges_by_key=edges_by_key, graphs=members)

    def _restore(self, sizes, edges_by_key, graphs):
        graphs = tuple(map(whole, graphs))
        _check_operands(graphs)
        self._set(graphs, parse_flag("edges_by_key", edges_by_key))

    @property
    def device(self) -> torch.device | None:
        return common_device(self.graphs)

    @property
    def is_symmetric(self) -> bool:
        return all(graph.is_symmetric for graph in self.graphs)

    @property
    def starts(self) -> Starts:
        return common_starts([graph.starts for graph in self.graphs])

    def _transposed(self) -> Graph:
        return self._of([graph.T for graph in self.graphs], not self.edges_by_key)

    def _map_tensors(self, function: Callable[[Tensor], Tensor]) -> Self:
        graphs = [graph._map_tensors(function) for graph in self.graphs]
        return self if all(a is b for a, b in zip(graphs, self.graphs)) else self._of(graphs, self.edges_by_key)


@dataclass(frozen=True, init=False, repr=False)
class UnionGraph(_Combination):
    """Query and key are joined if they are in any of `graphs`; an edge of several counts once.

    >>> from graphattn.graphs import GlobalGraph, causal
    >>> (BandedGraph(5, 1, 1) | GlobalGraph(5, [0])).mask().int()
    tensor([[1, 1, 1, 1, 1],
            [1, 1, 1, 0, 0],
            [1, 1, 1, 1, 0],
            [1, 0, 1, 1, 1],
            [1, 0, 0, 1, 1]], dtype=torch.int32)
    """

    def allows(self, query: Index, key: Index) -> Tensor:
        allowed = self.graphs[0].allows(query, key)
        for graph in self.graphs[1:]:
            allowed = allowed | graph.allows(query, key)
        return allowed

    def _rows(self, device: torch.device) -> tuple[Tensor, Tensor]:
        places = sorted((_places(graph, device) for graph in self.graphs), key=Tensor.numel, reverse=True)
        return _rows_of_places(reduce(_merge, places), self)

    def normal_form(self) -> Graph:
        return union(*(graph.normal_form() for graph in self.graphs))._ordered(self.edges_by_key)

    def _split(self) -> list[Graph]:
        examples = zip(*(graph.examples() for graph in self.graphs))
        return [union(*graphs)._ordered(self.edges_by_key) for graphs in examples]

    def _describe(self) -> str:
        return _repr(self, " | ")


@dataclass(frozen=True, init=False, repr=False)
class IntersectionGraph(_Combination):
    """Query and key are joined if they are in all of `graphs`.

    >>> from graphattn.graphs import GlobalGraph, causal
    >>> (causal(4) & GlobalGraph(4, [1])).mask().int()
    tensor([[0, 0, 0, 0],
            [1, 1, 0, 0],
            [0, 1, 0, 0],
            [0, 1, 0, 0]], dtype=torch.int32)
    """

    def allows(self, query: Index, key: Index) -> Tensor:
        allowed = self.graphs[0].allows(query, key)
        for graph in self.graphs[1:]:
            allowed = allowed & graph.allows(query, key)
        return allowed

    def _rows(self, device: torch.device) -> tuple[Tensor, Tensor]:
        smallest = min(self.graphs, key=lambda graph: graph.num_edges)
        places = _places(smallest, device)
        for graph in self.graphs:
            if graph is not smallest:
                num_keys = max(1, self.num_keys)
                places = places[graph.allows(places // num_keys, places % num_keys)]
        return _rows_of_places(places, self)

    def normal_form(self) -> Graph:
        return intersection(*(graph.normal_form() for graph in self.graphs))._ordered(self.edges_by_key)

    def _split(self) -> list[Graph]:
        examples = zip(*(graph.examples() for graph in self.graphs))
        return [intersection(*graphs)._ordered(self.edges_by_key) for graphs in examples]

    def _describe(self) -> str:
        return _repr(self, " & ")


@dataclass(frozen=True, init=False, repr=False)
class ComplementGraph(Graph):
    """Query and key of one example are joined if they are not in `graph`.

    >>> from graphattn.graphs import causal
    >>> (~causal(3)).edge_index()
    tensor([[1, 2, 2],
            [0, 0, 1]])
    """

    graph: Graph

    def __init__(self, graph: Graph):
        _check_operands((graph,))
        self._set(graph)

    def _set(self, graph: Graph, edges_by_key: bool = False) -> None:
        self._freeze(sizes=graph.sizes, edges_by_key=edges_by_key, graph=graph)

    def _restore(self, sizes, edges_by_key, graph):
        _check_operands((whole(graph),))
        self._set(graph, parse_flag("edges_by_key", edges_by_key))

    @classmethod
    def _of(cls, *args: Any) -> Self:
        graph = cls.__new__(cls)
        graph._set(*args)
        return graph

    @property
    def device(self) -> torch.device | None:
        return self.graph.device

    @property
    def num_edges(self) -> int:
        return sum(queries * keys for queries, keys in self.sizes) - self.graph.num_edges

    @property
    def is_symmetric(self) -> bool:
        return self.graph.is_symmetric and all(queries == keys for queries, keys in self.sizes)

    @property
    def starts(self) -> Starts:
        return self.graph.starts

    def allows(self, query: Index, key: Index) -> Tensor:
        return CompleteGraph._of(self.sizes, False).allows(query, key) & ~self.graph.allows(query, key)

    def _build_degrees(self, device: torch.device) -> Tensor:
        return CompleteGraph._of(self.sizes, False).degrees(device) - self.graph.degrees(device)

    def _rows(self, device: torch.device) -> tuple[Tensor, Tensor]:
        keys = [torch.empty(0, dtype=torch.int64, device=device)]
        for (_, num_keys), query_start, query_stop, key_start in zip(
            self.sizes, self.query_ptr, self.query_ptr[1:], self.key_ptr
        ):
            key = torch.arange(key_start, key_start + num_keys, device=device)
            step = max(1, CHUNK // max(1, num_keys))
            for start in range(query_start, query_stop, step):
                query = torch.arange(start, min(start + step, query_stop), device=device)
                keys.append(key.expand(query.numel(), -1)[~self.graph.allows(query[:, None], key)])
        return self.degrees(device), torch.cat(keys)

    def normal_form(self) -> Graph:
        return complement(self.graph.normal_form())._ordered(self.edges_by_key)

    def _transposed(self) -> Graph:
        return self._of(self.graph.T, not self.edges_by_key)

    def _split(self) -> list[Graph]:
        return [complement(graph)._ordered(self.edges_by_key) for graph in self.graph.examples()]

    def _map_tensors(self, function: Callable[[Tensor], Tensor]) -> Self:
        graph = self.graph._map_tensors(function)
        return self if graph is self.graph else self._of(graph, self.edges_by_key)

    def _describe(self) -> str:
        return f"(~{self.graph!r})"


def union(*graphs: Graph) -> Graph:
    """`a | b | ...`: a `UnionGraph`, or something plainer where the union has a plainer name.

    >>> BandedGraph(9, 2, 0) | BandedGraph(9, 0, 1) | BandedGraph(9, 1, 0)
    BandedGraph(9, before=2, after=1)
    """
    _check_operands(graphs)
    members = _merge_pairs(_flatten(graphs, UnionGraph), _unite)
    return members[0] if len(members) == 1 else UnionGraph._of(members, False)


def intersection(*graphs: Graph) -> Graph:
    """`a & b & ...`: an `IntersectionGraph`, or something plainer where the intersection has a plainer name.

    >>> BandedGraph(9, None, 0) & BandedGraph(9, 2, 2)
    BandedGraph(9, before=2, after=0)
    """
    _check_operands(graphs)
    members = _merge_pairs(_flatten(graphs, IntersectionGraph), _intersect)
    return members[0] if len(members) == 1 else IntersectionGraph._of(members, False)


def complement(graph: Graph) -> Graph:
    """`~graph`: the pairs (query, key) of one example that are not in `graph`."""
    if isinstance(graph, ComplementGraph):
        return graph.graph._ordered(False) if graph.edges_by_key else graph.graph
    return ComplementGraph(graph)


def _unite(one: Graph, other: Graph) -> Graph | None:
    starts = common_starts((one.starts, other.starts))  # the result must not start elsewhere
    if one == other or (_is_complete(one) and one.starts == starts):
        return one
    if _is_complete(other) and other.starts == starts:
        return other
    if isinstance(one, BandedGraph) and isinstance(other, BandedGraph):
        return unite_bands(one, other)
    return None


def _intersect(one: Graph, other: Graph) -> Graph | None:
    starts = common_starts((one.starts, other.starts))  # the result must not start elsewhere
    if one == other or (_is_complete(other) and one.starts == starts):
        return one
    if _is_complete(one) and other.starts == starts:
        return other
    if isinstance(one, BandedGraph) and isinstance(other, BandedGraph):
        return intersect_bands(one, other)
    if isinstance(one, GridGraph) and isinstance(other, GridGraph):
        return intersect_grids(one, other)
    return None


def _is_complete(graph: Graph) -> bool:
    return isinstance(graph, (CompleteGraph, BandedGraph)) and isinstance(graph.normal_form(), CompleteGraph)


def _merge_pairs(graphs: list[Graph], merge: Callable[[Graph, Graph], Graph | None]) -> list[Graph]:
    """The graphs with every two that `merge` into one replaced by it, until no two do."""
    kept: list[Graph] = []
    for graph in graphs:
        for place, other in enumerate(kept):
            merged = merge(other, graph)
            if merged is not None:
                kept[place] = merged
                break
        else:
            kept.append(graph)
    return kept if len(kept) == len(graphs) else _merge_pairs(kept, merge)


def _flatten(graphs: Iterable[Graph], kind: type[_Combination]) -> list[Graph]:
    return [member for graph in graphs for member in (graph.graphs if type(graph) is kind else (graph,))]


def _check_operands(graphs: Sequence[Any]) -> None:
    if not graphs:
        raise ValueError("'|' and '&' join at least one graph (got none)")
    for graph in graphs:
        if not isinstance(graph, Graph):
            sizes = next((each.shape for each in graphs if isinstance(each, Graph)), ("num_queries", "num_keys"))
            raise TypeError(
                f"'|', '&' and '~' join graphs (got {type(graph).__name__}); make a graph of an edge_index, a mask, a sparse"
                f" matrix or a network by graphattn.as_graph(x, {sizes[0]}, {sizes[1]})"
            )
        if graph.sizes != graphs[0].sizes:
            raise ValueError(
                f"'|' and '&' need graphs of equal sizes (got {graphs[0]!r} with {_shown(graphs[0])} "
                f"and {graph!r} with {_shown(graph)})"
            )
        if graph.has_repeats:
            raise ValueError(
                f"'|', '&' and '~' are defined on sets (got {graph!r} with repeated edges); coalesce() first"
            )
    common_device(graphs)


def _shown(graph: Graph) -> str:
    examples = "" if graph.num_examples == 1 else f" in {graph.num_examples} examples"
    return f"{graph.num_queries} queries and {graph.num_keys} keys{examples}"


def _places(graph: Graph, device: torch.device) -> Tensor:
    """query * num_keys + key of every edge, ascending."""
    degrees, key = graph._rows(device)
    return rows_of(row_pointer(degrees)) * graph.num_keys + key


def _merge(many: Tensor, few: Tensor) -> Tensor:
    """The union of two sets of places, each ascending: without sorting `many` again."""
    place = torch.searchsorted(many, few)
    is_new = many[place.clamp(max=many.numel() - 1)] != few if many.numel() else torch.ones_like(few, dtype=torch.bool)
    few, place = few[is_new], place[is_new]
    from_few = torch.zeros(many.numel() + few.numel(), dtype=torch.bool, device=many.device)
    from_few[place + torch.arange(few.numel(), device=many.device)] = True
    merged = many.new_empty(from_few.numel())
    merged[from_few], merged[~from_few] = few, many
    return merged


def _rows_of_places(places: Tensor, graph: Graph) -> tuple[Tensor, Tensor]:
    num_keys = max(1, graph.num_keys)
    return torch.bincount(places // num_keys, minlength=graph.num_queries), places % num_keys


def _repr(graph: _Combination, sign: str) -> str:
    return f"({sign.join(map(repr, graph.graphs))})"
