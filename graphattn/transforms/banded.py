"""A window along the order of the nodes."""

from torch_geometric.data import Data
from torch_geometric.data.datapipes import functional_transform

from graphattn.graphs import BandedGraph, Graph
from graphattn.graphs.sizes import parse_integer
from graphattn.transforms.graph_transform import GraphTransform


@functional_transform("banded")
class Banded(GraphTransform):
    """Node i attends to nodes i + dilation·t for t = -before .. after, both ends included (functional name: `banded`).

    Args:
        before, after: in steps of `dilation` nodes; None = unlimited.
        dilation: in nodes.

    >>> import torch
    >>> Banded(before=2, after=0)(Data(x=torch.rand(5, 2))).graph.degrees()
    tensor([1, 2, 3, 3, 3])
    """

    def __init__(self, before: int | None, after: int | None, dilation: int = 1):
        self.before = None if before is None else parse_integer("before", before)
        self.after = None if after is None else parse_integer("after", after)
        self.dilation = parse_integer("dilation", dilation, minimum=1)

    def make_graph(self, data: Data, num_nodes: int | tuple[int, ...]) -> Graph:
        return BandedGraph(num_nodes, self.before, self.after, self.dilation)

    def __repr__(self) -> str:
        return f"{type(self).__name__}(before={self.before}, after={self.after}, dilation={self.dilation})"
