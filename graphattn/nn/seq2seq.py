"""Seq2Seq: from one sequence (or any graph) to another of another length."""

from typing import TYPE_CHECKING, Any

from torch import Tensor
from torch_geometric.nn.dense import Linear

from graphattn.graphs import CompleteGraph, Graph, as_graph
from graphattn.graphs.convert import GraphLike
from graphattn.graphs.exported import exported_complete
from graphattn.graphs.per_head import PerHead
from graphattn.graphs.traced import TracedGraph, derivation, derive
from graphattn.nn.decoding import Decoding
from graphattn.nn.embedding import Encoding, TokenEmbedding, check_tokens
from graphattn.nn.next_token import NextTokenModel
from graphattn.nn.positions.coordinates import positions_of
from graphattn.nn.readout import counts_of
from graphattn.nn.transformer import GraphTransformer, GraphTransformerDecoder, PerLayer


class Seq2Seq(NextTokenModel):
    """The Transformer of Vaswani et al. (2017): an encoder over the graph of the source, a decoder that writes the target.

    It writes over the target graph that it was last trained on unless told otherwise, as a LanguageModel does.

    Args:
        num_source_tokens: Number of different tokens of the source; None if it has features [num_nodes, channels].
        num_target_tokens: Number of different tokens of the target.
        channels: Size of the node features, a multiple of `heads`.
        num_layers: Number of layers of encoder and decoder, or one number for each.
        heads: Number of attention heads.
        encoding: Of the positions, as in TokenEmbedding; a module is shared by source and target.
        tie_weights: Whether target embedding and last linear map share their weights (Press and Wolf 2017).
        dropout: Of the embeddings and all layers.
        **transformer: Further arguments of both stacks: feedforward_channels, norm_first, activation, positions, ...

    Shapes:
        - source: [num_source_nodes] tokens, or features [num_source_nodes, channels]
        - target: [num_target_nodes] tokens
        - source_graph: who attends to whom in the source
        - target_graph: a causal graph or a `PrefixGraph` over the target, or `PerLayer`
        - output: [num_target_nodes, num_target_tokens], scores of the next token before the softmax

    Raises:
        ValueError: if a target graph shows a token what comes after it, outside of a prefix.

    Example:
        >>> import torch
        >>> from graphattn import CompleteGraph, causal
        >>> model = Seq2Seq(30, 40, channels=16, num_layers=2, heads=4)
        >>> source, target = torch.randint(30, (12,)), torch.randint(40, (9,))
        >>> model(source, target, CompleteGraph([10, 2]), causal([4, 5])).shape
        torch.Size([9, 40])
    """

    def __init__(
        self,
        num_source_tokens: int | None,
        num_target_tokens: int,
        channels: int,
        num_layers: int | tuple[int, int],
        heads: int,
        *,
        encoding: Encoding = "sinusoidal",
        tie_weights: bool = False,
        dropout: float = 0.0,
        **transformer: Any,
    ):
        super().__init__()
        layers = num_layers if isinstance(num_layers, (tuple, list)) else (num_layers, num_layers)
        self.source_embedding = None
        if num_source_tokens is not None:
            self.source_embedding = TokenEmbedding(num_source_tokens, channels, encoding, dropout)
        self.embedding = TokenEmbedding(num_target_tokens, channels, encoding, dropout)
        self.encoder = GraphTransformer(channels, layers[0], heads, dropout=dropout, **transformer)
        self.decoder = GraphTransformerDecoder(channels, layers[1], heads, dropout=dropout, **transformer)
        self.lin_out = Linear(channels, num_target_tokens)
        if tie_weights:
            self.lin_out.weight = self.embedding.table.weight

    def forward(
        self,
        source: Tensor,
        target: Tensor,
        source_graph: GraphLike,
        target_graph: GraphLike | PerHead | PerLayer,
    ) -> Tensor:
        source_graph = as_graph(source_graph, source.size(0))
        check_tokens(target)
        target, target_graph, first = self.check_graph(target, target_graph)
        memory_graph = whole_examples(first, source_graph)
        pos = positions_of(first, device=target.device)[1]
        memory = self.encode(source, source_graph)
        return self.lin_out(self.decoder(self.embedding(target, pos), memory, target_graph, memory_graph))

    if TYPE_CHECKING:
        __call__ = forward

    def encode(self, source: Tensor, source_graph: GraphLike) -> Tensor:
        """The memory: [num_source_nodes, channels]."""
        source_graph = as_graph(source_graph, source.size(0))
        if self.source_embedding is not None:
            source = self.source_embedding(source, positions_of(source_graph, device=source.device)[1])
        return self.encoder(source, source_graph)

    def start(self, num_examples: int, graph: Graph | PerLayer, source: Tensor, source_graph: GraphLike) -> Decoding:
        """Nothing written yet, the source read; `graph` is one over the longest target or over each, see Decoding."""
        source_graph = as_graph(source_graph, source.size(0))
        if source_graph.num_examples != num_examples:
            raise ValueError(
                f"there must be a prompt for each source (got {num_examples} and {source_graph.num_examples})"
            )
        return Decoding(self, graph, num_examples, self.encode(source, source_graph), counts_of(source_graph))


def whole_examples(queries: Graph, keys: Graph) -> Graph:
    """Complete, from the nodes of each example of `keys` to those of the same example of `queries`."""
    if isinstance(queries, TracedGraph) and isinstance(keys, TracedGraph):
        return derive(between_examples, [queries, keys], queries.num_queries, keys.num_queries)
    return between_examples(queries, keys)


def exported_between(graphs: list[Tensor], sizes: list[tuple[int, int]]) -> Tensor:
    (num_queries, _), (num_keys, _) = sizes
    return exported_complete(num_queries, num_keys, graphs[0].device)


@derivation(exported_between)
def between_examples(queries: Graph, keys: Graph) -> CompleteGraph:
    return CompleteGraph(counts_of(queries), counts_of(keys))
