"""LanguageModel: the next token, from those that a causal graph lets it see."""

from typing import Any

import torch
from torch import Tensor
from torch_geometric.nn.dense import Linear

from graphattn.graphs import Graph, as_graph
from graphattn.nn.decoding import Decoding
from graphattn.nn.embedding import TokenEmbedding
from graphattn.nn.positions.coordinates import positions_of
from graphattn.nn.transformer import GraphTransformer, PerLayer


class LanguageModel(torch.nn.Module):
    """Tokens -> scores of the next token: embedding, GraphTransformer, linear map (Radford et al. 2018).

    Which earlier tokens each token sees is the graph's affair: `causal`, a band, any edges. It writes by
    `greedy_search`, `sample` and `beam_search`.

    Args:
        num_tokens: Number of different tokens.
        channels: Size of the node features, a multiple of `heads`.
        num_layers: Number of layers.
        heads: Number of attention heads.
        encoding: Of the positions, as in TokenEmbedding.
        tie_weights: Whether embedding and last linear map share their weights (Press and Wolf 2017).
        dropout: Of the embedding and all layers.
        **transformer: Further arguments of GraphTransformer: norm_first, edge_bias, positions, activation, ...

    Shapes:
        - tokens: [num_nodes], the examples end to end
        - graph: a causal graph over them, or `PerLayer`
        - output: [num_nodes, num_tokens], scores before the softmax

    Example:
        >>> from graphattn import causal
        >>> model = LanguageModel(100, 16, num_layers=2, heads=4)
        >>> model(torch.randint(100, (9,)), causal([4, 5])).shape
        torch.Size([9, 100])
    """

    def __init__(
        self,
        num_tokens: int,
        channels: int,
        num_layers: int,
        heads: int,
        *,
        encoding: Any = "sinusoidal",
        tie_weights: bool = False,
        dropout: float = 0.0,
        **transformer,
    ):
        super().__init__()
        self.embedding = TokenEmbedding(num_tokens, channels, encoding, dropout)
        self.decoder = GraphTransformer(channels, num_layers, heads, dropout=dropout, **transformer)
        self.lin_out = Linear(channels, num_tokens)
        if tie_weights:
            self.lin_out.weight = self.embedding.table.weight

    def forward(self, tokens: Tensor, graph: Any) -> Tensor:
        first = graph.graphs[0] if isinstance(graph, PerLayer) else graph
        pos = positions_of(as_graph(first, tokens.size(0)), device=tokens.device)[1]
        return self.lin_out(self.decoder(self.embedding(tokens, pos), graph))

    def start(self, num_examples: int, graph: Graph | PerLayer) -> Decoding:
        """Nothing written yet, for so many examples; `graph` is a causal graph over the longest of them, or `PerLayer`."""
        return Decoding(self, graph, num_examples)
