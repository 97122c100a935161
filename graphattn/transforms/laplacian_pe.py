"""Eigenvectors of the graph Laplacian as positions, and their eigenvalues."""

from typing import Any

import numpy as np
from scipy.sparse import csc_array, csr_array, diags_array, eye_array
from scipy.sparse.linalg import ArpackNoConvergence, eigsh
from torch import Tensor
from torch_geometric.data.datapipes import functional_transform

from graphattn.transforms.encoding import Encoding, components

LARGEST_DENSE = 500  # nodes; beyond it only the eigenvectors asked for are computed
MOST_RESTARTS = 100  # of Lanczos' method, each of about 20 products with the matrix


@functional_transform("laplacian_pe")
class AddLaplacianPE(Encoding):
    """The k eigenvectors of lowest frequency of the normalized Laplacian I - D^-1/2 A D^-1/2 (Dwivedi et al. 2020).

    Of each connected component: without the constant one (eigenvalue 0), each of length 1, filled up with zeros where a
    component has no more than k nodes. Edges count in both directions and once, by the largest `edge_weight` between their
    ends where there are weights; self loops do not count. On a path of n nodes they are cosines of the position,
    cos(pi i j / (n - 1)) times the root of the degree (functional name: `laplacian_pe`).

    An eigenvector's sign says nothing. Here its largest entry is positive; `sign='absolute'` takes absolute values, and
    the modules RandomSigns and SignInvariant of graphattn.nn flip it in training or make no difference of it. Where
    eigenvalues are equal, their eigenvectors are any basis of a common space.

    Args:
        k: Number of eigenvectors.
        attr_name: Name of the attribute [num_nodes, k]; None joins it to `x`.
        sign: 'largest_positive' or 'absolute'.
        eigenvalues_attr_name: Name of the attribute [num_nodes, k] for the eigenvalues that go with the columns, in (0, 2],
            of the component of each node; 0 where there is no eigenvector. None stores none.
        is_undirected: An argument of PyG's AddLaplacianEigenvectorPE that changes nothing: edges count in both directions.

    >>> import torch
    >>> from torch_geometric.data import Data
    >>> path = Data(edge_index=torch.tensor([[0, 1, 2], [1, 2, 3]]), num_nodes=5)  # and a node alone
    >>> AddLaplacianPE(2)(path).laplacian_pe
    tensor([[ 0.5774,  0.5774],
            [ 0.4082, -0.4082],
            [-0.4082, -0.4082],
            [-0.5774,  0.5774],
            [ 0.0000,  0.0000]])
    """

    def __init__(
        self,
        k: int,
        attr_name: str | None = "laplacian_pe",
        sign: str = "largest_positive",
        eigenvalues_attr_name: str | None = None,
        *,
        is_undirected: bool = False,
    ):
        super().__init__(k, attr_name)
        if sign not in ("largest_positive", "absolute"):
            raise ValueError(f"'sign' must be 'largest_positive' or 'absolute' (got {sign!r})")
        self.sign, self.eigenvalues_attr_name = sign, eigenvalues_attr_name

    def encode(self, edge_index: np.ndarray, num_nodes: int, edge_weight: np.ndarray | None = None) -> np.ndarray:
        """[num_nodes, 2 k]: eigenvectors, then their eigenvalues."""
        vectors, values = np.zeros((2, num_nodes, self.k))
        for nodes, block in components(*pairs_once(edge_index, num_nodes, edge_weight)):
            own_values, own_vectors = lowest_eigenvectors(laplacian(block), self.k)
            vectors[nodes, : len(own_values)], values[nodes, : len(own_values)] = own_vectors, own_values
        return np.concatenate([np.abs(vectors) if self.sign == "absolute" else vectors, values], axis=1)

    def put(self, store: Any, encoding: Tensor) -> None:
        vectors, values = encoding.split(self.k, dim=1)
        super().put(store, vectors)
        if self.eigenvalues_attr_name is not None:
            store[self.eigenvalues_attr_name] = values


def pairs_once(
    edge_index: np.ndarray, num_nodes: int, edge_weight: np.ndarray | None
) -> tuple[np.ndarray, int, np.ndarray | None]:
    """The edges [2, num_pairs] from the smaller to the larger number, each once, the nodes, and the largest weight of each."""
    low, high = np.sort(edge_index.astype(np.int64), axis=0)
    apart = low != high
    pairs, place = np.unique(low[apart] * num_nodes + high[apart], return_inverse=True)
    if edge_weight is not None:
        weights = np.zeros(len(pairs))
        np.maximum.at(weights, place, edge_weight[apart])
        edge_weight = weights
    return np.stack(np.divmod(pairs, max(num_nodes, 1))), num_nodes, edge_weight


def laplacian(block: csr_array) -> csr_array:
    """The normalized Laplacian of a connected component, from the weight of each edge in one direction."""
    adjacency = block + block.T
    scale = diags_array(adjacency.sum(axis=1) ** -0.5)
    return csr_array(eye_array(block.shape[0]) - scale @ adjacency @ scale)


def lowest_eigenvectors(matrix: csr_array, k: int) -> tuple[np.ndarray, np.ndarray]:
    """The lowest eigenvalues above 0 and their eigenvectors [num_nodes, at most k], the largest entry of each positive."""
    num_nodes = matrix.shape[0]
    if num_nodes <= LARGEST_DENSE or k + 1 >= num_nodes:
        values, vectors = np.linalg.eigh(matrix.toarray())
    else:
        values, vectors = few_eigenvectors(matrix, k + 1)
    values, vectors = values[1 : k + 1], vectors[:, 1 : k + 1]
    # Of two entries of one size (up to rounding) the first decides.
    size = np.abs(vectors)
    decisive = (size >= size.max(axis=0) * (1 - 1e-6)).argmax(axis=0)
    return values, vectors * np.sign(vectors[decisive, np.arange(vectors.shape[1])])


def few_eigenvectors(matrix: csr_array, k: int) -> tuple[np.ndarray, np.ndarray]:
    """The k lowest eigenvalues of a large Laplacian and their eigenvectors, the lowest first."""
    start = np.random.default_rng(0).standard_normal(matrix.shape[0])  # fixed, so that the result is repeatable
    try:
        # The largest of 2 - L are the smallest of L: fast where they lie apart, as in most networks.
        values, vectors = eigsh(2 * eye_array(matrix.shape[0]) - matrix, k, which="LA", v0=start, maxiter=MOST_RESTARTS)
        values = 2 - values
    except ArpackNoConvergence:
        # On paths, grids and meshes they are close together, but the factors of the matrix are sparse.
        values, vectors = eigsh(csc_array(matrix), k, sigma=-1e-6, which="LM", v0=start)
    order = np.argsort(values)
    return values[order], vectors[:, order]
