"""Where the nodes of a graph are."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.types import Device

from graphattn.formulas.offsets import num_axes
from graphattn.graphs import Graph, GridGraph, LocalGraph
from graphattn.graphs.exported import is_exporting
from graphattn.graphs.local import Numbers, numbers_at
from graphattn.graphs.spread import SpreadGraph
from graphattn.graphs.starts import common_starts
from graphattn.graphs.traced import TracedGraph, opened


def positions_of(
    graph: Graph, pos: Any = None, device: Device = None, beside: Sequence[Graph] = ()
) -> tuple[Tensor, Tensor]:
    """(key_pos [num_keys, axes], query_pos [num_queries, axes]).

    Args:
        graph: The graph.
        pos: None, [num_nodes] or [num_nodes, axes] for keys and queries alike, or a pair (of keys, of queries). Without
            it the position of a node is its index inside its example, on from `graph.starts` (the offset of a band with keys
            of its own, such as a cache); on a grid its coordinates, counted in keys.
        device: Where to put positions that are made here.
        beside: Graphs of other heads, which say too where positions start.

    Raises:
        ValueError, TypeError: if `pos` does not fit the graph.

    Example:
        >>> from graphattn import BandedGraph, CompleteGraph
        >>> positions_of(CompleteGraph([2, 3]))[1].flatten()
        tensor([0, 1, 0, 1, 2])
        >>> positions_of(BandedGraph(2, None, 0, num_keys=4, offset=2))[1].flatten()
        tensor([2, 3])
    """
    if pos is None:
        return own_positions([graph, *(other for other in beside if other is not graph)], device)
    pair = pos if isinstance(pos, (tuple, list)) else (pos, pos)
    if len(pair) != 2 or not all(isinstance(x, Tensor) for x in pair):
        raise TypeError(f"'pos' must be a tensor or a pair (of keys, of queries) of tensors (got {type(pos).__name__})")
    key_pos, query_pos = (x[:, None] if x.dim() == 1 else x for x in pair)
    for x, size, name in ((key_pos, graph.num_keys, "keys"), (query_pos, graph.num_queries, "queries")):
        if x.dim() != 2 or x.size(0) != size:
            raise ValueError(f"'pos' must be [{size}] or [{size}, axes] for the {name} (got {list(x.shape)})")
    if key_pos.size(1) != query_pos.size(1):
        raise ValueError(f"'pos' must have as many axes for keys (got {key_pos.size(1)}) as for queries (got "
                         f"{query_pos.size(1)})")  # fmt: skip
    return key_pos, query_pos


def own_positions(graphs: Sequence[Graph], device: Device = None) -> tuple[Tensor, Tensor]:
    """Of the nodes of the first graph; it and the others, over the same nodes, say where they start."""
    graph = graphs[0]
    if isinstance(graph, TracedGraph) and is_exporting():  # one example, from its first node on
        key_pos, query_pos = (
            torch.arange(count, device=device or graph.tensor.device)[:, None]
            for count in (graph.num_keys, graph.num_queries)
        )
        return key_pos, query_pos
    if isinstance(graph, TracedGraph):
        axes = 1 if graph.graph is None else num_axes(graph.graph)
        tensors = [one.tensor for one in graphs if isinstance(one, TracedGraph)]  # all are
        return traced_positions(tensors, *graph.counts, axes, torch.device(device or graph.tensor.device))
    if isinstance(graph, (LocalGraph, SpreadGraph)):
        frames = [one.frame if isinstance(one, (LocalGraph, SpreadGraph)) else one for one in graphs]
        return positions_at(frames, 1, graph.key_numbers, graph.num_keys, device), positions_at(
            frames, 0, graph.query_numbers, graph.num_queries, device
        )
    if isinstance(graph, GridGraph):
        stride = torch.tensor(graph.stride, device=device)
        return grid_positions(graph.key_sides, device), grid_positions(graph.query_sides, device) * stride
    starts = known_starts(graphs)
    key_pos, query_pos = (
        index_inside([size[axis] for size in graph.sizes], device, [start[axis] for start in starts])[:, None]
        for axis in (1, 0)
    )
    return key_pos, query_pos


def positions_at(graphs: Sequence[Graph], side: int, numbers: Numbers, count: int, device: Device = None) -> Tensor:
    """Those of some queries (side 0) or keys (side 1) of a graph, by their numbers in it: [count, axes]."""
    graph, nodes = graphs[0], numbers_at(numbers, torch.arange(count, device=device))
    ptr = torch.tensor((graph.query_ptr, graph.key_ptr)[side], device=device)
    example = torch.bucketize(nodes, ptr[:-1], right=True) - 1
    index = nodes - ptr[example]
    if not isinstance(graph, GridGraph):
        return (index + torch.tensor([start[side] for start in known_starts(graphs)], device=device)[example])[:, None]
    sides = torch.tensor((graph.query_sides, graph.key_sides)[side], device=device)[example]
    found = []
    for axis in reversed(range(graph.num_axes)):
        length = sides[:, axis].clamp(min=1)
        found.append(index % length * (1 if side else graph.stride[axis]))
        index = index // length
    return torch.stack(found[::-1], 1)


def known_starts(graphs: Sequence[Graph]) -> list[tuple[int, int]]:
    same_examples = [graph.starts for graph in graphs if graph.sizes == graphs[0].sizes]
    starts = graphs[0].starts if len(same_examples) == 1 else common_starts(same_examples)
    known = [start for start in starts if start is not None]
    if len(known) < len(starts):
        raise ValueError(
            f"bands with different offsets are joined, so that positions may start at any of them (got {list(graphs)}); give"
            " positions: 'pos' of a layer, 'bias.at(pos)' to attend"
        )
    return known


@torch.library.custom_op("graphattn::positions", mutates_args=())
def traced_positions(
    graphs: list[Tensor], num_queries: int, num_keys: int, axes: int, device: torch.device
) -> tuple[Tensor, Tensor]:
    return own_positions([opened(graph, num_queries, num_keys) for graph in graphs], device)


@traced_positions.register_fake
def _(graphs, num_queries, num_keys, axes, device):
    return tuple(torch.empty(count, axes, dtype=torch.int64, device=device) for count in (num_keys, num_queries))


def as_positions(pos: Tensor) -> Tensor:
    """The positions [num_nodes] or [num_nodes, axes] that a module is given, as [num_nodes, axes]."""
    if not isinstance(pos, Tensor):
        raise TypeError(
            f"'pos' must be a tensor [num_nodes] or [num_nodes, axes] (got {type(pos).__name__}); where the nodes of a graph are"
            " says positions_of(graph) of graphattn.nn.positions.coordinates"
        )
    if pos.dim() not in (1, 2) or pos.dtype == torch.bool or pos.is_complex():
        raise ValueError(f"'pos' must be numbers [num_nodes] or [num_nodes, axes] (got {pos.dtype} {list(pos.shape)})")
    return pos[:, None] if pos.dim() == 1 else pos


def difference(pos: Tensor, other: Tensor) -> Tensor:
    """pos - other, of integers in int64 and of floating positions in float32 at least: half precision rounds 512 - 3 to 508."""
    dtype = torch.promote_types(pos.dtype, other.dtype)
    dtype = torch.promote_types(dtype, torch.float32 if dtype.is_floating_point else torch.int64)
    return pos.to(dtype) - other.to(dtype)


def index_inside(counts: Sequence[int] | Tensor, device: Device = None, starts: Sequence[int] | None = None) -> Tensor:
    """0 .. count - 1 for each example, or on from `starts`, laid end to end: [sum of counts] int64."""
    counts = torch.as_tensor(counts, device=device)
    firsts = counts.cumsum(0) - counts
    if starts is not None and any(starts):
        firsts = firsts - torch.as_tensor(starts, device=device)
    return torch.arange(int(counts.sum()), device=device) - firsts.repeat_interleave(counts)


def grid_positions(sides: Sequence[tuple[int, ...]], device: Device = None) -> Tensor:
    """Coordinates of the nodes of one grid after the other, in C order: [num_nodes, axes] int64."""
    grids = [torch.cartesian_prod(*(torch.arange(side, device=device) for side in example)) for example in sides]
    return torch.cat([grid.reshape(-1, len(sides[0])) for grid in grids])
