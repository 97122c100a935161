"""Biases of the scores by a kind of edge: its type, or the number of steps between its ends."""

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor
from torch.nn import Parameter

from graphattn.graphs import Graph, as_graph
from graphattn.graphs.exported import exported_hops, is_exporting
from graphattn.graphs.hops import hop_distances
from graphattn.graphs.sizes import parse_integer
from graphattn.graphs.together import made_together
from graphattn.graphs.traced import TracedGraph, num_edges_of, opened


class EdgeTypeBias(torch.nn.Module):
    """One learned number for each head and each type of edge, added to the scaled scores.

    Args:
        heads: Number of attention heads.
        num_types: Number of types.

    Shapes:
        - edge_type: [num_edges] integers in 0 .. num_types - 1, in the order of `graph.edge_index()`
        - output: [num_edges, heads], for `edge_bias` of a layer or `bias` of `attend`

    Raises:
        TypeError: if the types are no tensor.
        ValueError: if a type is outside the table.

    Example:
        >>> from graphattn.nn import GraphAttention
        >>> layer, bias = GraphAttention(16, 8, heads=2), EdgeTypeBias(2, num_types=4)
        >>> edge_index, edge_type = torch.tensor([[0, 1, 2], [1, 2, 0]]), torch.tensor([0, 3, 1])
        >>> layer(torch.randn(3, 16), edge_index, edge_bias=bias(edge_type)).shape
        torch.Size([3, 16])
    """

    def __init__(self, heads: int, num_types: int):
        super().__init__()
        self.heads = parse_integer("heads", heads, minimum=1)
        self.table = Parameter(torch.empty(parse_integer("num_types", num_types, minimum=1), heads))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        torch.nn.init.normal_(self.table, std=0.02)

    def forward(self, edge_type: Tensor) -> Tensor:
        if not isinstance(edge_type, Tensor):
            raise TypeError(
                "'edge_type' must be a tensor of integers [num_edges], in the order of the edges of a graph (got"
                f" {type(edge_type).__name__})"
            )
        is_known = not torch.compiler.is_compiling()
        if is_known and edge_type.numel() and not 0 <= int(edge_type.min()) <= int(edge_type.max()) < len(self.table):
            raise ValueError(
                f"'edge_type' must lie in 0 .. {len(self.table) - 1} (got {int(edge_type.min())} .."
                f" {int(edge_type.max())})"
            )
        return torch.nn.functional.embedding(edge_type.long(), self.table)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.heads}, num_types={len(self.table)})"


class HopBias(torch.nn.Module):
    """One learned number for each head and each length of the shortest path from key to query (Ying et al. 2021, eq. 6).

    The path runs along the edges of another graph: all atoms attend to all, and the bias counts the bonds between them.
    Lengths are found once for each pair of graphs; a dataset stores them by the transform `AddHops`.

    Args:
        heads: Number of attention heads.
        max_distance: Longest path with a number of its own; longer ones and no path at all share one more.

    Shapes:
        - hops: [num_edges] integers in 0 .. max_distance + 1, as from `hop_distances`
        - output: [num_edges, heads], in the order of `graph.edge_index()`

    Example:
        >>> from graphattn import CompleteGraph, as_graph
        >>> from graphattn.nn import GraphAttention
        >>> layer, bias = GraphAttention(16, 8, heads=2), HopBias(2, max_distance=5)
        >>> bonds = as_graph(torch.tensor([[0, 1, 1, 2], [1, 0, 2, 1]]), 3)
        >>> layer(torch.randn(3, 16), CompleteGraph(3), edge_bias=bias.along(bonds)).shape
        torch.Size([3, 16])
    """

    def __init__(self, heads: int, max_distance: int):
        super().__init__()
        self.max_distance = parse_integer("max_distance", max_distance)
        self.by_hops = EdgeTypeBias(heads, max_distance + 2)

    def reset_parameters(self) -> None:
        self.by_hops.reset_parameters()

    def forward(self, hops: Tensor) -> Tensor:
        if not isinstance(hops, Tensor):
            raise TypeError(
                f"'hops' must be a tensor of integers [num_edges], as hop_distances gives them (got {type(hops).__name__});"
                " for paths along the edges of a graph give 'bias.along(graph)' as edge_bias"
            )
        return self.by_hops(hops)

    def along(self, graph: Graph) -> Callable[[Graph], Tensor]:
        """The bias by paths along `graph`, as a rule: another graph over the same nodes -> [num_edges, heads]."""
        return partial(self.between, along=graph)

    def between(self, graph: Graph, along: Graph) -> Tensor:
        """[num_edges, heads] of `graph`; both are what `as_graph` takes, and `graph` tells its number of nodes."""
        graph = as_graph(graph)
        along = as_graph(along, *graph.shape)
        if isinstance(graph, TracedGraph) and isinstance(along, TracedGraph):
            if is_exporting():
                return self(exported_hops(graph.tensor, along.tensor, graph.num_queries, self.max_distance))
            tensors, device = (graph.tensor, along.tensor), self.by_hops.table.device
            return self(traced_hops(*tensors, *graph.shape, self.max_distance, device))
        return self(known_hops(graph, along, self.max_distance).to(self.by_hops.table.device))

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.by_hops.heads}, max_distance={self.max_distance})"


def known_hops(graph: Graph, along: Graph, max_distance: int) -> Tensor:
    """`hop_distances`, found once for each pair of graphs."""
    return made_together(
        [graph, along], ("hops", max_distance), lambda twins: hop_distances(twins[0], twins[1], max_distance)
    )


@torch.library.custom_op("graphattn::hops", mutates_args=())
def traced_hops(
    graph: Tensor, along: Tensor, num_queries: int, num_keys: int, max_distance: int, device: torch.device
) -> Tensor:
    graphs = [opened(x, num_queries, num_keys) for x in (graph, along)]
    return known_hops(graphs[0], graphs[1], max_distance).to(device, copy=True)


@traced_hops.register_fake
def _(graph, along, num_queries, num_keys, max_distance, device):
    return torch.empty(num_edges_of(graph), dtype=torch.int64, device=device)
