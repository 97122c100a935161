"""Biases of few numbers: on complete graphs, bands and grids a rule of position of the key - that of the query is a table."""

from abc import ABC, abstractmethod
from functools import partial

import torch
from torch import Tensor

from graphattn.graphs import BandedGraph, CompleteGraph, Graph, GridGraph, LocalGraph


class OffsetRule(ABC):
    """A rule graph -> bias [num_edges, heads], which may come as a table of offsets where the graph has few.

    Both count in positions: the indices inside the example, where `graph.starts` is 0 (see `positions_of`).
    """

    @abstractmethod
    def __call__(self, graph: Graph) -> Tensor: ...

    @abstractmethod
    def by_offset(self, offsets: Tensor) -> Tensor | None:
        """The bias for each of `offsets` [num_offsets, axes], position of the key - that of the query: [num_offsets, heads];
        None if it is no rule of offsets alone."""


def table_of(bias, graph: Graph, given: Graph, heads: int, device: torch.device) -> Tensor | None:
    """[num_offsets, heads] for `graph`, the normal form of `given`; None where the bias must be one for each edge."""
    if not isinstance(bias, OffsetRule) or num_axes(graph) != num_axes(given):
        return None
    offsets = offsets_of(graph, device)
    move = None if offsets is None else move_of(given)
    if offsets is None or move is None:
        return None
    table = bias.by_offset(offsets + move if move else offsets)
    fits = table is not None and table.shape == (len(offsets), heads) and table.device == device
    return table if fits else None


def move_of(graph: Graph) -> int | None:
    """What positions add to key - query, both counted inside the example; None if examples differ in it."""
    moves = {start and start[1] - start[0] for start, size in zip(graph.starts, graph.sizes) if all(size)}
    return None if len(moves) > 1 else moves.pop() if moves else 0


def num_axes(graph: Graph) -> int:
    """Numbers in a position."""
    if isinstance(graph, LocalGraph):
        return num_axes(graph.frame)
    return graph.num_axes if isinstance(graph, GridGraph) else 1


def offsets_of(graph: Graph, device: torch.device | None = None) -> Tensor | None:
    """All that key - query comes to at edges, in indices along each axis: [num_offsets, axes] in C order; None if it may be any.

    >>> offsets_of(BandedGraph(9, 1, 2, dilation=3)).flatten()
    tensor([-3,  0,  3,  6])
    """
    if isinstance(graph, LocalGraph):
        return offsets_of(graph.graph, device)
    if isinstance(graph, CompleteGraph):
        most_queries, most_keys = longest(graph)
        return torch.arange(1 - most_queries, most_keys, device=device)[:, None]
    if isinstance(graph, BandedGraph) and len(set(graph.offsets)) == 1:
        steps = torch.arange(-graph.before, graph.after + 1, device=device) * graph.dilation
        return (steps + graph.offsets[0])[:, None]
    if isinstance(graph, GridGraph):
        axes = zip(*steps_of_axes(graph), graph.dilation)
        along = [torch.arange(first, first + count, device=device) * dilation for first, count, dilation in axes]
        return torch.cartesian_prod(*along).view(-1, len(along))
    return None


def longest(graph: CompleteGraph) -> tuple[int, int]:
    """The most queries and the most keys of an example, at least 1."""
    queries, keys = (max(1, *(size[side] for size in graph.sizes)) for side in (0, 1))
    return queries, keys


def steps_of_axes(graph: GridGraph) -> tuple[list[int], list[int]]:
    """First step and number of steps along each axis: of windows that shift or are shared, what any query may need."""
    steps = [window.steps() for window in graph.windows]
    return [first for first, _ in steps], [last - first + 1 for first, last in steps]


def places_of_edges(graph: Graph, device: torch.device | None = None) -> Tensor:
    """For each edge its place in `offsets_of(graph)`: [num_edges] int64, kept for the next layer.

    >>> places_of_edges(BandedGraph(3, 1, 0))
    tensor([1, 0, 1, 0, 1])
    """
    return graph.remember_on("places among offsets", device, partial(find_places, graph))


def find_places(graph: Graph, device: torch.device) -> Tensor:
    key, query = graph.edge_index(device)
    example = graph.batch(device)[query]
    key, query = (
        node - torch.tensor(ptr, device=device)[example]
        for node, ptr in ((key, graph.key_ptr), (query, graph.query_ptr))
    )
    if isinstance(graph, CompleteGraph):
        return key - query + longest(graph)[0] - 1
    if isinstance(graph, BandedGraph):
        return torch.div(key - query - graph.offsets[0], graph.dilation, rounding_mode="floor") + graph.before
    if not isinstance(graph, GridGraph):
        raise TypeError(f"'graph' must have offsets, as complete, banded and grid graphs have (got {graph!r})")
    place, of_a_step = torch.zeros_like(key), 1
    for axis, (first, count) in reversed(list(enumerate(zip(*steps_of_axes(graph))))):
        key_side, query_side = (
            torch.tensor([each[axis] for each in sides], device=device)[example]
            for sides in (graph.key_sides, graph.query_sides)
        )
        distance = key % key_side - query % query_side * graph.stride[axis]
        step = torch.div(distance, graph.dilation[axis], rounding_mode="floor") - first
        place, of_a_step = place + of_a_step * step, of_a_step * count
        key, query = key // key_side, query // query_side
    return place
