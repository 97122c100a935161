"""Edge features in keys and values, by products of nodes: no edge ever needs heads * out_channels numbers.

With W [heads, out_channels, edge_dim] and edges e [num_edges, edge_dim], q · (k + W e) = q · k + (Wᵀ q) · e and
sum of w (v + W e) = sum of w v + W (sum of w e): `attend` takes Wᵀ q as `edge_query` and returns the sum of w e.
"""

import torch
from torch import Tensor


def edge_query(query: Tensor, weight: Tensor) -> Tensor:
    """Wᵀ q: [num_queries, heads, out_channels] -> [num_queries, heads, edge_dim]."""
    # A product for each head: torch.einsum comes to the same in twice the time where nodes are few.
    return torch.bmm(query.transpose(0, 1), weight).transpose(0, 1)


def with_edge_values(out: Tensor, edge_out: Tensor, weight: Tensor) -> Tensor:
    """out + W z: [num_queries, heads, out_channels] and z [num_queries, heads, edge_dim]."""
    return torch.baddbmm(out.transpose(0, 1), edge_out.transpose(0, 1), weight.mT).transpose(0, 1)
