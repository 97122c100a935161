"""Edge features in keys and values, by products of nodes or of edges, whichever are fewer.

With W [heads, out_channels, edge_dim] and edges e [num_edges, edge_dim], q · (k + W e) = q · k + (Wᵀ q) · e and
sum of w (v + W e) = sum of w v + W (sum of w e): `attend` takes Wᵀ q as `edge_query` and returns the sum of w e, so that no edge
ever needs heads * out_channels numbers. Where nodes have few edges, W e of each edge takes no more memory, and less time.
"""

import torch
from torch import Tensor

from graphattn.graphs import Graph
from graphattn.graphs.spread import SpreadGraph
from graphattn.nn.linear_maps import head_by_head

# So many times as long as a number of one large product takes one of a product for each head, which are small. Two cores, float32,
# 64 channels -> 4 heads of 16, 16 edge features: benchmarks.everyday, molecules.
PRICE_OF_HEADS = 3


def is_cheaper_by_edges(graph: Graph, edge_features: Tensor, channels: int) -> bool:
    """Whether it is cheaper to map the features of all edges than the queries and results of all nodes.

    Args:
        graph: One graph, with as many edges.
        edge_features: [num_edges, edge_dim].
        channels: Of each head.
    """
    if torch.compiler.is_compiling() or edge_features.device.type != "cpu":
        return False  # sizes may be symbols; the loops on CUDA take features that all heads share
    if isinstance(graph, SpreadGraph):
        return False  # its processes have different numbers of edges, and must do the same
    num_edges, edge_dim = edge_features.shape
    by_nodes = 2 * graph.num_queries * channels * edge_dim * PRICE_OF_HEADS + 2 * num_edges * edge_dim
    return num_edges * (channels * edge_dim + 2 * channels) < by_nodes


def edge_query(query: Tensor, weight: Tensor) -> Tensor:
    """Wᵀ q: [num_queries, heads, out_channels] -> [num_queries, heads, edge_dim]."""
    return head_by_head(query, weight)


def with_edge_values(out: Tensor, edge_out: Tensor, weight: Tensor | None) -> Tensor:
    """out + W z: [num_queries, heads, out_channels] and z [num_queries, heads, edge_dim], or out + z without W."""
    if weight is None:
        return out + edge_out
    return torch.baddbmm(out.transpose(0, 1), edge_out.transpose(0, 1), weight.mT).transpose(0, 1)
