"""Relation: what one type of edges adds to HeteroGraphAttention."""

from typing import Optional

import torch
from torch import Tensor
from torch.nn import Parameter
from torch_geometric.nn.conv import MessagePassing
from torch_geometric.nn.dense import Linear
from torch_geometric.nn.inits import glorot, zeros

from graphattn.formulas.scores import Score


class Relation(MessagePassing):
    r"""Keys, values, scores and messages of one type of edges, for the softmax over all types together.

    The key of a source is A k, its value M v with one A and M for each head (Hu et al. 2020, W^ATT and W^MSG), the score
    s(q, A k) scale + b with one b for each head. It is a MessagePassing layer, so that explainers find a mask for each type.

    Args:
        heads: Number of attention heads.
        kv_heads: Number of key and value heads.
        channels: Size of each head.
        edge_dim: Size of the edge features, None if there are none.
        maps: Whether there are A and M.
        bias: Whether there is b.

    Example:
        >>> import torch
        >>> Relation(heads=2, kv_heads=2, channels=4)
        Relation(heads=2, channels=4)
    """

    def __init__(
        self,
        heads: int,
        kv_heads: int,
        channels: int,
        edge_dim: int | None = None,
        maps: bool = True,
        bias: bool = True,
    ):
        super().__init__(aggr="add", node_dim=0)
        self.heads, self.channels = heads, channels
        self.key_map = Parameter(torch.empty(kv_heads, channels, channels)) if maps else None
        self.value_map = Parameter(torch.empty(kv_heads, channels, channels)) if maps else None
        self.bias = Parameter(torch.empty(heads)) if bias else None
        self.lin_edge = None if edge_dim is None else Linear(edge_dim, heads * channels, bias=False)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        super().reset_parameters()
        glorot(self.key_map)
        glorot(self.value_map)
        zeros(self.bias)
        if self.lin_edge is not None:
            self.lin_edge.reset_parameters()

    def edge_map(self) -> Linear:
        if self.lin_edge is None:
            raise ValueError("the relation has no map of edge features (got edge_dim=None); give it their 'edge_dim'")
        return self.lin_edge

    def edge_weight(self) -> Tensor:
        """[heads, channels, edge_dim]."""
        return self.edge_map().weight.unflatten(0, (self.heads, self.channels))

    def of_edges(self, edge_attr: Tensor) -> Tensor:
        """What the features of the edges add to keys and values: [num_edges, heads, channels]."""
        return self.edge_map()(edge_attr).unflatten(-1, (self.heads, self.channels))

    def scores(
        self,
        query: Tensor,
        key: Tensor,
        edge_index: Tensor,
        edge_attr: Optional[Tensor],
        score: Score,
        scale: float,
    ) -> Tensor:
        """Scores of the edges [num_edges, heads] of query and (mapped) key [num_nodes, heads, channels]."""
        size = (key.size(0), query.size(0))
        pair = {"query": (None, query), "key": (key, None)}
        return self.edge_updater(edge_index, **pair, edge_attr=edge_attr, score=score, scale=scale, size=size)

    def forward(
        self, value: Tensor, alpha: Tensor, edge_index: Tensor, edge_attr: Optional[Tensor], num_targets: int
    ) -> Tensor:
        """Sum of the messages: [num_targets, heads, channels] of (mapped) value [num_sources, heads, channels]."""
        size = (value.size(0), num_targets)
        return self.propagate(edge_index, value=(value, None), alpha=alpha, edge_attr=edge_attr, size=size)

    def edge_update(
        self, query_i: Tensor, key_j: Tensor, edge_attr: Optional[Tensor], score: Score, scale: float
    ) -> Tensor:
        """Scores of the edges: [num_edges, heads]."""
        scores = score.between(query_i, key_j, None)
        if edge_attr is not None:
            scores = scores + (query_i[..., : self.channels] * self.of_edges(edge_attr)).sum(-1)
        scores = scores * scale
        return scores if self.bias is None else scores + self.bias

    def message(self, value_j: Tensor, alpha: Tensor, edge_attr: Optional[Tensor]) -> Tensor:
        """Messages of the edges: [num_edges, heads, channels]."""
        if edge_attr is not None:
            value_j = value_j + self.of_edges(edge_attr)
        return alpha.unsqueeze(-1) * value_j

    def __repr__(self) -> str:
        return f"{type(self).__name__}(heads={self.heads}, channels={self.channels})"


def mapped(x: Tensor, weight: Tensor | None) -> Tensor:
    """[num_nodes, heads, channels] times a map [heads, channels, channels] of each head."""
    return x if weight is None else torch.einsum("nhc,hcd->nhd", x, weight.to(x.dtype))
