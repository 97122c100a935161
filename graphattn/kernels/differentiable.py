"""Attention over edges as plain differentiable torch operations: slower, more memory, any order of derivative."""

from graphattn.kernels.edges_torch import (
    dropout_factors,
    edge_scores,
    gather,
    gather_values,
    plan_with,
    sorted_edges,
    weights_of,
)
from graphattn.kernels.kernel import Inputs, Partial, Plan


def attend_differentiably(plan: Plan, inputs: Inputs) -> Partial:
    """What all parts on their kernels come to, a sink included, on the tape of autograd (second derivatives, forward mode)."""
    num_queries, heads = inputs.query.shape[:2]
    edges = sorted_edges(plan.graph, inputs.query.device, plan.dropout > 0)
    gathered = gather(inputs, edges)
    scores = edge_scores(plan_with(plan, list(inputs.parameters)), *gathered)
    weights, lse = weights_of(plan.normalizer, scores, edges.row, num_queries)
    weights = (weights * dropout_factors(plan, edges, heads, weights))[..., None]
    empty = scores.new_zeros(num_queries, heads, inputs.value.size(2))
    out = empty.index_add(0, edges.row, weights * gather_values(inputs, edges))
    if inputs.edge_features is None:
        return Partial(out, lse)
    empty = scores.new_zeros(num_queries, heads, inputs.edge_features.size(1))
    return Partial(out, lse, empty.index_add(0, edges.row, weights * gathered.edge_features[:, None]))
