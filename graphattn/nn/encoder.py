"""EncoderLayer: self-attention over a graph and a feed-forward map, each with a residual connection."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from graphattn.graphs import Graph
from graphattn.graphs.convert import GraphLike
from graphattn.graphs.per_head import PerHead, as_graph_or_heads
from graphattn.nn.attention import GraphAttention
from graphattn.nn.feed_forward import FeedForward
from graphattn.nn.residual import Residual
from graphattn.nn.sizes import check_features
from graphattn.nn.torch_weights import (
    Copies,
    check_layer,
    layer_options,
    load_feed_forward,
    load_residual,
    read_attention,
)


class EncoderLayer(torch.nn.Module):
    r"""A Transformer block whose self-attention runs over the edges of a graph (Vaswani et al. 2017, section 3.1).

    .. math::
        y = \mathrm{norm}(x + \mathrm{attention}(x)), \quad x' = \mathrm{norm}(y + \mathrm{feedforward}(y))

    or, with `norm_first`, y = x + attention(norm(x)) and x' = y + feedforward(norm(y)). On a complete graph it is
    `torch.nn.TransformerEncoderLayer`.

    Args:
        channels: Size of the node features, a multiple of `heads`.
        heads: Number of attention heads.
        feedforward_channels: Size inside the feed-forward map; 4 * channels by default.
        dropout: Probability of dropping numbers of both results, hidden numbers of the feed-forward map and, unless
            `attention_dropout` says otherwise, attention weights, in training.
        attention_dropout: Probability of dropping an attention weight in training.
        activation: 'relu', 'gelu' or 'swiglu', see FeedForward.
        norm_first: Normalize before attention and feed-forward map rather than after the sums.
        drop_path: Probability of skipping attention, and likewise the feed-forward map, for an example as a whole.
        bias: Whether linear maps and norms learn an offset.
        norm_eps: Added to the variance by the norms.
        **attention: Further arguments of GraphAttention: kv_heads, edge_dim, positions, edge_bias, normalizer, ...

    Shapes:
        - x, output: [num_nodes, channels]
        - graph, edge_attr, pos, edge_bias: as in GraphAttention

    Example:
        >>> from graphattn import BandedGraph
        >>> layer = EncoderLayer(16, heads=4, norm_first=True, activation="gelu")
        >>> layer(torch.randn(100, 16), BandedGraph(100, before=5, after=5)).shape
        torch.Size([100, 16])
    """

    def __init__(
        self,
        channels: int,
        heads: int,
        feedforward_channels: int | None = None,
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
        attention = {"dropout": dropout if attention_dropout is None else attention_dropout, "bias": bias} | attention
        frame: dict[str, Any] = {"dropout": dropout, "norm_first": norm_first, "drop_path": drop_path}
        frame |= {"bias": bias, "eps": norm_eps}
        self.attention = block_attention(channels, heads, **attention)
        self.attention_residual = Residual(channels, **frame)
        self.feed_forward = FeedForward(channels, feedforward_channels or 4 * channels, activation, dropout, bias)
        self.feed_forward_residual = Residual(channels, **frame)
        self.channels, self.heads = channels, heads

    def reset_parameters(self) -> None:
        for module in self.children():
            module.reset_parameters()  # type: ignore[operator] # which every part has

    def forward(
        self,
        x: Tensor,
        graph: GraphLike | PerHead,
        edge_attr: Tensor | None = None,
        *,
        pos: Tensor | None = None,
        edge_bias: Tensor | Callable[[Graph], Tensor] | None = None,
    ) -> Tensor:
        check_features(x, x, self.channels)
        graph = as_graph_or_heads(graph, x.size(0))
        return self.run(x, graph, lambda y: self.attention(y, graph, edge_attr, pos=pos, edge_bias=edge_bias))

    if TYPE_CHECKING:
        __call__ = forward

    def run(self, x: Tensor, graph: Graph | PerHead, attend: Callable[[Tensor], Tensor]) -> Tensor:
        """The layer around any way to attend; `graph` tells the examples of the queries."""
        x = self.attention_residual(x, attend, graph)
        return self.feed_forward_residual(x, self.feed_forward, graph)

    @classmethod
    def from_torch(cls, layer: torch.nn.TransformerEncoderLayer) -> "EncoderLayer":
        """The same layer with copies of the weights; `batch_first` plays no part.

        Dropouts, eps, dtypes, devices, training modes, frozen and shared parameters are kept. Raises TypeError or ValueError
        for what would be lost: methods of a subclass or of the object, hooks, parametrizations, other norms, activations,
        maps.

        >>> peer = torch.nn.TransformerEncoderLayer(16, 4, batch_first=True).eval()
        >>> x = torch.randn(5, 16)
        >>> out = EncoderLayer.from_torch(peer).eval()(x, torch.ones(5, 5, dtype=torch.bool))
        >>> torch.allclose(out, peer(x[None])[0], atol=1e-5)
        True
        """
        return cls.read(layer, Copies())

    @classmethod
    def read(cls, layer: torch.nn.TransformerEncoderLayer, copies: Copies) -> "EncoderLayer":
        """`from_torch`, whose weights may be those of other layers too."""
        check_layer(layer, torch.nn.TransformerEncoderLayer, ["self_attn"], ["norm1", "norm2"])
        own = cls(**layer_options(layer)).train(layer.training)
        own.attention = read_attention("self_attn", layer.self_attn, copies, own.channels)
        load_residual(own.attention_residual, layer.norm1, layer.dropout1, copies)
        load_feed_forward(own.feed_forward, layer, copies)
        load_residual(own.feed_forward_residual, layer.norm2, layer.dropout2, copies)
        return own

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.channels}, heads={self.heads})"


def block_attention(channels: int, heads: int, source_channels: int | None = None, **options: Any) -> GraphAttention:
    """Attention whose heads together have `channels`, with an output projection; over other nodes if they have a size."""
    if channels % heads:
        raise ValueError(f"'channels' must be a multiple of 'heads' (got {channels} and {heads})")
    if options.get("update_edges"):
        raise ValueError("'update_edges' is an option of GraphAttention alone: a block returns nodes only (got True)")
    in_channels = channels if source_channels is None else (source_channels, channels)
    return GraphAttention(in_channels, channels // heads, heads, project_out=True, **options)
