"""Every node attends to every node."""

from torch_geometric.data import Data
from torch_geometric.data.datapipes import functional_transform

from graphattn.graphs import CompleteGraph, Graph
from graphattn.transforms.graph_transform import GraphTransform


@functional_transform("complete")
class Complete(GraphTransform):
    """Every node attends to every node of its example, itself included (functional name: `complete`).

    >>> import torch
    >>> Complete()(Data(x=torch.rand(3, 2))).graph
    CompleteGraph(3)
    """

    def make_graph(self, data: Data, num_nodes: int | tuple[int, ...]) -> Graph:
        return CompleteGraph(num_nodes)
