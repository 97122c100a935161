"""`torch.nn.MultiheadAttention` is attention over a complete graph; its mask is a graph."""

import torch
from torch import Tensor
from torch.nn import MultiheadAttention
from torch_geometric.nn.dense import Linear

from graphattn.formulas.normalizers import Softmax
from graphattn.graphs import BandedGraph, CompleteGraph, EdgeListGraph, Graph, as_graph
from graphattn.nn.attention import GraphAttention
from graphattn.nn.messages import adds_up, is_watched, own_method
from graphattn.nn.plain import check_plain
from graphattn.nn.torch_weights import Copies, load_linear, read_attention

MAPS = ("lin_query", "lin_key", "lin_value", "lin_out")


def from_multihead(mha: torch.nn.MultiheadAttention) -> GraphAttention:
    """The layer with the numbers of `mha`: over `CompleteGraph(n)`, or over `from_attn_mask(attn_mask)`.

    Where keys and values have another size than queries, call it with the pair (keys, queries) of node features.

    Weights are copied; dropout, dtypes, devices, training mode and frozen parameters are kept, `batch_first` plays no part.

    Raises:
        TypeError: if `mha` is something else.
        ValueError: if keys and values differ in size, if some keys are no nodes (`add_bias_kv`, `add_zero_attn`), or if it has
            methods, hooks or parametrizations of its own.

    Example:
        >>> mha = torch.nn.MultiheadAttention(16, 4, batch_first=True)
        >>> x = torch.randn(1, 10, 16)
        >>> torch.allclose(from_multihead(mha)(x[0], CompleteGraph(10)), mha(x, x, x)[0][0], atol=1e-6)
        True
    """
    check_plain("mha", mha, MultiheadAttention)
    if mha.kdim != mha.vdim:
        raise ValueError(f"keys and values come from the same nodes (got kdim={mha.kdim} and vdim={mha.vdim})")
    return read_attention(
        "mha", mha, Copies(), mha.embed_dim if mha.kdim == mha.embed_dim else (mha.kdim, mha.embed_dim)
    )


def to_multihead(layer: GraphAttention) -> torch.nn.MultiheadAttention:
    """The torch.nn.MultiheadAttention (`batch_first`) that equals `layer` over a complete graph, with copies of the weights.

    Raises ValueError if the layer has what that module lacks: another score, normalizer or scale, a sink, a gate, talking
    heads, grouped heads, edge features, positions, shared maps, methods or hooks of its own, maps of different dtypes or of
    which some are frozen; or lacks what it has: joined heads as wide as the queries' features, and `project_out`.
    """
    check_plain("layer", layer, GraphAttention)
    reason = why_no_multihead(layer)
    if reason:
        raise ValueError(f"{layer} is no torch.nn.MultiheadAttention: {reason}")
    for name in MAPS:
        check_plain(name, getattr(layer, name), Linear)
    source, target = layer.lin_key.in_channels, layer.lin_query.in_channels
    has_bias = layer.lin_query.bias is not None
    sizes = {"kdim": source, "vdim": source, "bias": has_bias, "dropout": layer.dropout, "batch_first": True}
    mha = torch.nn.MultiheadAttention(target, layer.heads, **sizes)
    copies, linears = Copies(), [getattr(layer, name) for name in MAPS[:3]]
    if mha.in_proj_weight is not None:
        mha.in_proj_weight = joined("weights", [linear.weight for linear in linears])
    else:
        mha.q_proj_weight, mha.k_proj_weight, mha.v_proj_weight = (copies(linear.weight) for linear in linears)
    if has_bias:
        mha.in_proj_bias = joined("offsets", [linear.bias for linear in linears])
    load_linear(mha.out_proj, getattr(layer, MAPS[3]), copies)
    return mha.train(layer.training)


def joined(name: str, parameters: list[torch.nn.Parameter]) -> torch.nn.Parameter:
    """Three parameters as the one that torch has."""
    kinds = {(parameter.dtype, parameter.device, parameter.requires_grad) for parameter in parameters}
    if len(kinds) > 1:
        raise ValueError(
            f"{name} of queries, keys and values are one parameter in torch.nn.MultiheadAttention: they must share dtype,"
            f" device and requires_grad (got {sorted(map(str, kinds))})"
        )
    together = torch.cat([parameter.detach() for parameter in parameters])
    return torch.nn.Parameter(together, requires_grad=parameters[0].requires_grad)


def why_no_multihead(layer: GraphAttention) -> str | None:
    """The first reason, None if there is none."""
    width = layer.heads * layer.out_channels
    default_scale = layer.out_channels**-0.5
    reasons = {
        f"its score is {layer.score!r}": layer.score != "dot",
        f"its normalizer is {layer.normalizer!r}": not is_plain_softmax(layer.normalizer),
        "it has a sink": layer.sink is not None,
        "it has a gate": layer.lin_gate is not None,
        "it has talking heads": layer.talking_heads is not None,
        "its queries, keys and values share their weights": share_weights(layer),
        "only some of its queries, keys and values have an offset": len({has_offset(layer, name) for name in MAPS[:3]})
        > 1,
        "its messages are watched or changed by hooks, methods or an aggregation": has_own_messages(layer),
        f"its scale is {layer.scale}, not {default_scale}": layer.scale not in (None, default_scale),
        f"it has {layer.kv_heads} key heads for {layer.heads} heads": layer.kv_heads != layer.heads,
        "it has edge features": layer.edge_dim is not None,
        "it has positions or a bias of its own": layer.positions is not None or layer.edge_bias is not None,
        "it has no 'project_out'": layer.lin_out is None,
        "it takes the mean of its heads": not layer.concat,
        f"its queries have {layer.lin_query.in_channels} features, not {width}": layer.lin_query.in_channels != width,
    }
    return next((reason for reason, holds in reasons.items() if holds), None)


def is_plain_softmax(normalizer: object) -> bool:
    return type(normalizer) is Softmax and normalizer.sink is None


def share_weights(layer: GraphAttention) -> bool:
    return len({id(getattr(layer, name).weight) for name in MAPS[:3] if hasattr(getattr(layer, name), "weight")}) < 3


def has_offset(layer: GraphAttention, name: str) -> bool:
    return getattr(getattr(layer, name), "bias", None) is not None


def has_own_messages(layer: GraphAttention) -> bool:
    return is_watched(layer) or not adds_up(layer) or own_method(layer, GraphAttention) is not None


def from_attn_mask(attn_mask: Tensor) -> Graph:
    """The graph of the `attn_mask` [num_queries, num_keys] of torch.nn.MultiheadAttention.

    In that mask True, or -inf in a float mask, takes a pair away; 0 leaves it. A mask that is complete or a band
    (causal and truncated attention) becomes such a graph, which costs its edges; any other a list of edges.

    Raises ValueError for a mask of other numbers (those are a bias), and TypeError for what is no tensor.

    Example:
        >>> from_attn_mask(torch.nn.Transformer.generate_square_subsequent_mask(5))
        BandedGraph(5, before=4, after=0)
    """
    if not isinstance(attn_mask, Tensor):
        raise TypeError(
            f"'attn_mask' must be a tensor [num_queries, num_keys] (got {type(attn_mask).__name__}); without a mask the graph is"
            " CompleteGraph(num_queries, num_keys), and a graph goes to the layer as it is"
        )
    if attn_mask.dim() != 2:
        raise ValueError(f"'attn_mask' must be [num_queries, num_keys] (got {list(attn_mask.shape)})")
    if attn_mask.dtype != torch.bool and not attn_mask.is_floating_point():
        raise TypeError(f"'attn_mask' must be bool or floating, as in torch (got {attn_mask.dtype})")
    if attn_mask.dtype != torch.bool and not ((attn_mask == 0) | (attn_mask == -torch.inf)).all():
        raise ValueError("'attn_mask' must be bool, or hold 0 and -inf only; give other numbers as a bias of the edges")
    seen = ~attn_mask if attn_mask.dtype == torch.bool else attn_mask == 0
    if seen.all():
        return CompleteGraph(*seen.shape)
    query, key = seen.nonzero(as_tuple=True)
    if len(query):
        offset = key - query
        band = BandedGraph(seen.size(0), 0, int(offset.max() - offset.min()), num_keys=seen.size(1),
                           offset=int(offset.min())).normal_form()  # fmt: skip
        if band.num_edges == len(query):  # all differences lie in the band: equally many edges are the same edges
            return band
        return as_graph(seen)
    return EdgeListGraph(torch.stack([key, query]), *seen.shape)
