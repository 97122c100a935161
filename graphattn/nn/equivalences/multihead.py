"""`torch.nn.MultiheadAttention` is attention over a complete graph; its mask is a graph."""

import torch
from torch import Tensor

from graphattn.graphs import BandedGraph, CompleteGraph, EdgeListGraph, Graph, as_graph
from graphattn.nn.attention import GraphAttention
from graphattn.nn.torch_weights import load_attention, load_linear


def from_multihead(mha: torch.nn.MultiheadAttention) -> GraphAttention:
    """The layer with the numbers of `mha`: over `CompleteGraph(n)`, or over `from_attn_mask(attn_mask)`.

    Where keys and values have another size than queries, call it with the pair (keys, queries) of node features.

    Raises:
        TypeError: if `mha` is something else.
        ValueError: if keys and values differ in size, or some keys are no nodes (`add_bias_kv`, `add_zero_attn`).

    Example:
        >>> mha = torch.nn.MultiheadAttention(16, 4, batch_first=True)
        >>> x = torch.randn(1, 10, 16)
        >>> torch.allclose(from_multihead(mha)(x[0], CompleteGraph(10)), mha(x, x, x)[0][0], atol=1e-6)
        True
    """
    if not isinstance(mha, torch.nn.MultiheadAttention):
        raise TypeError(f"'mha' must be a torch.nn.MultiheadAttention (got {type(mha).__name__})")
    if mha.kdim != mha.vdim:
        raise ValueError(f"keys and values come from the same nodes (got kdim={mha.kdim} and vdim={mha.vdim})")
    sizes = (mha.embed_dim if mha.kdim == mha.embed_dim else (mha.kdim, mha.embed_dim), mha.head_dim, mha.num_heads)
    has_bias = mha.in_proj_bias is not None
    layer = GraphAttention(*sizes, dropout=mha.dropout, bias=has_bias, project_out=True).to(mha.out_proj.weight)
    load_attention(layer, mha)
    return layer.train(mha.training)


@torch.no_grad()
def to_multihead(layer: GraphAttention) -> torch.nn.MultiheadAttention:
    """The torch.nn.MultiheadAttention (`batch_first`) that equals `layer` over a complete graph.

    Raises ValueError if the layer has what that module lacks: another score, normalizer or scale, grouped heads, edge
    features, positions; or lacks what it has: joined heads as wide as the queries' features, and `project_out`.
    """
    reason = why_no_multihead(layer)
    if reason:
        raise ValueError(f"{layer} is no torch.nn.MultiheadAttention: {reason}")
    source, target = layer.lin_key.in_channels, layer.lin_query.in_channels
    has_bias = layer.lin_query.bias is not None
    sizes = {"kdim": source, "vdim": source, "bias": has_bias, "dropout": layer.dropout, "batch_first": True}
    mha = torch.nn.MultiheadAttention(target, layer.heads, **sizes).to(layer.lin_out.weight)
    linears = (layer.lin_query, layer.lin_key, layer.lin_value)
    if mha.in_proj_weight is not None:
        mha.in_proj_weight.copy_(torch.cat([linear.weight for linear in linears]))
    else:
        for name, linear in zip(("q_proj_weight", "k_proj_weight", "v_proj_weight"), linears):
            getattr(mha, name).copy_(linear.weight)
    if has_bias:
        mha.in_proj_bias.copy_(torch.cat([linear.bias for linear in linears]))
    load_linear(mha.out_proj, layer.lin_out.weight, layer.lin_out.bias)
    return mha.train(layer.training)


def why_no_multihead(layer: GraphAttention) -> str | None:
    """The first reason, None if there is none."""
    width = layer.heads * layer.out_channels
    default_scale = layer.out_channels**-0.5
    reasons = {
        f"its score is {layer.score!r}": layer.score != "dot",
        f"its normalizer is {layer.normalizer!r}": layer.normalizer.name != "softmax",
        f"its scale is {layer.scale}, not {default_scale}": layer.scale not in (None, default_scale),
        f"it has {layer.kv_heads} key heads for {layer.heads} heads": layer.kv_heads != layer.heads,
        "it has edge features": layer.edge_dim is not None,
        "it has positions or a bias of its own": layer.positions is not None or layer.edge_bias is not None,
        "it has no 'project_out'": layer.lin_out is None,
        "it takes the mean of its heads": not layer.concat,
        f"its queries have {layer.lin_query.in_channels} features, not {width}": layer.lin_query.in_channels != width,
    }
    return next((reason for reason, holds in reasons.items() if holds), None)


def from_attn_mask(attn_mask: Tensor) -> Graph:
    """The graph of the `attn_mask` [num_queries, num_keys] of torch.nn.MultiheadAttention.

    In that mask True, or -inf in a float mask, takes a pair away; 0 leaves it. A mask that is complete or a band
    (causal and truncated attention) becomes such a graph, which costs its edges; any other a list of edges.

    Raises ValueError for a mask of other numbers: those are a bias.

    Example:
        >>> from_attn_mask(torch.nn.Transformer.generate_square_subsequent_mask(5))
        BandedGraph(5, before=4, after=0)
    """
    if attn_mask.dim() != 2:
        raise ValueError(f"'attn_mask' must be [num_queries, num_keys] (got {list(attn_mask.shape)})")
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
