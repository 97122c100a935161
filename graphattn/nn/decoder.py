"""DecoderLayer: self-attention, attention to the nodes of another graph, and a feed-forward map."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from graphattn.graphs import Graph
from graphattn.graphs.convert import GraphLike
from graphattn.graphs.per_head import PerHead, as_graph_or_heads
from graphattn.nn.encoder import block_attention
from graphattn.nn.feed_forward import FeedForward
from graphattn.nn.residual import Residual
from graphattn.nn.torch_weights import (
    Copies,
    check_layer,
    layer_options,
    load_feed_forward,
    load_residual,
    read_attention,
)


class DecoderLayer(torch.nn.Module):
    r"""A Transformer block that also attends to a memory, over a bipartite graph (Vaswani et al. 2017, section 3.1).

    .. math::
        y = \mathrm{norm}(x + \mathrm{attention}(x)), \quad z = \mathrm{norm}(y + \mathrm{attention}(y, m)), \quad
        x' = \mathrm{norm}(z + \mathrm{feedforward}(z))

    or, with `norm_first`, the norms before the three parts. With a causal graph and a complete bipartite graph it is
    `torch.nn.TransformerDecoderLayer`.

    Args:
        channels: Size of the node features, a multiple of `heads`.
        heads: Number of heads of both attentions.
        feedforward_channels: Size inside the feed-forward map; 4 * channels by default.
        memory_channels: Size of the features of the memory; `channels` by default.
        dropout, attention_dropout, activation, norm_first, drop_path, bias, norm_eps: as in EncoderLayer.
        **attention: Further arguments of the self-attention: kv_heads, positions, edge_bias, ...

    Shapes:
        - x, output: [num_nodes, channels]
        - memory: [num_memory_nodes, memory_channels]
        - graph: over the nodes; memory_graph: from the memory (keys) to the nodes (queries)
        - pos, edge_bias: of the self-attention, as in GraphAttention

    Example:
        >>> from graphattn import CompleteGraph, causal
        >>> layer = DecoderLayer(16, heads=4)
        >>> x, memory = torch.randn(9, 16), torch.randn(12, 16)
        >>> layer(x, memory, causal([4, 5]), CompleteGraph([4, 5], [10, 2])).shape
        torch.Size([9, 16])
    """

    def __init__(
        self,
        channels: int,
        heads: int,
        feedforward_channels: int | None = None,
        memory_channels: int | None = None,
        *,
        dropout: float = 0.0,
        attention_dropout: float | None = None,
        activation: str = "relu",
        norm_first: bool = False,
        drop_path: float = 0.0,
        bias: bool = True,
        norm_eps: float = 1e-5,
        **attention: Any,
    ):
        super().__init__()
        both: dict[str, Any] = {"dropout": dropout if attention_dropout is None else attention_dropout, "bias": bias}
        frame: dict[str, Any] = {"dropout": dropout, "norm_first": norm_first, "drop_path": drop_path}
        frame |= {"bias": bias, "eps": norm_eps}
        self.attention = block_attention(channels, heads, **both | attention)
        self.attention_residual = Residual(channels, **frame)
        self.memory_attention = block_attention(channels, heads, memory_channels or channels, **both)
        self.memory_residual = Residual(channels, **frame)
        self.feed_forward = FeedForward(channels, feedforward_channels or 4 * channels, activation, dropout, bias)
        self.feed_forward_residual = Residual(channels, **frame)
        self.channels, self.heads = channels, heads

    def reset_parameters(self) -> None:
        for module in self.children():
            module.reset_parameters()  # type: ignore[operator] # which every part has

    def forward(
        self,
        x: Tensor,
        memory: Tensor,
        graph: GraphLike | PerHead,
        memory_graph: GraphLike | PerHead,
        *,
        pos: Tensor | None = None,
        edge_bias: Tensor | Callable[[Graph], Tensor] | None = None,
    ) -> Tensor:
        graph = as_graph_or_heads(graph, x.size(0))
        memory_graph = as_graph_or_heads(memory_graph, x.size(0), memory.size(0))
        return self.run(
            x,
            graph,
            lambda y: self.attention(y, graph, pos=pos, edge_bias=edge_bias),
            lambda y: self.memory_attention((memory, y), memory_graph),
        )

    if TYPE_CHECKING:
        __call__ = forward

    def run(
        self,
        x: Tensor,
        graph: Graph | PerHead,
        attend: Callable[[Tensor], Tensor],
        attend_to_memory: Callable[[Tensor], Tensor],
    ) -> Tensor:
        """The layer around any way to attend; `graph` tells the examples of the queries."""
        x = self.attention_residual(x, attend, graph)
        x = self.memory_residual(x, attend_to_memory, graph)
        return self.feed_forward_residual(x, self.feed_forward, graph)

    @classmethod
    def from_torch(cls, layer: torch.nn.TransformerDecoderLayer) -> "DecoderLayer":
        """The same layer with copies of the weights; kept and refused is what `EncoderLayer.from_torch` keeps and refuses.

        >>> from graphattn import CompleteGraph, causal
        >>> peer = torch.nn.TransformerDecoderLayer(16, 4, batch_first=True).eval()
        >>> x, memory = torch.randn(5, 16), torch.randn(7, 16)
        >>> out = DecoderLayer.from_torch(peer)(x, memory, causal(5), CompleteGraph(5, 7))
        >>> later = torch.ones(5, 5, dtype=torch.bool).triu(1)
        >>> torch.allclose(out, peer(x[None], memory[None], tgt_mask=later)[0], atol=1e-5)
        True
        """
        return cls.read(layer, Copies())

    @classmethod
    def read(cls, layer: torch.nn.TransformerDecoderLayer, copies: Copies) -> "DecoderLayer":
        """`from_torch`, whose weights may be those of other layers too."""
        check_layer(
            layer, torch.nn.TransformerDecoderLayer, ["self_attn", "multihead_attn"], ["norm1", "norm2", "norm3"]
        )
        memory = layer.multihead_attn
        if memory.kdim != memory.vdim or memory.embed_dim != layer.self_attn.embed_dim:
            raise ValueError(
                "'multihead_attn' must take keys and values of one size, and queries of the size of the layer (got kdim="
                f"{memory.kdim}, vdim={memory.vdim}, embed_dim={memory.embed_dim} for {layer.self_attn.embed_dim} channels)"
            )
        own = cls(memory_channels=memory.kdim, **layer_options(layer)).train(layer.training)
        own.attention = read_attention("self_attn", layer.self_attn, copies, own.channels)
        load_residual(own.attention_residual, layer.norm1, layer.dropout1, copies)
        own.memory_attention = read_attention("multihead_attn", memory, copies, (memory.kdim, own.channels))
        load_residual(own.memory_residual, layer.norm2, layer.dropout2, copies)
        load_feed_forward(own.feed_forward, layer, copies)
        load_residual(own.feed_forward_residual, layer.norm3, layer.dropout3, copies)
        return own

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.channels}, heads={self.heads})"
