"""Rows of a graph as a graph of their own: `graph.rows(start, stop)`."""

from collections.abc import Callable
from itertools import pairwise
from math import prod
from typing import Any, NamedTuple

import torch
from torch import Tensor

from graphattn.graphs.algebra import ComplementGraph, IntersectionGraph, UnionGraph
from graphattn.graphs.banded import BandedGraph, count_edges
from graphattn.graphs.batched import batch_graphs
from graphattn.graphs.block import BlockGraph, SlabGraph, parse_range
from graphattn.graphs.complete import CompleteGraph
from graphattn.graphs.csr import rows_of
from graphattn.graphs.edge_list import EdgeListGraph
from graphattn.graphs.global_ import GlobalGraph
from graphattn.graphs.graph import Graph
from graphattn.graphs.grid import GridGraph
from graphattn.graphs.local import LocalGraph, Numbers, frame_of, numbers_at
from graphattn.graphs.prefix import PrefixGraph

Places = slice | Tensor  # rows of a tensor: a range, or int64 indices, ascending


class Rows(NamedTuple):
    """Some queries of a graph, with the keys that they see.

    `attend(query[start:stop], key[rows.keys], value[rows.keys], rows.graph)` gives the rows start .. stop - 1 of
    `attend(query, key, value, graph)`; `bias[rows.edges]` and `edge_features[rows.edges]` are those of its edges.
    """

    graph: LocalGraph
    keys: Places  # of the whole graph
    edges: Places  # in edge_index() of the whole graph


class Cut(NamedTuple):
    """Queries of a graph of one example: their edges in the numbers of `keys`."""

    graph: Graph
    keys: Places


def rows_between(graph: Graph, start: int, stop: int) -> Rows:
    """The queries start .. stop - 1 of `graph`.

    Complete graphs, bands, prefixes and grids (cut between slabs of their first axis) stay formulas. Others, and grids cut
    elsewhere, are written out: as many edges as the rows have. Edges keep their order.
    """
    start, stop = parse_range(start, stop, graph.num_queries)
    if isinstance(graph, LocalGraph):
        inner = rows_between(graph.graph, start, stop)
        numbers = queries_from(graph.query_numbers, start, stop), keys_at(graph.key_numbers, inner.keys)
        return inner._replace(graph=LocalGraph(inner.graph.graph, graph.frame, *numbers))
    local, keys = cut(graph, start, stop)
    first_key = keys.start if isinstance(keys, slice) else keys
    return Rows(LocalGraph(local, frame_of(graph), start, first_key), keys, edges_between(graph, start, stop))


def block_of(graph: Graph, start: int, stop: int, low: int, high: int) -> LocalGraph:
    """The queries start .. stop - 1 and all keys low .. high - 1 of a complete graph or band of one example."""
    if isinstance(graph, CompleteGraph):
        local: Graph = CompleteGraph(stop - start, high - low)
    else:
        assert isinstance(graph, BandedGraph)  # the other that has blocks
        local = band_block(graph, start, stop, low, high)
    return LocalGraph(local, frame_of(graph), start, low)


def queries_from(numbers: Numbers, start: int, stop: int) -> Numbers:
    return numbers[start:stop] if isinstance(numbers, Tensor) else numbers + start


def keys_at(numbers: Numbers, keys: Places) -> Numbers:
    if isinstance(keys, slice):
        return numbers[keys] if isinstance(numbers, Tensor) else numbers + keys.start
    return numbers_at(numbers, keys)


def cut(graph: Graph, start: int, stop: int) -> Cut:
    if graph.edges_by_key:
        local, keys = cut(graph._ordered(False), start, stop)
        return Cut(local._ordered(True), keys)
    if isinstance(graph, EdgeListGraph):
        return cut_edges(graph, graph.edge_index(graph.device), start, stop)
    if graph.num_examples > 1:
        return cut_examples(graph, start, stop)
    cut_here = next((CUTS[base] for base in type(graph).__mro__ if base in CUTS), cut_anything)
    return cut_here(graph, start, stop)


def cut_examples(graph: Graph, start: int, stop: int) -> Cut:
    """Each example cut on its own; where none of its queries is asked for, it is empty."""
    found = []
    for number, member in enumerate(graph.examples()):
        first_query, last_query = graph.query_ptr[number : number + 2]
        first, last = (min(max(place, first_query), last_query) - first_query for place in (start, stop))
        # Without queries, a range at the start sees the fewest keys.
        local, keys = cut(member, first, last) if first < last else Cut(CompleteGraph(0, 0), slice(0, 0))
        found.append((local, shifted(keys, graph.key_ptr[number])))
    kinds = {type(local) for local, _ in found if local.shape != (0, 0)}
    joined = batch_graphs([as_kind(local, kinds) for local, _ in found])
    return Cut(joined, joined_places([keys for _, keys in found]))


def as_kind(graph: Graph, kinds: set[type[Graph]]) -> Graph:
    """An empty graph of the kind of those beside it, so that all are joined into one of that kind."""
    if graph.shape != (0, 0) or len(kinds) != 1:
        return graph
    if BandedGraph in kinds:
        return BandedGraph(0, 0, 0)
    return EdgeListGraph(torch.empty(2, 0, dtype=torch.int64), 0) if EdgeListGraph in kinds else graph


def shifted(places: Places, by: int) -> Places:
    return slice(places.start + by, places.stop + by) if isinstance(places, slice) else places + by


def joined_places(places: list[Places]) -> Places:
    """Ascending places one after the other, as a range if they are one."""
    found = [x for x in places if (x.stop > x.start if isinstance(x, slice) else len(x))]
    if not found:
        return slice(0, 0)
    ranges = [x for x in found if isinstance(x, slice)]
    if len(ranges) == len(found) and all(a.stop == b.start for a, b in pairwise(ranges)):
        return slice(ranges[0].start, ranges[-1].stop)
    device = next((x.device for x in found if isinstance(x, Tensor)), None)
    return torch.cat([torch.arange(x.start, x.stop, device=device) if isinstance(x, slice) else x for x in found])


# One example of each kind -------------------------------------------------------------------------------------------------


def cut_complete(graph: CompleteGraph, start: int, stop: int) -> Cut:
    return Cut(CompleteGraph(stop - start, graph.num_keys), slice(0, graph.num_keys))


def cut_band(graph: BandedGraph, start: int, stop: int) -> Cut:
    reach = [step * graph.dilation + graph.offsets[0] for step in (-graph.before, graph.after)]
    low = min(max(start + reach[0], 0), graph.num_keys)
    high = max(min(stop + reach[1], graph.num_keys), low) if start < stop else low
    return Cut(band_block(graph, start, stop, low, high), slice(low, high))


def band_block(graph: BandedGraph, start: int, stop: int, low: int, high: int) -> BandedGraph:
    offset = graph.offsets[0] + start - low
    return BandedGraph._of([(stop - start, high - low)], -graph.before, graph.after, graph.dilation, (offset,))


def cut_grid(graph: GridGraph, start: int, stop: int) -> Cut:
    """Slabs of the first axis: a smaller grid where windows of the axis only move, a block of the grid elsewhere."""
    line = graph.normal_form()
    if not isinstance(line, GridGraph):
        return cut(line, start, stop)
    (_, *rest), (key_height, *key_rest) = graph.query_sides[0], graph.key_sides[0]
    slab, key_slab = prod(rest), prod(key_rest)
    if start == stop or not slab or start % slab or stop % slab:
        return cut_anything(graph, start, stop)
    first, last = start // slab, stop // slab
    window, *windows = graph.windows
    if window.border == "clip" and window.stride == window.dilation == window.group == 1:
        low = min(max(first - window.before, 0), key_height)
        high = max(min(last + window.after, key_height), low)
        moved = first - low  # at most `before`, unless there is no such key
        if moved <= window.before:
            shifted = window._replace(before=window.before - moved, after=window.after + moved, is_causal=False)
            sides = ((last - first, *rest),), ((high - low, *key_rest),)
            return Cut(GridGraph._of(*sides, [shifted, *windows]), slice(low * key_slab, high * key_slab))
    side = torch.arange(first, last)
    firsts, counts = graph.window(0, side, max(1, key_height))
    seen = counts > 0
    low = int(firsts[seen].min()) if seen.any() else 0
    high = int((firsts + (counts - 1) * graph.dilation[0])[seen].max()) + 1 if seen.any() else 0
    local = SlabGraph(graph, (start, stop), (low * key_slab, high * key_slab))
    return Cut(local, slice(low * key_slab, high * key_slab))


def cut_prefix(graph: PrefixGraph, start: int, stop: int) -> Cut:
    (prefix,) = graph.prefix
    last = max(stop, prefix) if start < prefix else stop
    if stop <= prefix:
        return Cut(CompleteGraph(stop - start, prefix), slice(0, prefix))
    if start >= prefix:
        return Cut(BandedGraph(stop - start, None, 0, num_keys=stop, offset=start), slice(0, stop))
    return Cut(BlockGraph(graph, (start, stop), (0, last)), slice(0, last))


def cut_global(graph: GlobalGraph, start: int, stop: int) -> Cut:
    nodes = torch.tensor(graph.nodes, dtype=torch.int64)
    own = nodes[(nodes >= start) & (nodes < stop)]
    if not own.numel():
        return Cut(CompleteGraph(stop - start, len(nodes)), nodes)
    others = torch.ones(stop - start, dtype=torch.bool)
    others[own - start] = False
    rows = others.nonzero().flatten() + start
    edges = [
        torch.cartesian_prod(*pair).view(-1, 2).t().flip(0)
        for pair in ((own, torch.arange(graph.num_keys)), (rows, nodes))
    ]
    return cut_edges(graph, by_query(torch.cat(edges, 1)), start, stop)


def cut_complement(graph: ComplementGraph, start: int, stop: int) -> Cut:
    return Cut(BlockGraph(graph, (start, stop), (0, graph.num_keys)), slice(0, graph.num_keys))


def cut_union(graph: UnionGraph, start: int, stop: int) -> Cut:
    edges = [edges_of_rows(member, start, stop) for member in graph.graphs]
    return cut_edges(graph, by_query(torch.cat(edges, 1).unique(dim=1)), start, stop)


def cut_intersection(graph: IntersectionGraph, start: int, stop: int) -> Cut:
    smallest = min(graph.graphs, key=lambda member: member.num_edges)
    edges = by_query(edges_of_rows(smallest, start, stop))
    for member in graph.graphs:
        if member is not smallest:
            edges = edges[:, member.allows(edges[1], edges[0])]
    return cut_edges(graph, edges, start, stop)


def cut_anything(graph: Graph, start: int, stop: int) -> Cut:
    """The rows written out."""
    if isinstance(graph, GridGraph):
        edges = SlabGraph(graph, (start, stop), (0, graph.num_keys)).edge_index()
    elif type(graph).keys_by_query is Graph.keys_by_query and type(graph)._rows is Graph._rows:
        edges = BlockGraph(graph, (start, stop), (0, graph.num_keys)).edge_index(graph.device)
    else:
        rowptr, col, _ = graph.by_query()
        low, high = int(rowptr[start]), int(rowptr[stop])
        edges = torch.stack([col[low:high].long(), rows_of(rowptr[start : stop + 1] - low)])
    return cut_edges(graph, edges + edges.new_tensor([[0], [start]]), start, stop)


def cut_edges(graph: Graph, edges: Tensor, start: int, stop: int) -> Cut:
    """Of edges in the numbers of the graph those of some queries, in their order, in the numbers of the keys they have."""
    edges = edges[:, (edges[1] >= start) & (edges[1] < stop)]
    keys, local = edges[0].unique(return_inverse=True)
    counts = [max(0, min(last, stop) - max(first, start)) for first, last in pairwise(graph.query_ptr)]
    ends = torch.searchsorted(keys, torch.tensor(graph.key_ptr, device=keys.device))
    edges = torch.stack([local, edges[1] - start])
    return Cut(EdgeListGraph.owning(edges, counts, ends.diff().tolist()), keys)


def by_query(edges: Tensor) -> Tensor:
    """Edges in the order (query, key)."""
    order = edges[0].argsort(stable=True)
    return edges[:, order[edges[1, order].argsort(stable=True)]]


def edges_of_rows(graph: Graph, start: int, stop: int) -> Tensor:
    """edge_index of the queries start .. stop - 1, in the numbers of the graph."""
    local, keys = cut(graph, start, stop)
    key, query = local.edge_index()
    return torch.stack([keys[key] if isinstance(keys, Tensor) else key + keys.start, query + start])


CUTS: dict[type[Graph], Callable[[Any, int, int], Cut]] = {
    CompleteGraph: cut_complete,
    BandedGraph: cut_band,
    GridGraph: cut_grid,
    PrefixGraph: cut_prefix,
    GlobalGraph: cut_global,
    ComplementGraph: cut_complement,
    UnionGraph: cut_union,
    IntersectionGraph: cut_intersection,
}


# Places of edges ----------------------------------------------------------------------------------------------------------


def edges_between(graph: Graph, start: int, stop: int) -> Places:
    """Places of the edges of some queries in `graph.edge_index()`."""
    if graph.has_own_order or graph.edges_by_key:
        query = graph.edge_index()[1]
        return ((query >= start) & (query < stop)).nonzero().flatten()
    return slice(edges_before(graph, start), edges_before(graph, stop))


def edges_before(graph: Graph, row: int) -> int:
    """How many edges the queries 0 .. row - 1 have."""
    if graph.num_examples == 1 and isinstance(graph, CompleteGraph):
        return row * graph.num_keys
    if graph.num_examples == 1 and isinstance(graph, BandedGraph):
        steps = range(-graph.before, graph.after + 1)
        return count_edges((row, graph.num_keys), graph.offsets[0], graph.dilation, steps)
    if graph.num_examples == 1 and isinstance(graph, GridGraph) and graph.num_queries:
        (sides,), (key_sides,) = graph.query_sides, graph.key_sides
        slabs, rest = divmod(row, prod(sides[1:]))
        if not rest:
            counts = (slabs, *sides[1:])
            return prod(window.count_edges(*ends) for window, *ends in zip(graph.windows, counts, key_sides))
    return int(graph.degrees()[:row].sum())
