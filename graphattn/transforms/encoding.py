"""What the transforms that give nodes an encoding of their place among the edges have in common."""

from abc import abstractmethod
from collections.abc import Iterator
from itertools import pairwise

import numpy as np
import torch
from scipy.sparse import csr_array
from scipy.sparse.csgraph import connected_components
from torch import Tensor
from torch_geometric.data import Data, HeteroData
from torch_geometric.transforms import BaseTransform

from graphattn.graphs.sizes import parse_integer
from graphattn.transforms.graph_transform import count_nodes


class Encoding(BaseTransform):
    """Sets an attribute of the nodes, on a shallow copy of the data, to what `encode` makes of its edges.

    Each connected component has an encoding of its own, so that examples of a batch, and parts that no edge joins, get
    the same numbers together and alone. The node types of a HeteroData are encoded as one graph with the edges of all
    relations.

    Args:
        k: Numbers per node.
        attr_name: Name of the attribute; None joins them to `x`.
    """

    def __init__(self, k: int, attr_name: str | None):
        self.k, self.attr_name = parse_integer('k', k, minimum=1), attr_name

    @abstractmethod
    def encode(self, edge_index: np.ndarray, num_nodes: int) -> np.ndarray:
        """[num_nodes, k] from edges [2, num_edges]."""

    def forward(self, data: Data | HeteroData) -> Data | HeteroData:
        if isinstance(data, HeteroData):
            counts = [store.num_nodes for store in data.node_stores]
            if None in counts:
                raise ValueError(f"the number of nodes of a type of {data} is unknown; set its 'x' or 'num_nodes'")
            edge_index, stores = edges_of_all_types(data, counts), data.node_stores
        else:
            count_nodes(data)  # says what is missing
            counts, edge_index, stores = [data.num_nodes], data.edge_index, [data]
        if edge_index is None:
            raise ValueError(f"{data} has no edge_index to encode")
        encoding = torch.from_numpy(self.encode(edge_index.cpu().numpy(), sum(counts)))
        dtype = torch.get_default_dtype() if encoding.is_floating_point() else torch.int64
        encoding = encoding.to(edge_index.device, dtype)
        for store, part in zip(stores, encoding.split(counts), strict=True):
            self.put(store, part)
        return data

    def put(self, store, encoding: Tensor) -> None:
        if self.attr_name is not None:
            store[self.attr_name] = encoding
        elif store.get('x') is None:
            store.x = encoding
        else:
            x = store.x[:, None] if store.x.dim() == 1 else store.x
            store.x = torch.cat([x, encoding.to(x.device, x.dtype)], dim=-1)

    def __repr__(self) -> str:
        return f'{type(self).__name__}(k={self.k})'


def edges_of_all_types(data: HeteroData, counts: list[int]) -> Tensor:
    """The edges of all relations [2, num_edges], nodes numbered type after type."""
    starts = dict(zip(data.node_types, np.cumsum([0, *counts]).tolist()))
    edges = [torch.empty(2, 0, dtype=torch.int64)]
    for (source, _, target), store in data.edge_items():
        if store.get('edge_index') is not None:
            first = torch.tensor([[starts[source]], [starts[target]]], device=store.edge_index.device)
            edges.append(store.edge_index + first)
    return torch.cat([edge_index.to(edges[-1].device) for edge_index in edges], dim=1)


def components(edge_index: np.ndarray, num_nodes: int) -> Iterator[tuple[np.ndarray, csr_array]]:
    """Nodes of each connected component with an edge, and the number of edges between them (rows = sources)."""
    ones = np.ones(edge_index.shape[1])
    matrix = csr_array((ones, tuple(edge_index)), shape=(num_nodes, num_nodes))
    _, label = connected_components(matrix, directed=False)
    order = np.argsort(label, kind='stable')
    matrix = matrix[order][:, order]  # the components are blocks now
    bounds = np.flatnonzero(np.diff(label[order], prepend=-1, append=-1))
    for first, last in pairwise(bounds):
        block = matrix[first:last, first:last]
        if block.nnz:
            yield order[first:last], block
