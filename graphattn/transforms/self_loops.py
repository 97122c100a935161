"""Every node sees itself."""

from torch_geometric.data import Data
from torch_geometric.data.datapipes import functional_transform
from torch_geometric.transforms import BaseTransform
from torch_geometric.utils import add_remaining_self_loops

from graphattn.graphs import BandedGraph, EdgeListGraph
from graphattn.graphs.data import follow_edges
from graphattn.transforms.graph_transform import count_nodes, present_graph


@functional_transform("self_loops")
class SelfLoops(BaseTransform):
    """Every node has one edge to itself, in `data.edge_index` and in `data.graph`, as far as they are there.

    Bonds and friendships have no such edges, so that a node that attends along them does not see itself. Loops that are there
    stay, once; new ones come behind all other edges (functional name: `self_loops`).

    Args:
        fill_value: What `edge_attr` and `edge_weight` hold for new edges: a number, or 'mean', 'add', 'min' or 'max' of the
            edges to the same node.

    >>> import torch
    >>> data = Data(edge_index=torch.tensor([[0, 1], [1, 0]]), edge_attr=torch.ones(2, 3), num_nodes=2)
    >>> SelfLoops()(data)
    Data(edge_index=[2, 4], edge_attr=[4, 3], num_nodes=2)
    """

    def __init__(self, fill_value: float | str = 0.0):
        self.fill_value = fill_value

    def forward(self, data: Data) -> Data:
        counts = count_nodes(data)
        has_edges, has_graph = data.get("edge_index") is not None, data.get("graph") is not None
        if not has_edges and not has_graph:
            raise ValueError(f"{data} has neither 'edge_index' nor 'graph'; set one first")
        if not has_edges and any(data.get(name) is not None for name in ("edge_attr", "edge_weight")):
            raise ValueError(
                f"{data} has attributes of edges but no 'edge_index', by whose order they would be known; set"
                " data.edge_index = data.graph.edge_index()"
            )
        graph = present_graph(data)
        is_of_edges = has_edges and graph.edge_index(data.edge_index.device).equal(data.edge_index)
        if has_edges:
            self.add_to_edges(data)
        if has_graph and is_of_edges:
            return follow_edges(data, EdgeListGraph(data.edge_index, counts, is_undirected=graph.is_symmetric))
        if has_graph:
            data.graph = graph | BandedGraph(counts, 0, 0)
        return data

    def add_to_edges(self, data: Data) -> None:
        edges = data.edge_index
        for name in ("edge_attr", "edge_weight"):
            values = data.get(name)
            if values is not None:
                data.edge_index, data[name] = add_remaining_self_loops(edges, values, self.fill_value, data.num_nodes)
        data.edge_index, _ = add_remaining_self_loops(edges, None, num_nodes=data.num_nodes)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.fill_value!r})"
