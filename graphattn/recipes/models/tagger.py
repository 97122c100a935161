"""N vectors in, N sets of scores out."""

from torch import Tensor, nn

from graphattn.graphs import Graph
from graphattn.nn import Dropout, GraphAttention
from graphattn.nn.positions import SinusoidalPositions
from graphattn.recipes.models.dtype import as_weights


class TagLayer(nn.Module):
    """x + attention, then x + feed-forward, normalised before (Xiong et al. 2020)."""

    def __init__(self, channels: int, heads: int, dropout: float, edge_dim: int | None):
        super().__init__()
        self.attention_norm, self.norm = nn.LayerNorm(channels), nn.LayerNorm(channels)
        self.attention = GraphAttention(channels, channels // heads, heads, edge_dim=edge_dim, project_out=True)
        self.feed_forward = nn.Sequential(
            nn.Linear(channels, 2 * channels), nn.GELU(), Dropout(dropout), nn.Linear(2 * channels, channels)
        )
        self.dropout = Dropout(dropout)

    def forward(self, x: Tensor, graph: Graph, edge_attr: Tensor | None) -> Tensor:
        x = x + self.dropout(self.attention(self.attention_norm(x), graph, edge_attr))
        return x + self.dropout(self.feed_forward(self.norm(x)))


class Tagger(nn.Module):
    """Embedded nodes -> attention -> one score for each tag: [num_nodes, num_tags].

    Args:
        embed: Makes vectors [num_nodes, channels] of the nodes.
        num_tags: Columns of the result.
        edge_dim: Features of an edge, such as the offset in a band; None where there are none, and sines and cosines of the
            places are added to the nodes in their stead (Vaswani et al. 2017).
    """

    def __init__(
        self,
        embed: nn.Module,
        num_tags: int,
        *,
        channels: int,
        layers: int,
        heads: int,
        dropout: float,
        edge_dim: int | None,
    ):
        super().__init__()
        self.embed_nodes = embed
        # Which word is next matters for a tag, not which of a thousand: short periods, as large as the words.
        self.positions = SinusoidalPositions(channels, max_period=100) if edge_dim is None else None
        self.layers = nn.ModuleList(TagLayer(channels, heads, dropout, edge_dim) for _ in range(layers))
        self.head = nn.Sequential(nn.LayerNorm(channels), nn.Linear(channels, num_tags))

    def embed(self, x: Tensor, pos: Tensor) -> Tensor:
        embedded = self.embed_nodes(x)
        return embedded if self.positions is None else embedded + 2 * self.positions(pos)

    def forward(self, x: Tensor, pos: Tensor, graph: Graph, edge_attr: Tensor | None) -> Tensor:
        x = self.embed(as_weights(self, x), pos)
        for layer in self.layers:
            x = layer(x, graph, edge_attr)
        return self.head(x)
