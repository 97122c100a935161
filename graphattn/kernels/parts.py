"""A graph as disjoint parts, each for its own kernel, and the exact sum of their results."""

from collections.abc import Callable
from functools import cache
from functools import partial as partial_of
from itertools import accumulate
from typing import Any, NamedTuple, overload

import torch
from torch import Tensor

from graphattn.graphs import (
    BandedGraph,
    BatchedGraph,
    CompleteGraph,
    EdgeListGraph,
    GlobalGraph,
    Graph,
    GridGraph,
    PrefixGraph,
    UnionGraph,
    batch_graphs,
)
from graphattn.kernels.kernel import Gradients, Inputs, Partial, accumulation_dtype

STRUCTURED = (CompleteGraph, BandedGraph, GridGraph, GlobalGraph, PrefixGraph)


class Part(NamedTuple):
    """Edges of a graph over some of its queries and keys; None stands for all of them, in order."""

    graph: Graph
    query_rows: Tensor | None = None
    key_rows: Tensor | None = None
    edges: Tensor | slice | None = None  # places of the edges in edge_index() of the graph

    @property
    def is_whole(self) -> bool:
        return self.query_rows is None and self.key_rows is None and self.edges is None


def disjoint_parts(graph: Graph, device: torch.device) -> list[Part]:
    """Parts whose edges, taken together, are those of `graph`, each edge once.

    A union keeps its most structured operand whole; whatever else it has becomes one edge list. Examples of a mixed batch
    are gathered by kind. Anything else is its own only part.
    """
    split = split_of(type(graph))
    return [Part(graph)] if split is None else graph.remember_on("disjoint parts", device, partial_of(split, graph))


@cache
def split_of(kind: type[Graph]) -> Callable[[Any, torch.device], list[Part]] | None:
    """What cuts graphs of this class into parts, None if nothing does."""
    return next((SPLITS[base] for base in kind.__mro__ if base in SPLITS), None)


def union_parts(graph: UnionGraph, device: torch.device) -> list[Part]:
    structured = [g for g in graph.graphs if isinstance(g, STRUCTURED)]
    if not structured:
        return [Part(EdgeListGraph(graph.edge_index(device), *sizes_of(graph)))]
    base = max(structured, key=lambda g: g.num_edges)
    others = [g.edge_index(device) for g in graph.graphs if g is not base]
    rest = torch.cat(others, 1) if others else torch.empty(2, 0, dtype=torch.long, device=device)
    rest = rest[:, ~base.allows(rest[1], rest[0])]
    edge_list = EdgeListGraph(rest, *sizes_of(graph)).coalesce()
    return disjoint_parts(base, device) + ([Part(edge_list)] if edge_list.num_edges else [])


def sizes_of(graph: Graph) -> tuple[list[int], list[int]]:
    """The arguments `num_queries, num_keys` of a graph with the same examples."""
    return [queries for queries, _ in graph.sizes], [keys for _, keys in graph.sizes]


def batch_parts(graph: BatchedGraph, device: torch.device) -> list[Part]:
    """Joins the members that batch into one graph of their kind; the others are parts of their own."""
    by_kind: dict[type, list[int]] = {}
    for place, member in enumerate(graph.graphs):
        by_kind.setdefault(type(member), []).append(place)
    parts = []
    for places in by_kind.values():
        joined = batch_graphs([graph.graphs[place] for place in places])
        for group in [places] if not isinstance(joined, BatchedGraph) else [[place] for place in places]:
            members = batch_graphs([graph.graphs[place] for place in group])
            rows = [member_rows(graph, group, side, device) for side in (0, 1)]
            parts += [nested(part, *rows) for part in disjoint_parts(members, device)]
    return parts


def member_rows(graph: BatchedGraph, places: list[int], side: int, device: torch.device) -> Tensor:
    """Queries (side 0) or keys (side 1) of some members, in the numbering of the batch."""
    starts = [0, *accumulate(member.shape[side] for member in graph.graphs)]
    return torch.cat([torch.arange(starts[place], starts[place + 1], device=device) for place in places])


def nested(part: Part, query_rows: Tensor, key_rows: Tensor) -> Part:
    """`part` of the graph that lies at these rows of a larger one."""
    return Part(
        part.graph,
        query_rows if part.query_rows is None else query_rows[part.query_rows],
        key_rows if part.key_rows is None else key_rows[part.key_rows],
    )


def global_parts(graph: GlobalGraph, device: torch.device) -> list[Part]:
    """Global nodes see everything; every other node sees the global nodes: two (ragged) complete graphs."""
    nodes = torch.tensor(graph.nodes, dtype=torch.long, device=device)
    is_global = torch.zeros(graph.num_queries, dtype=torch.bool, device=device)
    is_global[nodes] = True
    counts = [num_queries for num_queries, _ in graph.sizes]
    globals_of = torch.bincount(graph.batch(device)[nodes], minlength=len(counts)).tolist()
    others_of = [count - num_globals for count, num_globals in zip(counts, globals_of, strict=True)]
    return [
        Part(CompleteGraph(globals_of, counts), query_rows=nodes),
        Part(CompleteGraph(others_of, globals_of), query_rows=(~is_global).nonzero().flatten(), key_rows=nodes),
    ]


def prefix_parts(graph: PrefixGraph, device: torch.device) -> list[Part]:
    """The prefix sees itself, every later node all up to itself: a (ragged) complete graph and a causal one."""
    counts = [count for count, _ in graph.sizes]
    lengths = torch.tensor(graph.prefix, device=device)[graph.batch(device)]
    first_nodes = torch.tensor(graph.query_ptr[:-1], device=device)[graph.batch(device)]
    is_prefix = torch.arange(graph.num_queries, device=device) - first_nodes < lengths
    prefix, later = is_prefix.nonzero().flatten(), (~is_prefix).nonzero().flatten()
    num_later = [count - length for count, length in zip(counts, graph.prefix, strict=True)]
    return [
        Part(CompleteGraph(graph.prefix), query_rows=prefix, key_rows=prefix),
        Part(BandedGraph(num_later, None, 0, num_keys=counts, offset=graph.prefix), query_rows=later),
    ]


SPLITS: dict[type[Graph], Callable[[Any, torch.device], list[Part]]] = {
    UnionGraph: union_parts,
    BatchedGraph: batch_parts,
    GlobalGraph: global_parts,
    PrefixGraph: prefix_parts,
}


def take(inputs: Inputs, part: Part) -> Inputs:
    """The tensors at the rows and edges of a part. A graph with edge data is cut only where `part.edges` says how."""
    return inputs._replace(
        query=at_rows(inputs.query, part.query_rows),
        key=at_rows(inputs.key, part.key_rows),
        value=at_rows(inputs.value, part.key_rows),
        bias=at_rows(inputs.bias, part.edges),
        edge_features=at_rows(inputs.edge_features, part.edges),
        edge_query=at_rows(inputs.edge_query, part.query_rows),
    )


@overload
def at_rows(tensor: Tensor, rows: Tensor | slice | None) -> Tensor: ...


@overload
def at_rows(tensor: Tensor | None, rows: Tensor | slice | None) -> Tensor | None: ...


def at_rows(tensor: Tensor | None, rows: Tensor | slice | None) -> Tensor | None:
    return tensor if tensor is None or rows is None else tensor[rows]


def take_partial(partial: Partial, part: Part) -> Partial:
    return partial if part.query_rows is None else partial.each(partial_of(at_rows, rows=part.query_rows))


class Merger:
    """Adds up results of disjoint parts: for softmax, each weighted by its share of the exponentials.

    Sums are kept in float32 at least, whatever dtype the parts come in.

    out = sum over parts of exp(lse_part - lse) * out_part, with lse = logsumexp over parts (Milakov and Gimelshein 2018).
    """

    def __init__(self, merge: str | None, num_queries: int):
        self.merge = merge
        self.num_queries = num_queries
        self.total: Partial | None = None

    def nothing(self, like: Partial) -> Partial:
        """The result over no edges at all."""
        dtype = accumulation_dtype(like.out.dtype)
        empty = like.each(lambda x: x.new_zeros(self.num_queries, *x.shape[1:], dtype=dtype))
        return empty._replace(lse=empty.lse.fill_(-torch.inf))

    def add(self, partial: Partial, part: Part) -> None:
        if self.total is None and part.is_whole:
            self.total = partial
            return
        if self.total is None:
            self.total = self.nothing(partial)
        dtype = accumulation_dtype(self.total.out.dtype)
        self.total = self.total.each(lambda x: x.to(dtype))
        rows = slice(None) if part.query_rows is None else part.query_rows
        for total, new in zip(self.total, self.joined(take_partial(self.total, part), partial), strict=True):
            if total is not None and new is not None:
                total[rows] = new

    def joined(self, first: Partial, second: Partial) -> Partial:
        if self.merge != "lse":
            edge_out = first.edge_out
            if edge_out is not None and second.edge_out is not None:
                edge_out = edge_out + second.edge_out
            return Partial(first.out + second.out, first.lse + second.lse, edge_out)
        lse = torch.logaddexp(first.lse, second.lse)
        # Of the two alone, so that they add up to 1 where scores are large and `lse` is rounded.
        share = (first.lse - second.lse.masked_fill(lse == -torch.inf, 0.0)).sigmoid()[..., None]
        shares = share, 1 - share

        def mix(a: Tensor, b: Tensor) -> Tensor:
            return shares[0] * a + shares[1] * b

        edge_out = None
        if first.edge_out is not None and second.edge_out is not None:
            edge_out = mix(first.edge_out, second.edge_out)
        return Partial(mix(first.out, second.out), lse, edge_out)


def first_gradients(inputs: Inputs, gradients: Inputs | Gradients, part: Part) -> Inputs | Gradients:
    """Those of the first part, for those of others to be added to; where a part has all rows they are not copied."""
    if part.is_whole:
        return gradients
    summed: list[Tensor | None] = []
    left: list[Tensor | None] = []
    dtype = accumulation_dtype(inputs.query.dtype)
    for name, x, gradient in zip(Inputs._fields[:6], inputs[:6], gradients[:6], strict=True):
        is_sum = gradient is not None and gradient.dtype == dtype and gradient.is_contiguous()
        if x is None or (is_sum and rows_of_part(part, name) is None):
            summed.append(gradient)
            left.append(None)
        else:
            summed.append(torch.zeros_like(x, dtype=dtype, memory_format=torch.contiguous_format))
            left.append(gradient)
    total = Gradients.of(summed, tuple(torch.zeros_like(x, dtype=dtype) for x in inputs.parameters))
    add_gradients(total, Gradients.of(left, gradients.parameters), part)
    return total


def rows_of_part(part: Part, name: str) -> Tensor | slice | None:
    """Where the rows of a tensor of `Inputs` lie in that of the whole graph."""
    if name in ("bias", "edge_features"):
        return part.edges
    return part.query_rows if name in ("query", "edge_query") else part.key_rows


def add_gradients(total: Inputs | Gradients, part_gradients: Inputs | Gradients, part: Part) -> None:
    """Adds the gradients of a part in place, at its rows."""
    for name in Inputs._fields[:6]:  # a bias by offset goes with whole graphs only
        sum_, gradient, rows = getattr(total, name), getattr(part_gradients, name), rows_of_part(part, name)
        if sum_ is None or gradient is None:
            continue
        if isinstance(rows, Tensor):
            sum_.index_add_(0, rows, gradient.to(sum_.dtype))
        else:
            sum_[slice(None) if rows is None else rows] += gradient.to(sum_.dtype)
    for sum_, gradient in zip(total.parameters, part_gradients.parameters, strict=True):
        if sum_ is not None and gradient is not None:
            sum_.add_(gradient.to(sum_.dtype))
