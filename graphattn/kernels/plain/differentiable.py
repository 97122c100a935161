"""Attention over edges as plain differentiable torch operations: slower, any order of derivative, forward mode too.

`hidden` [num_edges, heads or 1], in the order of `graph.edge_index()`, are edges that count as none, whatever they hold.
"""

from collections.abc import Callable, Iterable, Sequence
from typing import overload

import torch
from torch import Tensor
from torch.autograd import forward_ad
from torch.utils.checkpoint import checkpoint

from graphattn.formulas.offsets import places_of_edges
from graphattn.formulas.scores import Custom, Score
from graphattn.kernels.kernel import Inputs, Partial, Plan, accumulation_dtype, by_head
from graphattn.kernels.plain.edges_torch import (
    Edges,
    chunks,
    dropout_factors,
    plan_with,
    sorted_edges,
    spread_to_heads,
    weights_by_degree,
    weights_of,
)
from graphattn.kernels.plain.edgewise import products, sums


def attend_differentiably(plan: Plan, inputs: Inputs, hidden: Tensor | None = None) -> Partial:
    """What all parts on their kernels come to, a sink included, on the tape of autograd (second derivatives, forward mode)."""
    num_queries, heads = inputs.query.shape[:2]
    edges = sorted_edges(plan.graph, inputs.query.device, plan.dropout > 0)
    scores = scores_of(plan, inputs, edges, hidden)
    weights, lse = weights_of(plan.normalizer, scores, edges.row, num_queries)
    weights = weights * dropout_factors(plan, edges, heads, weights)
    hidden = None if hidden is None else hidden[edges.edge_id]
    out = sums(weights, inputs.value.to(scores.dtype), edges.col, edges.row, num_queries, hidden)
    if inputs.edge_features is None:
        return Partial(out, lse)
    features = by_head(inputs.edge_features.to(scores.dtype))
    return Partial(out, lse, sums(weights, features, places(edges), edges.row, num_queries, hidden))


def scores_of(plan: Plan, inputs: Inputs, edges: Edges, hidden: Tensor | None = None) -> Tensor:
    """scale * (score + edge_query . edge_features) + bias [num_edges, heads], in the order of `edges`, differentiable.

    The dot product keeps num_edges * heads numbers for derivatives of any order; other scores for the first one: they are
    computed again, a chunk of edges at a time.
    """
    dtype = accumulation_dtype(inputs.query.dtype)
    plan, inputs = with_bias_of_edges(plan, inputs)
    inputs = inputs._replace(parameters=()).each(lambda x: x.to(dtype))._replace(parameters=inputs.parameters)
    hidden = None if hidden is None else hidden[edges.edge_id]
    if plan.score.name == "dot":
        scores = products(inputs.query, inputs.key, edges.row, edges.col, hidden)
    else:
        plan, parts = plan_with(plan, list(inputs.parameters)), []
        for part, chunk in chunks(plan.graph, edges, inputs):
            parts.append(scores_of_chunk(plan, inputs, chunk, None if hidden is None else hidden[part]))
        scores = torch.cat(parts) if parts else inputs.query.new_zeros(0, inputs.query.size(1))
    if inputs.edge_query is not None and inputs.edge_features is not None:
        scores = scores + products(inputs.edge_query, by_head(inputs.edge_features), edges.row, places(edges), hidden)
    scores = scores * plan.scale
    scores = scores if inputs.bias is None else scores + inputs.bias[edges.edge_id]
    return scores if hidden is None else scores.masked_fill(hidden, -torch.inf)


def with_bias_of_edges(plan: Plan, inputs: Inputs) -> tuple[Plan, Inputs]:
    """The same with a bias for each edge, differentiable, where there was one for each offset."""
    table = inputs.bias_by_offset
    if table is None:
        return plan, inputs
    bias = torch.nn.functional.embedding(places_of_edges(plan.graph, table.device), table)
    return plan._replace(memory=None), inputs._replace(bias=bias, bias_by_offset=None)


def scores_of_edges(plan: Plan, inputs: Inputs, hidden: Tensor | None = None) -> Tensor:
    """`scores_of` in the order of `graph.edge_index()`."""
    order = sorted_edges(plan.graph, inputs.query.device, with_repeat=False)
    return in_order_of_edges(scores_of(plan, inputs, order, hidden), order)


def weights_of_edges(plan: Plan, inputs: Inputs, hidden: Tensor | None = None) -> Tensor:
    """The weights of these scores, before dropout, in the order of `graph.edge_index()`."""
    order = sorted_edges(plan.graph, inputs.query.device, with_repeat=False)
    scores = scores_of(plan, inputs, order, hidden)
    weights = weights_by_degree(plan.normalizer, scores, order.row, plan.graph.num_queries)
    return in_order_of_edges(weights, order)


def scores_of_chunk(plan: Plan, inputs: Inputs, edges: Edges, hidden: Tensor | None = None) -> Tensor:
    """The score alone; what it is made of is gathered again in the backward pass."""

    def between(query: Tensor, key: Tensor, features: Tensor | None) -> Tensor:
        query, key = query[edges.row], spread_to_heads(key[edges.col], query.size(1))
        features = None if features is None else features[edges.edge_id]
        if hidden is None:
            return plan.score.between(query, key, features)
        return plan.score.between(*without_hidden(plan.score, query, key, features, hidden))

    given = inputs.query, inputs.key, inputs.edge_features
    # Transforms have no hooks on saved tensors, and in torch 2.11 checkpoints no forward mode.
    if torch._C._are_functorch_transforms_active() or have_tangents((*given, *inputs.parameters)):
        return between(*given)
    draws = isinstance(plan.score, Custom)  # perhaps: of the caller's own
    return checkpoint(between, *given, use_reentrant=False, preserve_rng_state=draws)


@overload
def hidden_by_bias(bias: Tensor) -> Tensor: ...


@overload
def hidden_by_bias(bias: Tensor | None) -> Tensor | None: ...


def hidden_by_bias(bias: Tensor | None) -> Tensor | None:
    """[num_edges, heads or 1]: the edges that a bias of -inf takes away, None if there is no bias."""
    return None if bias is None else bias.detach() == -torch.inf


def without_hidden(
    score: Score, query: Tensor, key: Tensor, features: Tensor | None, hidden: Tensor
) -> tuple[Tensor, Tensor, Tensor | None]:
    """What `score.between` takes of edges, `query`, `key` [num_edges, heads, dim], with 1 for each NaN or infinity of a head that
    does not see the edge. (Not 0: a function may divide by the length of a vector.)"""
    query, key = (seen_by_heads(x, hidden) for x in (query, key))
    if features is not None and score.takes_features_by_head:
        features = seen_by_heads(by_head(features).expand(-1, query.size(1), -1), hidden)
    elif features is not None:
        features = seen_by_heads(features, hidden.all(1))
    return query, key, features


def seen_by_heads(x: Tensor, hidden: Tensor) -> Tensor:
    """[num_edges, ..., dim] with 1 for each NaN or infinity where `hidden` [num_edges, ...] is true."""
    return torch.where(hidden[..., None] & ~x.detach().isfinite(), 1.0, x)


def have_tangents(tensors: Iterable[Tensor | float | None]) -> bool:
    """Whether any of these is differentiated in forward mode."""
    if forward_ad._current_level < 0:  # no forward mode here, which the question below would find for each tensor
        return False
    return any(isinstance(x, Tensor) and forward_ad.unpack_dual(x).tangent is not None for x in tensors)


def is_differentiated_again(*grads: Tensor | None) -> bool:
    """Whether a backward pass is recorded, mapped by torch.func, or differentiated in forward mode by its cotangents, so that it
    must consist of plain operations."""
    return torch.is_grad_enabled() or torch._C._are_functorch_transforms_active() or have_tangents(grads)


def gradients_by_torch(
    function: Callable[..., Tensor], tensors: Sequence[Tensor | None], needed: Sequence[bool], grad: Tensor
) -> list[Tensor | None]:
    """The gradients of function(*tensors) by those that are needed, which can be differentiated again; None for others."""
    is_again = is_differentiated_again()
    with torch.enable_grad():
        # Aliases, so that each gradient stops at its own input: one may be made of another.
        given = [None if x is None else x.view_as(x) if is_again else x.detach().requires_grad_() for x in tensors]
        wanted = [x for x, is_needed in zip(given, needed, strict=True) if x is not None and is_needed]
        out = function(*given)
        found = iter(torch.autograd.grad(out, wanted, grad, create_graph=is_again, allow_unused=True))
    return [next(found) if is_needed else None for is_needed in needed]


def places(edges: Edges) -> Tensor:
    """The place of each edge in `graph.edge_index()`."""
    if isinstance(edges.edge_id, Tensor):
        return edges.edge_id.long()
    return torch.arange(edges.row.numel(), device=edges.row.device)


def in_order_of_edges(numbers: Tensor, edges: Edges) -> Tensor:
    """[num_edges, heads] in the order of `edges` -> in that of `graph.edge_index()`."""
    if not isinstance(edges.edge_id, Tensor):
        return numbers
    return torch.empty_like(numbers).index_copy(0, edges.edge_id.long(), numbers)
