"""How many edges a node has."""

import numpy as np
from torch_geometric.data import Data, HeteroData
from torch_geometric.data.datapipes import functional_transform

from graphattn.graphs.sizes import parse_integer
from graphattn.transforms.encoding import Encoding, warn_of_weights


@functional_transform("degrees")
class AddDegrees(Encoding):
    """Numbers of incoming and outgoing edges of each node, at most `max_degree` (Ying et al. 2021, centrality).

    `LearnedPositions((max_degree + 1, max_degree + 1), channels)` of graphattn.nn makes the encoding of them (eq. 5
    there) (functional name: `degrees`). A repeated edge counts twice; weights do not count, and a warning says so.

    Args:
        max_degree: Larger degrees count as this.
        attr_name: Name of the attribute [num_nodes, 2], int64.

    >>> import torch
    >>> from torch_geometric.data import Data
    >>> AddDegrees(2)(Data(edge_index=torch.tensor([[0, 1, 2], [3, 3, 3]]), num_nodes=4)).degrees
    tensor([[0, 1],
            [0, 1],
            [0, 1],
            [2, 0]])
    """

    def __init__(self, max_degree: int, attr_name: str = "degrees"):
        super().__init__(2, attr_name)
        self.max_degree = parse_integer("max_degree", max_degree)

    def forward(self, data: Data | HeteroData) -> Data | HeteroData:
        warn_of_weights(data, self, "edges")
        return super().forward(data)

    def encode(self, edge_index: np.ndarray, num_nodes: int, edge_weight: np.ndarray | None = None) -> np.ndarray:
        degrees = [np.bincount(ends, minlength=num_nodes) for ends in (edge_index[1], edge_index[0])]
        return np.minimum(np.stack(degrees, 1), self.max_degree)

    def __repr__(self) -> str:
        return f"{type(self).__name__}(max_degree={self.max_degree})"
