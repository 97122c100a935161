"""The edges that the data came with."""

from torch_geometric.data import Data
from torch_geometric.data.datapipes import functional_transform

from graphattn.graphs import EdgeListGraph, Graph
from graphattn.graphs.data import follow_edges
from graphattn.transforms.graph_transform import GraphTransform, count_nodes


@functional_transform("edges")
class Edges(GraphTransform):
    """Node j attends to node i for every edge i -> j of `data.edge_index` (functional name: `edges`).

    Bias and features per edge keep the order of edge_index. A batch gets one graph with the edges of all its examples.
    `data.graph` follows `data.edge_index`, so that transforms of PyG may change the edges afterwards.

    Args:
        is_undirected: a promise that every edge is there in both directions; kernels may use it.

    >>> import torch
    >>> data = Data(x=torch.rand(3, 2), edge_index=torch.tensor([[0, 1], [1, 2]]))
    >>> Edges()(data).graph.mask().int()  # rows attend to columns
    tensor([[0, 0, 0],
            [1, 0, 0],
            [0, 1, 0]], dtype=torch.int32)
    """

    def __init__(self, is_undirected: bool = False):
        self.is_undirected = is_undirected

    def forward(self, data: Data) -> Data:
        return follow_edges(data, self.make_graph(data, count_nodes(data)))

    def make_graph(self, data: Data, num_nodes: int | tuple[int, ...]) -> Graph:
        if data.edge_index is None:
            raise ValueError(f"{data} has no edge_index; set it, or choose a graph by another transform of graphattn")
        return EdgeListGraph(data.edge_index, num_nodes, is_undirected=self.is_undirected)

    def __repr__(self) -> str:
        return f"{type(self).__name__}(is_undirected={self.is_undirected})"
