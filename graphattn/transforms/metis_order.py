"""The order of a partition with few edges between its parts."""

import torch
from torch import Tensor
from torch_geometric.data import Data
from torch_geometric.data.datapipes import functional_transform

from graphattn.graphs.sizes import parse_integer
from graphattn.transforms.graph_transform import present_graph
from graphattn.transforms.node_order import NodeOrder

NAME = "query_ptr"


@functional_transform("metis_order")
class MetisOrder(NodeOrder):
    """Renumbers nodes part by part of a METIS partition (Karypis and Kumar 1998; functional name: `metis_order`).

    `data.query_ptr` says where the nodes of each part start, as `graphattn.distributed.shard` takes it: parts differ a little in
    size. Needs pymetis. The edges are those of `data.graph` or, without one, of `data.edge_index`, in both directions.

    Args:
        num_parts: Parts of nearly equal size, one for each process.

    Raises:
        ImportError: without pymetis.
    """

    def __init__(self, num_parts: int):
        self.num_parts = parse_integer("num_parts", num_parts, minimum=1)

    def order(self, data: Data) -> Tensor:
        return self.parts(data).argsort(stable=True)

    def forward(self, data: Data) -> Data:
        if data.get("batch") is not None:
            raise ValueError(f"{data} is a batch, whose examples are parts already; partition one graph")
        parts = self.parts(data)
        data = super().forward(data)
        data[NAME] = [0, *torch.bincount(parts, minlength=self.num_parts).cumsum(0).tolist()]
        return data

    def parts(self, data: Data) -> Tensor:
        """The part of each node: [num_nodes] int64, the same whenever it is asked for."""
        try:
            import pymetis
        except ImportError as error:
            raise ImportError(
                "partitions are made by METIS, which is not installed; run: pip install pymetis"
            ) from error
        edges = present_graph(data).edge_index().cpu()
        both = torch.cat([edges, edges.flip(0)], 1)[:, torch.cat([edges[0] != edges[1]] * 2)].unique(dim=1)
        starts = torch.searchsorted(both[0].contiguous(), torch.arange(data.num_nodes + 1))
        adjacency = pymetis.CSRAdjacency(starts.tolist(), both[1].tolist())
        _, parts = pymetis.part_graph(self.num_parts, adjacency)
        return torch.as_tensor(parts, dtype=torch.int64)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.num_parts})"
