"""Networks over one graph: a score for each class of every node."""

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch_geometric.nn.inits import glorot, zeros

from graphattn.graphs import Graph
from graphattn.nn import Dropout, GraphAttention
from graphattn.nn.dropout import drop
from graphattn.recipes.models.dtype import as_weights


class GAT(nn.Module):
    """The network of Veličković et al. 2018: attention, ELU, and a last attention whose one head is the logits.

    Args:
        in_channels: Features of a node.
        num_classes: Columns of the result.
        hidden_channels: Of all heads together.
        layers: Attentions, the last included.
        heads: Of the hidden ones.
        score, share_weights: As in GraphAttention.
        dropout: Of the features; attention_dropout: of the weights.
        attention: Makes an attention layer, with GraphAttention's arguments.
    """

    def __init__(
        self,
        in_channels: int,
        num_classes: int,
        *,
        hidden_channels: int = 64,
        layers: int = 2,
        heads: int = 8,
        score: str = "additive",
        share_weights: bool = True,
        dropout: float = 0.6,
        attention_dropout: float = 0.6,
        attention: Callable[..., nn.Module] = GraphAttention,
    ):
        super().__init__()
        options: dict[str, Any] = {"score": score, "dropout": attention_dropout, "share_weights": share_weights}
        widths = [in_channels] + [hidden_channels] * (layers - 1)
        self.hidden = nn.ModuleList(
            attention(width, hidden_channels // heads, heads, **options) for width in widths[:-1]
        )
        self.last = attention(widths[-1], num_classes, **options)
        self.dropout = dropout
        for parameter in self.parameters():  # as in the paper; features of row sum 1 would be too weak otherwise
            glorot(parameter) if parameter.dim() > 1 else zeros(parameter)

    def forward(self, x: Tensor, graph: Graph) -> Tensor:
        x = as_weights(self, x)
        for layer in self.hidden:
            x = F.elu(layer(drop_features(x, self.dropout, self.training), graph))
        return self.last(drop_features(x, self.dropout, self.training), graph)


def drop_features(x: Tensor, p: float, training: bool) -> Tensor:
    """Dropout. Of a sparse matrix, the zeros need no dropping."""
    if x.layout != torch.sparse_csr:
        return drop(x, p, training)
    return torch.sparse_csr_tensor(x.crow_indices(), x.col_indices(), drop(x.values(), p, training), x.shape)


# Of an epoch that is one step: means over ten steps, as torch's default makes them, are of weights that have since moved on,
# and a model that has learned looks in evaluation as if it had not. Chosen on validation nodes among 0.1, 0.3, 0.5, 0.8 and 1.
MOMENTUM = 0.8


class NodeTransformer(nn.Module):
    """Blocks of x + dropout(gelu(W [h, attention(h)])) with h = norm(x).

    A node and its neighbourhood enter W apart, since neighbours may well be of another class (as in GAT-sep, Platonov
    et al. 2023). Residual, normalised and deep as in Luo et al. 2024, "Classic GNNs are strong baselines" (2406.08993).
    Arguments are those of GAT.
    """

    def __init__(
        self,
        in_channels: int,
        num_classes: int,
        *,
        hidden_channels: int = 32,
        layers: int = 8,
        heads: int = 2,
        score: str = "dot",
        dropout: float = 0.2,
        attention_dropout: float = 0.0,
        attention: Callable[..., nn.Module] = GraphAttention,
    ):
        super().__init__()
        width = hidden_channels
        options: dict[str, Any] = {"score": score, "dropout": attention_dropout}
        self.embed = nn.Linear(in_channels, width)
        self.norms = nn.ModuleList(nn.BatchNorm1d(width, momentum=MOMENTUM) for _ in range(layers))
        self.attentions = nn.ModuleList(attention(width, width // heads, heads, **options) for _ in range(layers))
        self.linears = nn.ModuleList(nn.Linear(2 * width, width) for _ in range(layers))
        self.logits = nn.Sequential(nn.BatchNorm1d(width, momentum=MOMENTUM), nn.Linear(width, num_classes))
        self.dropout = Dropout(dropout)

    def forward(self, x: Tensor, graph: Graph) -> Tensor:
        x = self.dropout(F.gelu(self.embed(as_weights(self, x))))
        for norm, attention, linear in zip(self.norms, self.attentions, self.linears, strict=True):
            h = norm(x)
            x = x + self.dropout(F.gelu(linear(torch.cat([h, attention(h, graph)], dim=-1))))
        return self.logits(x)
