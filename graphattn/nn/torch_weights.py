"""Modules of torch.nn's Transformer, read into ours: what is kept is kept to the number, and the rest is refused by name."""

from typing import Any

import torch
from torch import Tensor
from torch.nn import Dropout, Identity, LayerNorm, Linear, Module, MultiheadAttention, Parameter, functional
from torch.nn import TransformerDecoderLayer as TorchDecoderLayer
from torch.nn import TransformerEncoderLayer as TorchEncoderLayer

from graphattn.nn.attention import GraphAttention
from graphattn.nn.feed_forward import FeedForward
from graphattn.nn.plain import check_plain
from graphattn.nn.residual import Residual

ACTIVATIONS = {"relu": (functional.relu, torch.relu), "gelu": (functional.gelu,)}
CODES = {"relu": 1, "gelu": 2}  # by which torch's fast path names an activation, whatever the layer was given since


class Copies:
    """Parameters like given ones, with their numbers, dtype, device and `requires_grad`; what is one there is one here."""

    def __init__(self) -> None:
        self.known: dict[tuple, tuple[Tensor, Parameter]] = {}

    def __call__(self, peer: Tensor | None, rows: slice = slice(None)) -> Parameter | None:
        """A copy of these rows, the same each time."""
        if peer is None:
            return None
        key = (id(peer), rows.start, rows.stop)
        if key not in self.known:
            copied = peer.detach()[rows].clone() if peer.dim() else peer.detach().clone()
            self.known[key] = peer, Parameter(copied, requires_grad=peer.requires_grad)
        return self.known[key][1]


def check_floating(name: str, weight: Tensor) -> None:
    if not weight.is_floating_point():
        raise TypeError(f"{name!r} must have floating weights (got {weight.dtype}); convert the module with .float()")


def check_layer(
    layer: TorchEncoderLayer | TorchDecoderLayer, kind: type[Module], attentions: list[str], norms: list[str]
) -> None:
    """A layer of torch.nn's Transformer, all of whose parts are what torch makes them."""
    check_plain("layer", layer, kind)
    parts: dict[str, tuple[type[Module], ...]] = {name: (MultiheadAttention,) for name in attentions}
    parts |= {name: (LayerNorm,) for name in norms}
    parts |= {"linear1": (Linear,), "linear2": (Linear,)}
    parts |= {name: (Dropout, Identity) for name in ["dropout", *(f"dropout{norm[-1]}" for norm in norms)]}
    for name, kinds in parts.items():
        check_plain(name, getattr(layer, name), *kinds)
    channels = layer.self_attn.embed_dim
    if (layer.self_attn.kdim, layer.self_attn.vdim) != (channels, channels):
        raise ValueError(
            f"'self_attn' must take keys and values of the {channels} channels of the layer (got kdim={layer.self_attn.kdim},"
            f" vdim={layer.self_attn.vdim})"
        )
    if len({getattr(layer, name).batch_first for name in attentions}) > 1:
        raise ValueError(f"{' and '.join(map(repr, attentions))} must agree in 'batch_first' (got True and False)")
    for name in norms:
        check_norm(name, getattr(layer, name), channels)
    for name in ("linear1", "linear2"):
        check_floating(name, getattr(layer, name).weight)
    sizes = (
        layer.linear1.in_features,
        layer.linear1.out_features,
        layer.linear2.in_features,
        layer.linear2.out_features,
    )
    if sizes != (channels, sizes[1], sizes[1], channels):
        raise ValueError(f"'linear1' and 'linear2' must lead from {channels} channels back to {channels} (got {sizes})")


def check_norm(name: str, norm: LayerNorm, channels: int) -> None:
    if tuple(norm.normalized_shape) != (channels,) or norm.weight is None:
        raise ValueError(
            f"{name!r} must be a LayerNorm over the {channels} channels with a weight (got {norm}); give it ones as weight"
            " where it has none"
        )


def layer_options(layer: TorchEncoderLayer | TorchDecoderLayer) -> dict[str, Any]:
    """The arguments of EncoderLayer or DecoderLayer that make the same layer, up to what its parts have for themselves."""
    attention = layer.self_attn
    return {
        "channels": attention.embed_dim,
        "heads": attention.num_heads,
        "feedforward_channels": layer.linear1.out_features,
        "dropout": probability_of(layer.dropout),
        "attention_dropout": attention.dropout,
        "activation": name_of_activation(layer.activation, getattr(layer, "activation_relu_or_gelu", 0)),
        "norm_first": layer.norm_first,
        "bias": attention.in_proj_bias is not None,
        "norm_eps": layer.norm1.eps,
    }


def probability_of(dropout: Dropout | Identity) -> float:
    return getattr(dropout, "p", 0.0)


def name_of_activation(activation: object, code: int = 0) -> str:
    """'relu' or 'gelu'; `code` is the one that torch remembers for its fast path, 0 for none."""
    if isinstance(activation, (torch.nn.ReLU, torch.nn.GELU)):
        check_plain("activation", activation, torch.nn.ReLU, torch.nn.GELU)
    is_exact = isinstance(activation, torch.nn.GELU) and activation.approximate == "none"
    names = [name for name, functions in ACTIVATIONS.items() if any(activation is function for function in functions)]
    names += ["relu"] * isinstance(activation, torch.nn.ReLU) + ["gelu"] * is_exact
    if not names:
        raise ValueError(
            f"'activation' of the layer must be relu or gelu (got {activation}); others are no option of ours"
        )
    if code not in (0, CODES[names[0]]):
        raise ValueError(
            f"'activation' of the layer must be the one that torch runs in evaluation (got {names[0]}, and"
            f" activation_relu_or_gelu={code}); make the layer anew with this activation"
        )
    return names[0]


def read_attention(
    name: str, peer: MultiheadAttention, copies: Copies, in_channels: int | tuple[int, int]
) -> GraphAttention:
    """The attention with the numbers of `peer`."""
    layer = GraphAttention(in_channels, peer.head_dim, peer.num_heads, dropout=peer.dropout, project_out=True)
    load_attention(layer, peer, copies, name)
    return layer.train(peer.training)


def load_attention(
    attention: GraphAttention, peer: MultiheadAttention, copies: Copies | None = None, name: str = "attention"
) -> None:
    """Weights of `peer` into an attention of the same sizes with an output projection."""
    copies = Copies() if copies is None else copies
    check_plain(name, peer, MultiheadAttention)
    check_plain(f"{name}.out_proj", peer.out_proj, Linear)
    check_floating(name, peer.out_proj.weight)
    if peer.bias_k is not None or peer.add_zero_attn:
        raise ValueError(
            f"attention with 'add_bias_kv' or 'add_zero_attn' has keys that are no nodes (got bias_k={peer.bias_k},"
            f" add_zero_attn={peer.add_zero_attn}); make {name!r} without them"
        )
    width = peer.embed_dim
    thirds = [slice(width * part, width * (part + 1)) for part in range(3)]
    if peer.in_proj_weight is None:
        weights = [copies(weight) for weight in (peer.q_proj_weight, peer.k_proj_weight, peer.v_proj_weight)]
    else:
        weights = [copies(peer.in_proj_weight, rows) for rows in thirds]
    for linear, weight, rows in zip((attention.lin_query, attention.lin_key, attention.lin_value), weights, thirds):
        linear.weight, linear.bias = weight, copies(peer.in_proj_bias, rows)
    load_linear(attention.lin_out, peer.out_proj, copies)


def load_linear(own: Any, peer: Any, copies: Copies) -> None:
    """Weight and offset of a linear map or a norm."""
    own.weight, own.bias = copies(peer.weight), copies(peer.bias)


def load_feed_forward(own: FeedForward, layer: TorchEncoderLayer | TorchDecoderLayer, copies: Copies) -> None:
    """The maps of the layer with the dropout between them."""
    load_linear(own.lin_in, layer.linear1, copies)
    load_linear(own.lin_out, layer.linear2, copies)
    own.dropout = probability_of(layer.dropout)
    own.train(layer.dropout.training)


def load_residual(own: Residual, norm: LayerNorm, dropout: Dropout | Identity, copies: Copies) -> None:
    """The norm and the dropout around a part."""
    load_linear(own.norm, norm, copies)
    own.norm.eps, own.dropout = norm.eps, probability_of(dropout)
    own.train(dropout.training)
