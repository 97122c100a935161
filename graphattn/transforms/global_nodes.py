"""Nodes that see all and are seen by all, added to the graph that is there."""

from collections.abc import Sequence
from itertools import accumulate

from torch_geometric.data import Data
from torch_geometric.data.datapipes import functional_transform

from graphattn.graphs import GlobalGraph, Graph
from graphattn.graphs.sizes import parse_counts
from graphattn.transforms.graph_transform import GraphTransform, present_graph


@functional_transform("global_nodes")
class GlobalNodes(GraphTransform):
    """Some nodes attend to all and are attended by all, beside the present graph (functional name: `global_nodes`).

    The present graph is `data.graph`, else `data.edge_index`. Its edges stay; an edge that both have counts once.

    Args:
        nodes: indices within each example; negative ones count from its end. (0,) makes the first node a class token.

    >>> import torch
    >>> from graphattn.transforms import Banded
    >>> data = Banded(0, 0)(Data(x=torch.rand(4, 2)))
    >>> GlobalNodes([0])(data).graph.mask().int()
    tensor([[1, 1, 1, 1],
            [1, 1, 0, 0],
            [1, 0, 1, 0],
            [1, 0, 0, 1]], dtype=torch.int32)
    """

    adds_to_graph = True

    def __init__(self, nodes: Sequence[int] = (0,)):
        try:
            self.nodes = parse_counts("nodes", nodes, minimum=None)
        except (TypeError, ValueError):
            raise ValueError(f"'nodes' needs to be one or more indices (got {nodes!r})") from None

    def make_graph(self, data: Data, num_nodes: int | tuple[int, ...]) -> Graph:
        counts = num_nodes if isinstance(num_nodes, tuple) else (num_nodes,)
        starts = accumulate(counts, initial=0)
        nodes = [start + node for start, count in zip(starts, counts) for node in self.nodes_among(count)]
        return present_graph(data) | GlobalGraph(num_nodes, nodes)

    def nodes_among(self, num_nodes: int) -> list[int]:
        """The indices in an example of num_nodes nodes, none of them negative."""
        outside = [node for node in self.nodes if not -num_nodes <= node < num_nodes]
        if outside:
            raise ValueError(f"'nodes' {outside} are not among the {num_nodes} nodes of an example")
        return [node % num_nodes for node in self.nodes]

    def __repr__(self) -> str:
        return f"{type(self).__name__}({list(self.nodes)})"
