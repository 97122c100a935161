"""The own rows in two: those whose keys are all own wait for nobody, and are computed while keys of others are under way."""

from bisect import bisect_left
from collections.abc import Callable
from math import prod
from typing import NamedTuple

import torch
import torch.distributed as dist
from torch import Tensor

from graphattn.distributed.exchange import as_range, indices, total_of
from graphattn.distributed.parts import Part, Parts, Where
from graphattn.graphs import BandedGraph, CompleteGraph, EdgeListGraph, Graph, GridGraph, LocalGraph
from graphattn.graphs.local import numbers_at
from graphattn.graphs.rows import Places, cut, rows_between

# What must be computable before keys have come, so that a second call of the kernels pays: a share of all edges, and so many for
# each process. (Two more calls take 0.7 ms forward and backward, a tenth of what 50,000 edges of 4 heads x 16 channels do.)
LEAST_SHARE, LEAST_EDGES = 0.5, 50_000


class Piece(NamedTuple):
    """Some of the own rows with all their edges, so that no row is in two pieces."""

    graph: LocalGraph  # these rows x keys: received ones of lower ranks, own ones, received ones of higher ranks
    rows: Places | None  # among the own rows; None for all of them, of which some have no edges here
    low: slice  # among the rows received
    own: Places  # among the own keys
    high: slice  # among the rows received
    edges: Places  # among the edges of the own rows

    def keys(self, own: Tensor, received: Tensor) -> Tensor:
        """The rows of its keys."""
        if self.low.start == self.low.stop and self.high.start == self.high.stop:
            return own[self.own]
        return torch.cat([received[self.low], own[self.own], received[self.high]])


class Split(NamedTuple):
    """Pieces that hold all own rows."""

    inner: Piece  # of own keys alone
    outer: tuple[Piece, ...]  # one that all other rows are in, or the ranges before and behind the inner rows

    @property
    def num_outer_rows(self) -> int:
        """Rows that wait for keys of others."""
        return sum(piece.graph.num_queries for piece in self.outer)

    def map(self, function: Callable[[Tensor], Tensor]) -> "Split":
        """The same with its tensors mapped: moved to a device."""
        return Split(mapped(self.inner, function), tuple(mapped(piece, function) for piece in self.outer))


def mapped(piece: Piece, function: Callable[[Tensor], Tensor]) -> Piece:
    def at(places: Places) -> Places:
        return function(places) if isinstance(places, Tensor) else places

    rows = None if piece.rows is None else at(piece.rows)
    graph = piece.graph._map_tensors(function)
    return piece._replace(graph=graph, rows=rows, own=at(piece.own), edges=at(piece.edges))


def split_of(graph: Graph, where: Where, part: Part) -> Split | None:
    """The rows of the part that holds all own edges; None where no form of it splits."""
    if graph.edges_by_key:
        return None
    if isinstance(part.graph.graph, EdgeListGraph):
        return split_edges(part)
    is_grid = isinstance(graph, GridGraph) and graph.num_examples == 1
    if is_grid or type(graph) in (CompleteGraph, BandedGraph):
        return split_ranges(graph, where, part)
    return None


def split_that_pays(graph: Graph, where: Where, parts: Parts, group: dist.ProcessGroup) -> Split | None:
    """A split of all processes if enough of their edges, taken together, can be computed before keys have come; collective."""
    if len(parts.parts) != 1 or parts.strategy != "halo" or where.size == 1:
        return None
    (part,) = parts.parts
    split = split_of(graph, where, part)
    inner = 0 if split is None else split.inner.graph.num_edges
    counts = torch.tensor([inner, part.graph.num_edges, part.halo.num_received, split is None])
    inner, edges, received, refusals = total_of(counts, group).tolist()
    is_enough = inner >= LEAST_SHARE * edges and inner >= LEAST_EDGES * where.size
    return split if received and not refusals and is_enough else None


def split_ranges(graph: Graph, where: Where, part: Part) -> Split | None:
    """Rows of a formula: the inner ones are a range, as keys move on with the rows."""
    start, stop = where.rows
    first, last = where.key_ptr[where.rank], where.key_ptr[where.rank + 1]
    step = prod(graph.query_sides[0][1:]) if isinstance(graph, GridGraph) else 1
    if not step or start % step or stop % step or not isinstance(part.graph.key_numbers, int):
        return None

    def keys(row: int) -> slice:
        found = cut(graph, row, row + step).keys
        assert isinstance(found, slice)  # as those of formulas are
        return found

    rows = range(start, stop, step)
    begin = start + step * bisect_left(rows, True, key=lambda row: keys(row).start >= first)
    end = start + step * bisect_left(rows, True, key=lambda row: keys(row).stop > last)
    begin, end = (begin, end) if begin < end else (start, start)
    pieces = [range_piece(graph, where, part, *ends) for ends in ((start, begin), (begin, end), (end, stop))]
    found = [piece for piece in pieces if piece is not None]
    if len(found) < 3 or found[1].low.start < found[1].low.stop or found[1].high.start < found[1].high.stop:
        return None  # keys have moved back somewhere
    return Split(found[1], (found[0], found[2]))


def range_piece(graph: Graph, where: Where, part: Part, start: int, stop: int) -> Piece | None:
    """The rows start .. stop - 1 as a formula; None where they are none."""
    local, keys, edges = rows_between(graph, start, stop)
    fetched = part.graph.key_numbers
    assert isinstance(fetched, int)  # as split_ranges has seen
    if not local.num_keys:
        keys = slice(fetched, fetched)
    if not isinstance(keys, slice) or not isinstance(edges, slice):
        return None
    # Numbers of keys among the rows fetched, which are those received from lower ranks, own ones, and others received.
    ptr = (0, *part.own_keys, part.graph.num_keys)
    low, own, high = (
        slice(*(min(max(place - fetched, lower), upper) for place in (keys.start, keys.stop)))
        for lower, upper in zip(ptr, ptr[1:])  # noqa: RUF007
    )
    num_own = ptr[2] - ptr[1]
    first_own = part.halo.own.start if isinstance(part.halo.own, slice) else 0
    first_edge = edges_start(graph, where)
    return Piece(
        local,
        slice(start - where.rows[0], stop - where.rows[0]),
        low,
        slice(own.start - ptr[1] + first_own, own.stop - ptr[1] + first_own),
        slice(high.start - num_own, high.stop - num_own),
        slice(edges.start - first_edge, edges.stop - first_edge),
    )


def edges_start(graph: Graph, where: Where) -> int:
    """The place of the first own edge in the whole graph, whose edges are in the order of their queries."""
    edges = rows_between(graph, where.rows[0], where.rows[0]).edges
    assert isinstance(edges, slice)
    return edges.start


def split_edges(part: Part) -> Split:
    """Rows of given edges: those with a key of others, wherever they are, and all rows, in which they have no edges."""
    local, halo = part.graph, part.halo
    key, query = local.edge_index("cpu")
    is_outer = torch.zeros(local.num_queries, dtype=torch.bool)
    is_outer[query[part.is_foreign(key)]] = True
    in_outer = is_outer[query]
    inner_edges, outer_edges = (~in_outer).nonzero().flatten(), in_outer.nonzero().flatten()
    is_key = torch.zeros(local.num_keys, dtype=torch.bool)
    is_key[key[outer_edges]] = True
    rows, keys = is_outer.nonzero().flatten(), is_key.nonzero().flatten()
    all_rows, own_keys = torch.arange(local.num_queries), torch.arange(*part.own_keys)
    seen = indices(halo.own)[keys[~part.is_foreign(keys)] - halo.before]
    nothing = slice(0, 0)
    inner = Piece(among(local, inner_edges, all_rows, own_keys), None, nothing, halo.own, nothing, inner_edges)
    received = slice(0, halo.before), slice(halo.before, halo.num_received)
    outer = Piece(among(local, outer_edges, rows, keys), rows, received[0], as_range(seen), received[1], outer_edges)
    return Split(inner, (outer,))


def among(local: LocalGraph, edges: Tensor, rows: Tensor, keys: Tensor) -> LocalGraph:
    """Some edges of a graph over some of its queries and keys, rising."""
    key, query = local.edge_index("cpu")[:, edges]
    ends = [torch.tensor(ptr) for ptr in (local.query_ptr, local.key_ptr)]
    counts = [torch.searchsorted(places, end).diff().tolist() for places, end in zip((rows, keys), ends)]
    index = torch.stack([torch.searchsorted(keys, key), torch.searchsorted(rows, query)])
    graph: Graph = EdgeListGraph.owning(index, counts[0], counts[1])
    if local.device is not None:
        graph = graph.to(local.device)
    numbers = numbers_at(local.query_numbers, rows), numbers_at(local.key_numbers, keys)
    return LocalGraph(graph, local.frame, *(compact(x) for x in numbers))


def compact(numbers: Tensor) -> int | Tensor:
    """Numbers that go on one by one as their first."""
    places = as_range(numbers)
    return places.start if isinstance(places, slice) and len(numbers) else numbers
