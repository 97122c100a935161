"""LanguageModel: the next token, from those that a graph lets it see."""

from typing import TYPE_CHECKING, Any

from torch import Tensor
from torch_geometric.nn.dense import Linear

from graphattn.graphs import Graph
from graphattn.graphs.convert import GraphLike
from graphattn.graphs.per_head import PerHead
from graphattn.nn.decoding import Decoding
from graphattn.nn.embedding import Encoding, TokenEmbedding, check_tokens
from graphattn.nn.next_token import NextTokenModel
from graphattn.nn.positions.coordinates import positions_of
from graphattn.nn.transformer import GraphTransformer, PerLayer


class LanguageModel(NextTokenModel):
    """Tokens -> scores of the next token: embedding, GraphTransformer, linear map (Radford et al. 2018).

    Which earlier tokens each token sees is the graph's affair: `causal`, a band, any edges from earlier nodes to later ones.
    It writes by `greedy_search`, `sample` and `beam_search`, over the graph that it was last trained on unless told otherwise:
    the graph of the last call in training mode, as a rule for texts of any length (a window that reaches the first node is
    taken for one without an end). Pickles and `state_dict` files keep the rule (a plain dict made of one does not, and loading
    it warns); a model that knows none writes over `causal`.

    A text that is given as a whole may be read as a whole (Raffel et al. 2020, section 3.2.1): `PrefixGraph(num_nodes,
    prefix)` says how long it is. Its tokens but the last see the next one, so leave them out of the loss.

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
        - graph: a causal graph or a `PrefixGraph` over them, or `PerLayer`
        - output: [num_nodes, num_tokens], scores before the softmax

    Raises:
        ValueError: if a graph shows a token what comes after it, outside of a prefix.

    Example:
        >>> import torch
        >>> from graphattn import causal
        >>> model = LanguageModel(100, 16, num_layers=2, heads=4)
        >>> model(torch.randint(100, (9,)), causal([4, 5])).shape
        torch.Size([9, 100])
        >>> from graphattn import PrefixGraph
        >>> tokens, graph = torch.randint(100, (9,)), PrefixGraph([4, 5], prefix=[2, 3])
        >>> is_last = torch.tensor([0, 0, 0, 1, 0, 0, 0, 0, 1]).bool()  # of an example: nothing is known to come
        >>> counts = ~graph.sees_next() & ~is_last
        >>> loss = torch.nn.functional.cross_entropy(model(tokens, graph)[counts], tokens.roll(-1)[counts])
    """

    def __init__(
        self,
        num_tokens: int,
        channels: int,
        num_layers: int,
        heads: int,
        *,
        encoding: Encoding = "sinusoidal",
        tie_weights: bool = False,
        dropout: float = 0.0,
        **transformer: Any,
    ):
        super().__init__()
        self.embedding = TokenEmbedding(num_tokens, channels, encoding, dropout)
        self.decoder = GraphTransformer(channels, num_layers, heads, dropout=dropout, **transformer)
        self.lin_out = Linear(channels, num_tokens)
        if tie_weights:
            self.lin_out.weight = self.embedding.table.weight

    def forward(self, tokens: Tensor, graph: GraphLike | PerHead | PerLayer) -> Tensor:
        check_tokens(tokens)
        tokens, graph, first = self.check_graph(tokens, graph)
        pos = positions_of(first, device=tokens.device)[1]
        return self.lin_out(self.decoder(self.embedding(tokens, pos), graph))

    if TYPE_CHECKING:
        __call__ = forward

    def start(self, num_examples: int, graph: Graph | PerLayer) -> Decoding:
        """Nothing written yet, for so many examples; `graph` is one over the longest of them or over each, see Decoding."""
        return Decoding(self, graph, num_examples)
