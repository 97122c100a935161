"""A random regular graph: few edges, and yet every node reaches every other in few steps."""

from torch_geometric.data import Data
from torch_geometric.data.datapipes import functional_transform

from graphattn.graphs import Graph, batch_graphs, expander
from graphattn.graphs.sizes import parse_integer
from graphattn.transforms.graph_transform import GraphTransform, present_graph


@functional_transform("expander")
class Expander(GraphTransform):
    """Every node attends to `degree` random others of its example (functional name: `expander`), as in Exphormer.

    The same number of nodes gets the same graph each time: it depends on (num_nodes, degree, seed) alone.

    Args:
        degree: neighbours of each node. All others where an example has fewer of them, and one more where degree and
            number of nodes are both odd, as no graph has an odd sum of degrees.
        seed: of the random graph.
        add: keep the edges of the graph that is there (`data.graph`, else `data.edge_index`); otherwise it is replaced.

    Source: "Exphormer: Sparse Transformers for Graphs", H. Shirzad et al., ICML 2023, section 3.2.

    >>> import torch
    >>> Expander(degree=4)(Data(x=torch.rand(10, 2))).graph.degrees()
    tensor([4, 4, 4, 4, 4, 4, 4, 4, 4, 4])
    """

    def __init__(self, degree: int = 4, seed: int = 0, add: bool = False):
        self.degree, self.seed, self.add = (
            parse_integer("degree", degree, minimum=None),
            parse_integer("seed", seed),
            add,
        )
        if self.degree < 1:
            raise ValueError(f"'degree' needs to be 1 or more (got {self.degree})")

    @property
    def adds_to_graph(self) -> bool:  # type: ignore[override] # nobody sets it: `add` says it
        return self.add

    def make_graph(self, data: Data, num_nodes: int | tuple[int, ...]) -> Graph:
        if isinstance(num_nodes, tuple):
            graph = batch_graphs([self.one_expander(count) for count in num_nodes])
        else:
            graph = self.one_expander(num_nodes)
        return present_graph(data) | graph if self.add else graph

    def one_expander(self, num_nodes: int) -> Graph:
        degree = self.degree + self.degree * num_nodes % 2
        return expander(num_nodes, min(degree, max(num_nodes - 1, 0)), self.seed)

    def __repr__(self) -> str:
        return f"{type(self).__name__}(degree={self.degree}, seed={self.seed}, add={self.add})"
