"""What the transforms that give nodes an encoding of their place among the edges have in common."""

import warnings
from abc import abstractmethod
from collections.abc import Iterable, Iterator
from itertools import pairwise
from typing import Any

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
    relations. As in PyG, `edge_weight` are the weights of the edges, numbers of at least 0 (1 where a relation has none),
    and `edge_attr` says nothing.

    Args:
        k: Numbers per node.
        attr_name: Name of the attribute; None joins them to `x`, which becomes floating if it is not.
    """

    def __init__(self, k: int, attr_name: str | None):
        self.k, self.attr_name = parse_integer("k", k, minimum=1), attr_name

    @abstractmethod
    def encode(self, edge_index: np.ndarray, num_nodes: int, edge_weight: np.ndarray | None = None) -> np.ndarray:
        """[num_nodes, k] from edges [2, num_edges] and their weights [num_edges], None where all are 1."""

    def forward(self, data: Data | HeteroData) -> Data | HeteroData:
        if isinstance(data, HeteroData):
            counts = [store.num_nodes for store in data.node_stores]
            if None in counts:
                raise ValueError(f"the number of nodes of a type of {data} is unknown; set its 'x' or 'num_nodes'")
            edge_index, stores, edge_stores = edges_of_all_types(data, counts), data.node_stores, data.edge_stores
        else:
            count_nodes(data)  # says what is missing
            counts, edge_index, stores, edge_stores = [data.num_nodes], data.edge_index, [data], [data]
        if edge_index is None:
            raise ValueError(f"{data} has no edge_index to encode")
        edges, num_nodes = edge_index.cpu().numpy(), sum(counts)
        if edges.size and not 0 <= edges.min() <= edges.max() < num_nodes:
            raise ValueError(
                f"'edge_index' needs to join nodes 0 .. {num_nodes - 1} (got {edges.min()} .. {edges.max()})"
            )
        encoding = torch.from_numpy(self.encode(edges, num_nodes, weights_of(edge_stores)))
        dtype = torch.get_default_dtype() if encoding.is_floating_point() else torch.int64
        encoding = encoding.to(edge_index.device, dtype)
        for store, part in zip(stores, encoding.split(counts), strict=True):
            self.put(store, part)
        return data

    def put(self, store: Any, encoding: Tensor) -> None:
        if self.attr_name is not None:
            store[self.attr_name] = encoding
        elif store.get("x") is None:
            store.x = encoding
        else:
            x = store.x[:, None] if store.x.dim() == 1 else store.x
            if x.dim() != 2:
                raise ValueError(
                    f"the encoding is joined to 'x' of shape [num_nodes, features] (got {list(x.shape)}); name an "
                    f"attribute for it by 'attr_name'"
                )
            dtype = x.dtype if x.is_floating_point() else torch.promote_types(x.dtype, encoding.dtype)
            if not (x.is_floating_point() or torch.equal(x.to(dtype).to(x.dtype), x)):
                raise ValueError(
                    f"'x' has integers that {dtype} rounds, as the encoding is joined to it; name an attribute for "
                    f"it by 'attr_name', or convert 'x' to float64"
                )
            store.x = torch.cat([x.to(dtype), encoding.to(x.device, dtype)], dim=-1)

    def __repr__(self) -> str:
        return f"{type(self).__name__}(k={self.k})"


def edges_of_all_types(data: HeteroData, counts: list[int]) -> Tensor:
    """The edges of all relations [2, num_edges], nodes numbered type after type."""
    starts = dict(zip(data.node_types, np.cumsum([0, *counts]).tolist()))
    edges = [torch.empty(2, 0, dtype=torch.int64)]
    for (source, _, target), store in data.edge_items():
        if store.get("edge_index") is not None:
            first = torch.tensor([[starts[source]], [starts[target]]], device=store.edge_index.device)
            edges.append(store.edge_index + first)
    return torch.cat([edge_index.to(edges[-1].device) for edge_index in edges], dim=1)


def weights_of(stores: Iterable[Any]) -> np.ndarray | None:
    """The weights of the edges of all stores, float64 [num_edges], the largest of them 1; None if all are the same.

    No encoding makes a difference of their unit.
    """
    stores = [store for store in stores if store.get("edge_index") is not None]
    parts = [weights_in(store["edge_index"].size(1), store.get("edge_weight")) for store in stores]
    weights = np.concatenate([np.zeros(0), *parts])
    if not weights.size or ((weights == weights[0]).all() and weights[0] > 0):
        return None
    return weights / max(weights.max(), np.finfo(float).tiny)


def weights_in(num_edges: int, weights: Tensor | None) -> np.ndarray:
    """[num_edges] float64; ones where there are none."""
    if weights is None:
        return np.ones(num_edges)
    if not isinstance(weights, Tensor):
        raise TypeError(
            f"'edge_weight' needs to be a Tensor (got {type(weights).__name__}); convert it by torch.as_tensor"
        )
    if weights.numel() != num_edges or weights.dim() not in (1, 2) or weights.is_complex():
        raise ValueError(
            f"'edge_weight' needs to be a number for each of {num_edges} edges (got {weights.dtype} of shape "
            f"{list(weights.shape)})"
        )
    weights = weights.detach().reshape(-1).double().cpu()
    if not (weights.isfinite() & (weights >= 0)).all():
        raise ValueError(
            "'edge_weight' needs to be finite and at least 0; take absolute values, or remove it from the data "
            "that is encoded"
        )
    return weights.numpy()


def warn_of_weights(data: Data | HeteroData, transform: BaseTransform, counted: str) -> None:
    """Says that weights of edges are not used, if they differ."""
    if weights_of(data.edge_stores) is not None:
        warnings.warn(
            f"{transform} counts {counted}, whatever their 'edge_weight'; remove it from the data before if that "
            f"is meant",
            stacklevel=4,
        )


def components(
    edge_index: np.ndarray, num_nodes: int, edge_weight: np.ndarray | None = None
) -> Iterator[tuple[np.ndarray, csr_array]]:
    """Nodes of each connected component with an edge, and the weight between them (rows = sources): the number of edges
    where there are no weights. What weighs 0 is no edge."""
    edge_weight = np.ones(edge_index.shape[1]) if edge_weight is None else edge_weight
    matrix = csr_array((edge_weight, tuple(edge_index)), shape=(num_nodes, num_nodes))
    matrix.eliminate_zeros()
    _, label = connected_components(matrix, directed=False)
    order = np.argsort(label, kind="stable")
    matrix = matrix[order][:, order]  # the components are blocks now
    bounds = np.flatnonzero(np.diff(label[order], prepend=-1, append=-1))
    for first, last in pairwise(bounds):
        block = matrix[first:last, first:last]
        if block.nnz:
            yield order[first:last], block
