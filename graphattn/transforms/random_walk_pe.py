"""Probabilities that a random walk is back where it began."""

import numpy as np
from scipy.sparse import csr_array
from torch_geometric.data.datapipes import functional_transform

from graphattn.transforms.encoding import Encoding, components

CHUNK = 2**22  # probabilities held at a time: 32 MB


@functional_transform("random_walk_pe")
class AddRandomWalkPE(Encoding):
    """Of each node, the probability that a random walk from it is back after 1, 2, ..., k steps (Dwivedi et al. 2022).

    The walk follows the edges from source to target, each as often as its share of `edge_weight` among those of its source
    says, a repeated edge twice as often; a node without a way out is never come back to. Without repeated edges and weights
    the numbers are those of PyG's transform of this name (which, of weights, uses the sum alone, so that its rows do not sum
    to 1); nodes times nodes numbers are never held (functional name: `random_walk_pe`).

    Args:
        k: Number of steps.
        attr_name: Name of the attribute [num_nodes, k]; None joins it to `x`.
        walk_length: PyG's name of `k`.

    >>> import torch
    >>> from torch_geometric.data import Data
    >>> path = Data(edge_index=torch.tensor([[0, 1, 1, 2], [1, 0, 2, 1]]), num_nodes=3)
    >>> AddRandomWalkPE(4)(path).random_walk_pe
    tensor([[0.0000, 0.5000, 0.0000, 0.5000],
            [0.0000, 1.0000, 0.0000, 1.0000],
            [0.0000, 0.5000, 0.0000, 0.5000]])
    """

    def __init__(
        self, k: int | None = None, attr_name: str | None = "random_walk_pe", *, walk_length: int | None = None
    ):
        given = [number for number in (k, walk_length) if number is not None]
        if len(given) != 1:
            raise TypeError(f"give 'k' or, by PyG's name, 'walk_length' (got k={k} and walk_length={walk_length})")
        super().__init__(given[0], attr_name)

    def encode(self, edge_index: np.ndarray, num_nodes: int, edge_weight: np.ndarray | None = None) -> np.ndarray:
        encoding = np.zeros((num_nodes, self.k))
        for nodes, block in components(edge_index, num_nodes, edge_weight):
            encoding[nodes] = return_probabilities(block, self.k)
        return encoding


def return_probabilities(edges: csr_array, k: int) -> np.ndarray:
    """[num_nodes, k] from the numbers or weights of edges, rows = sources."""
    num_nodes = edges.shape[0]
    steps = edges.copy()
    steps.data = edges.data / np.repeat(edges.sum(axis=1), np.diff(edges.indptr))
    result = np.zeros((num_nodes, k))
    width = max(1, CHUNK // num_nodes)
    for first in range(0, num_nodes, width):
        goals = np.arange(first, min(first + width, num_nodes))
        arrives = np.zeros((num_nodes, len(goals)))  # probability to be at a goal after so many steps from a node
        arrives[goals, goals - first] = 1
        for step in range(k):
            arrives = steps @ arrives
            result[goals, step] = arrives[goals, goals - first]
    return result
