"""The order of a sweep through the graph."""

import torch
from scipy.sparse import csr_array
from scipy.sparse.csgraph import reverse_cuthill_mckee
from torch import Tensor
from torch_geometric.data import Data
from torch_geometric.data.datapipes import functional_transform

from graphattn.transforms.graph_transform import present_graph
from graphattn.transforms.node_order import NodeOrder


@functional_transform("reverse_cuthill_mckee")
class ReverseCuthillMcKee(NodeOrder):
    """Renumbers nodes breadth first, neighbours of few neighbours first, and backwards (Cuthill and McKee 1969).

    For meshes, roads and other graphs without positions that are long rather than wide; the edges are those of
    `data.graph` or, without one, of `data.edge_index`, in both directions (functional name: `reverse_cuthill_mckee`).

    >>> ring = Data(edge_index=torch.tensor([[0, 3, 1, 4], [3, 1, 4, 2]]), num_nodes=5)
    >>> ring = ReverseCuthillMcKee()(ring)
    >>> ring.edge_index
    tensor([[4, 3, 2, 1],
            [3, 2, 1, 0]])
    >>> ring.node_order
    tensor([2, 4, 1, 3, 0])
    """

    def order(self, data: Data) -> Tensor:
        key, query = present_graph(data).edge_index().cpu()
        shape = (data.num_nodes, data.num_nodes)
        matrix = csr_array((torch.ones(key.numel(), dtype=torch.int8).numpy(), (key.numpy(), query.numpy())), shape)
        return torch.from_numpy(reverse_cuthill_mckee(matrix).copy()).long()
