"""Attention in plain torch operations, for what compilers are to see through: derivatives of any order by torch.func, and
scores and normalizers of the caller's own; and programs that torch.export takes elsewhere.

num_edges * heads * dim numbers are gathered, unless the compiler fuses what makes them with what uses them. Whether they are
finite cannot be asked here: where there is a bias, what it hides is left out in any case.
"""

import torch
from torch import Tensor

from graphattn.compiling.dense import attend_by_mask, mask_to_run
from graphattn.graphs.exported import is_exporting
from graphattn.kernels.kernel import Inputs, Plan, accumulation_dtype, by_head
from graphattn.kernels.plain.differentiable import hidden_by_bias, seen_by_heads, without_hidden
from graphattn.kernels.plain.edges_torch import (
    Edges,
    dropout_factors,
    edge_scores,
    gather,
    gather_values,
    repeat_numbers,
    weights_by_degree,
    weights_of,
)


def run_unfused(plan: Plan, inputs: Inputs) -> tuple[Tensor, Tensor | None]:
    """(out, edge_out) in the accumulation dtype, before they are divided by degrees."""
    mask = mask_to_run(plan, inputs)
    if mask is not None:
        return attend_by_mask(plan, inputs, mask), None
    edges = edges_of(plan, inputs)
    num_queries, heads = inputs.query.shape[:2]
    weights, _ = weights_of(plan.normalizer, edge_scores_unfused(plan, inputs, edges), edges.row, num_queries)
    weights = (weights * dropout_factors(plan, edges, heads, weights))[..., None]
    values, hidden = gather_values(inputs, edges), hidden_by_bias(inputs.bias)
    values = values if hidden is None else values.masked_fill(hidden[..., None], 0.0)
    out = sum_of_rows(weights * values, edges, num_queries)
    if inputs.edge_features is None:
        return out, None
    features = by_head(inputs.edge_features.to(weights.dtype))
    features = features if hidden is None else features.masked_fill(hidden[..., None], 0.0)
    return out, sum_of_rows(weights * features, edges, num_queries)


def scores_unfused(plan: Plan, inputs: Inputs) -> Tensor:
    """[num_edges, heads] in the accumulation dtype."""
    return edge_scores_unfused(plan, inputs, edges_of(plan, inputs))


def weights_unfused(plan: Plan, inputs: Inputs) -> Tensor:
    """[num_edges, heads] in the accumulation dtype, before dropout."""
    edges, hidden = edges_of(plan, inputs), hidden_by_bias(inputs.bias)
    weights = weights_by_degree(
        plan.normalizer, edge_scores_unfused(plan, inputs, edges), edges.row, inputs.query.size(0)
    )
    return weights if hidden is None else weights.masked_fill(hidden, 0.0)


def edge_scores_unfused(plan: Plan, inputs: Inputs, edges: Edges) -> Tensor:
    query, key, bias, features, edge_query = gathered = gather(inputs, edges)
    hidden = hidden_by_bias(inputs.bias)
    if hidden is None:
        scores = edge_scores(plan, *gathered)
    else:
        query, key, features = without_hidden(plan.score, query, key, features, hidden)
        edge_query = None if edge_query is None else seen_by_heads(edge_query, hidden)
        scores = edge_scores(plan, query, key, bias, features, edge_query).masked_fill(hidden, -torch.inf)
    return scores.to(accumulation_dtype(inputs.query.dtype))


def edges_of(plan: Plan, inputs: Inputs) -> Edges:
    """All edges in the order of `graph.edge_index()`."""
    col, row = edge_index = plan.graph.edge_index(inputs.query.device)
    return Edges(row, col, slice(None), repeats(edge_index) if plan.dropout else None)


def sum_of_rows(messages: Tensor, edges: Edges, num_rows: int) -> Tensor:
    """[num_edges, heads, dim] -> [num_rows, heads, dim]."""
    return messages.new_zeros(num_rows, *messages.shape[1:]).index_add(0, edges.row, messages)


def repeats(edge_index: Tensor) -> Tensor:
    """How many equal edges stand before each edge, in any order of the edges."""
    return numbers_among_equals(edge_index) if is_exporting() else repeats_of(edge_index)


def numbers_among_equals(edge_index: Tensor) -> Tensor:
    col, row = edge_index
    order = col.argsort(stable=True)
    order = order[row[order].argsort(stable=True)]
    return torch.empty_like(row).index_copy_(0, order, repeat_numbers(row[order], col[order]))


@torch.library.custom_op("graphattn::repeats", mutates_args=())
def repeats_of(edge_index: Tensor) -> Tensor:
    return numbers_among_equals(edge_index)


@repeats_of.register_fake
def _(edge_index):
    return edge_index.new_empty(edge_index.size(1))
