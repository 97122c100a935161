"""Every node attends to itself and the nodes before it."""

from torch_geometric.data import Data
from torch_geometric.data.datapipes import functional_transform

from graphattn.graphs import Graph, causal
from graphattn.transforms.graph_transform import GraphTransform


@functional_transform("causal")
class Causal(GraphTransform):
    """Node i attends to nodes 0 .. i of its example (functional name: `causal`).

    >>> import torch
    >>> Causal()(Data(x=torch.rand(3, 2))).graph.edge_index()  # sources (keys) over targets (queries)
    tensor([[0, 0, 1, 0, 1, 2],
            [0, 1, 1, 2, 2, 2]])
    """

    def make_graph(self, data: Data, num_nodes: int | tuple[int, ...]) -> Graph:
        return causal(num_nodes)
