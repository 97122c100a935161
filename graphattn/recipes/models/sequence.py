"""N vectors in, one set of scores out: words, frames of a sound, patches of an image."""

from typing import Any, cast

from torch import Tensor, nn

from graphattn.graphs import Graph
from graphattn.graphs.convert import GraphLike
from graphattn.nn import AttentionReadout, Dropout, EncoderLayer, GraphTransformer, RotaryPositions
from graphattn.recipes.models.dtype import as_weights
from graphattn.recipes.models.words import WordEmbedding


class SequenceClassifier(nn.Module):
    """Embedded nodes -> attention between them -> attention pooling -> scores of the classes.

    Rotary positions put the distance of two nodes into their score: of places in a sequence, on a grid of coordinates.

    Args:
        embed: Makes vectors [num_nodes, channels] of the nodes: a `WordEmbedding`, a linear map.
        num_classes: Columns of the result.
        word_decay: Weight decay of the vectors of words; most are seen a few times only.
    """

    def __init__(
        self,
        embed: nn.Module,
        num_classes: int,
        *,
        channels: int,
        layers: int,
        heads: int,
        dropout: float,
        attention_dropout: float,
        word_decay: float = 1.0,
    ):
        super().__init__()
        self.embed = embed
        self.encoder = GraphTransformer(
            channels,
            layers,
            heads,
            2 * channels,
            norm_first=True,
            activation="gelu",
            dropout=dropout,
            attention_dropout=attention_dropout,
            positions=RotaryPositions(max_period=100),
        )
        self.readout = AttentionReadout(channels, heads)
        self.head = nn.Linear(channels, num_classes)
        self.dropout, self.word_decay = Dropout(dropout), word_decay

    def forward(self, x: Tensor, graph: GraphLike, pos: Tensor | None = None) -> Tensor:
        """Positions [num_nodes, axes] are needed where the graph does not tell them, as the edges of a grid do not."""
        encoded = self.encoder(self.embed(as_weights(self, x)), graph, pos=pos)
        return self.head(self.dropout(self.readout(encoded, graph)))

    def parameter_groups(self, weight_decay: float) -> list[Any]:
        """Vectors of words, which are drawn to 0 more strongly, and the rest."""
        if not isinstance(self.embed, WordEmbedding):
            return list(self.parameters())
        vectors = self.embed.vectors()
        rest = [parameter for parameter in self.parameters() if all(parameter is not vector for vector in vectors)]
        return [
            {"params": vectors, "weight_decay": self.word_decay},
            {"params": rest, "weight_decay": weight_decay},
        ]

    def attention(self, x: Tensor, graph: Graph) -> tuple[Tensor, Tensor]:
        """Of one example: weights of the first layer [num_edges, heads] and of the readout [num_nodes, heads]."""
        x, layer = self.embed(x), cast(EncoderLayer, self.encoder.layers[0])
        normed = layer.attention_residual.norm(x)
        _, (_, between) = layer.attention(normed, graph, return_attention_weights=True)
        inputs = self.encoder(x, graph), self.readout.query
        _, (_, pooling) = self.readout.attention(inputs, self.readout.graph(graph), return_attention_weights=True)
        return between, pooling
