"""Weights of torch.nn's Transformer modules, read into ours."""

from typing import Any

import torch
from torch.nn import functional

from graphattn.nn.attention import GraphAttention
from graphattn.nn.feed_forward import FeedForward


def options_of(layer: torch.nn.TransformerEncoderLayer | torch.nn.TransformerDecoderLayer) -> dict[str, Any]:
    """The arguments of EncoderLayer or DecoderLayer that make the same layer."""
    attention = layer.self_attn
    return {
        "channels": attention.embed_dim,
        "heads": attention.num_heads,
        "feedforward_channels": layer.linear1.out_features,
        "dropout": layer.dropout.p,
        "attention_dropout": attention.dropout,
        "activation": name_of_activation(layer.activation),
        "norm_first": layer.norm_first,
        "bias": attention.in_proj_bias is not None,
        "norm_eps": layer.norm1.eps,
    }


def name_of_activation(activation) -> str:
    if activation is functional.relu or isinstance(activation, torch.nn.ReLU):
        return "relu"
    is_exact = isinstance(activation, torch.nn.GELU) and activation.approximate == "none"
    if activation is functional.gelu or is_exact:
        return "gelu"
    raise ValueError(f"'activation' of the layer must be relu or gelu (got {activation})")


@torch.no_grad()
def load_attention(attention: GraphAttention, peer: torch.nn.MultiheadAttention) -> None:
    """Weights of `peer` into an attention of the same sizes with an output projection."""
    if peer.bias_k is not None or peer.add_zero_attn:
        raise ValueError(
            f"attention with 'add_bias_kv' or 'add_zero_attn' has keys that are no nodes (got bias_k={peer.bias_k},"
            f" add_zero_attn={peer.add_zero_attn})"
        )
    weights = (peer.q_proj_weight, peer.k_proj_weight, peer.v_proj_weight)
    if peer.in_proj_weight is not None:
        weights = peer.in_proj_weight.chunk(3)
    biases = (None,) * 3 if peer.in_proj_bias is None else peer.in_proj_bias.chunk(3)
    linears = (attention.lin_query, attention.lin_key, attention.lin_value)
    for linear, weight, bias in zip(linears, weights, biases, strict=True):
        load_linear(linear, weight, bias)
    load_linear(attention.lin_out, peer.out_proj.weight, peer.out_proj.bias)


@torch.no_grad()
def load_linear(linear, weight: torch.Tensor, bias: torch.Tensor | None) -> None:
    linear.weight.copy_(weight)
    if bias is not None:
        linear.bias.copy_(bias)


def load_feed_forward(own: FeedForward, layer) -> None:
    """The maps of a torch.nn.TransformerEncoderLayer or -DecoderLayer into `own`."""
    load_linear(own.lin_in, layer.linear1.weight, layer.linear1.bias)
    load_linear(own.lin_out, layer.linear2.weight, layer.linear2.bias)


def load_norm(own: torch.nn.LayerNorm, peer: torch.nn.LayerNorm) -> None:
    load_linear(own, peer.weight, peer.bias)
