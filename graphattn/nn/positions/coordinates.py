"""Where the nodes of a graph are."""

import torch
from torch import Tensor

from graphattn.graphs import Graph, GridGraph
from graphattn.graphs.traced import TracedGraph, opened


def positions_of(graph: Graph, pos=None, device=None) -> tuple[Tensor, Tensor]:
    """(key_pos [num_keys, axes], query_pos [num_queries, axes]).

    Args:
        graph: The graph.
        pos: None, [num_nodes] or [num_nodes, axes] for keys and queries alike, or a pair (of keys, of queries). Without
            it the position of a node is its index inside its example; on a grid its coordinates, counted in keys.
        device: Where to put positions that are made here.

    Raises:
        ValueError, TypeError: if `pos` does not fit the graph.

    Example:
        >>> from graphattn import CompleteGraph
        >>> positions_of(CompleteGraph([2, 3]))[1].flatten()
        tensor([0, 1, 0, 1, 2])
    """
    if pos is None:
        return own_positions(graph, device)
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


def own_positions(graph: Graph, device=None) -> tuple[Tensor, Tensor]:
    if isinstance(graph, TracedGraph):
        axes = graph.graph.num_axes if isinstance(graph.graph, GridGraph) else 1
        return traced_positions(graph.tensor, *graph.counts, axes, torch.device(device or graph.tensor.device))
    if isinstance(graph, GridGraph):
        stride = torch.tensor(graph.stride, device=device)
        return grid_positions(graph.key_sides, device), grid_positions(graph.query_sides, device) * stride
    return tuple(index_inside([size[axis] for size in graph.sizes], device)[:, None] for axis in (1, 0))


@torch.library.custom_op("graphattn::positions", mutates_args=())
def traced_positions(
    graph: Tensor, num_queries: int, num_keys: int, axes: int, device: torch.device
) -> tuple[Tensor, Tensor]:
    return own_positions(opened(graph, num_queries, num_keys), device)


@traced_positions.register_fake
def _(graph, num_queries, num_keys, axes, device):
    return tuple(torch.empty(count, axes, dtype=torch.int64, device=device) for count in (num_keys, num_queries))


def index_inside(counts, device=None) -> Tensor:
    """0 .. count - 1 for each example, laid end to end: [sum of counts] int64."""
    counts = torch.as_tensor(counts, device=device)
    starts = counts.cumsum(0) - counts
    return torch.arange(int(counts.sum()), device=device) - starts.repeat_interleave(counts)


def grid_positions(sides, device=None) -> Tensor:
    """Coordinates of the nodes of one grid after the other, in C order: [num_nodes, axes] int64."""
    grids = [torch.cartesian_prod(*(torch.arange(side, device=device) for side in example)) for example in sides]
    return torch.cat([grid.reshape(-1, len(sides[0])) for grid in grids])
