"""Graphs in, one number for each out."""

from typing import Any

from torch import Tensor, nn
from torch_geometric.data import Data
from torch_geometric.nn import global_add_pool, global_mean_pool

from graphattn.nn import Dropout, EncoderLayer, HopBias
from graphattn.recipes.batches import all_pairs, graph_of
from graphattn.recipes.models.dtype import as_weights

TYPICAL_NODES = 10  # of a molecule: brings sums over nodes to the size of one


class Regressor(nn.Module):
    """Attention along the edges, whose features enter key and value, and then from every node to every node of its graph, where
    a learned bias counts the edges between them (Ying et al. 2021). The sum or the mean over nodes makes the number.

    Args:
        in_channels: Features of a node; edge_dim: of an edge.
        channels, heads, blocks: Of the layers; a block has one of each kind.
        is_global: Whether there is attention from every node to every node. Batches then have `hops`, else they are counted.
        max_hops: Longer ways along the edges count as one length.
        is_sum: Whether the number grows with the graph, as a solubility does, or is a mean over its nodes.

    Shapes:
        - output: [num_graphs]
    """

    def __init__(
        self,
        in_channels: int,
        edge_dim: int | None,
        *,
        channels: int = 64,
        heads: int = 8,
        blocks: int = 3,
        dropout: float = 0.1,
        is_global: bool = True,
        max_hops: int = 8,
        is_sum: bool = True,
    ):
        super().__init__()
        block: dict[str, Any] = {"feedforward_channels": 2 * channels, "dropout": dropout}
        block |= {"attention_dropout": 0.0, "norm_first": True}
        everywhere = range(blocks if is_global else 0)
        self.embed = nn.Linear(in_channels, channels)
        self.bonds = nn.ModuleList(EncoderLayer(channels, heads, edge_dim=edge_dim, **block) for _ in range(blocks))
        self.everywhere = nn.ModuleList(EncoderLayer(channels, heads, **block) for _ in everywhere)
        self.hop_bias = HopBias(heads, max_hops) if is_global else None
        self.atom = nn.Sequential(nn.LayerNorm(channels), nn.Linear(channels, channels), nn.GELU())
        self.molecule = nn.Sequential(
            Dropout(dropout), nn.Linear(channels, channels), nn.GELU(), Dropout(dropout), nn.Linear(channels, 1)
        )
        self.is_sum = is_sum

    def forward(self, data: Data) -> Tensor:
        x, edges = self.embed(as_weights(self, data.x)), graph_of(data)
        edge_attr = as_weights(self, data.edge_attr)
        everyone, hop_bias = all_pairs(edges), None
        if self.hop_bias is not None:
            hop_bias = self.hop_bias(data.hops) if "hops" in data else self.hop_bias.along(edges)
        for number, layer in enumerate(self.bonds):
            x = layer(x, edges, edge_attr)
            if self.everywhere:
                x = self.everywhere[number](x, everyone, edge_bias=hop_bias)
        batch = edges.batch(x.device)
        if self.is_sum:
            total = global_add_pool(self.atom(x), batch, edges.num_examples) / TYPICAL_NODES
        else:
            total = global_mean_pool(self.atom(x), batch, edges.num_examples)
        return self.molecule(total)[:, 0]
