"""Shortest paths between the nodes that attend to each other."""

from torch_geometric.data import Data
from torch_geometric.data.datapipes import functional_transform
from torch_geometric.transforms import BaseTransform

from graphattn.graphs import EdgeListGraph
from graphattn.graphs.hops import hop_distances
from graphattn.graphs.sizes import parse_integer
from graphattn.transforms.encoding import warn_of_weights
from graphattn.transforms.graph_transform import count_nodes, present_graph


@functional_transform("hops")
class AddHops(BaseTransform):
    """For each edge of `data.graph`, the steps along `data.edge_index` from its key to its query (functional name: `hops`).

    One number per edge of the graph, for `HopBias` of graphattn.nn; a DataLoader joins them in the order of the graph
    of the batch. Every step is one, whatever its weight; a warning says so where there are weights.

    Args:
        max_distance: Longest way that is counted; what is further has max_distance + 1.
        attr_name: Name of the attribute [num_edges of the graph], int64.

    >>> import torch
    >>> from graphattn.transforms import Complete
    >>> path = Data(edge_index=torch.tensor([[0, 1, 1, 2], [1, 0, 2, 1]]), num_nodes=3)
    >>> AddHops(5)(Complete()(path)).hops
    tensor([0, 1, 2, 1, 0, 1, 2, 1, 0])
    """

    def __init__(self, max_distance: int, attr_name: str = "hops"):
        self.max_distance, self.attr_name = parse_integer("max_distance", max_distance), attr_name

    def forward(self, data: Data) -> Data:
        num_nodes = count_nodes(data)
        if data.edge_index is None:
            raise ValueError(f"{data} has no edge_index to count steps along")
        warn_of_weights(data, self, "steps along edges")
        along = EdgeListGraph(data.edge_index, num_nodes)
        data[self.attr_name] = hop_distances(present_graph(data), along, self.max_distance)
        return data

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.max_distance})"
