"""Dot products with keys and values that have mapped features of edges on top, W never applied to an edge (see native/mapped.h)."""

from functools import partial
from typing import Any

import torch
from torch import Tensor

from graphattn.graphs import Graph
from graphattn.graphs.recording import may_record
from graphattn.graphs.spread import SpreadGraph
from graphattn.kernels.choose import select
from graphattn.kernels.kernel import Inputs, Kernel, Needed, Partial, Plan
from graphattn.kernels.native.edges_cpu import EdgesCpu
from graphattn.kernels.plain.batched import each_of_batch
from graphattn.kernels.plain.differentiable import (
    attend_differentiably,
    gradients_by_torch,
    have_tangents,
    is_differentiated_again,
)
from graphattn.running.arguments import Options, prepare
from graphattn.running.execution import has_lost_weights

WIDE = torch.float32, torch.float64  # of halves the loops read no weight


def attend_mapped_edges(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    graph: Graph,
    edge_features: Tensor,
    weight: Tensor,
    dropout: float,
    scale: float | None = None,
) -> Tensor | None:
    r"""softmax(scale q · (k + W e)) over (v + W e); None where no loop knows it.

    Args:
        query: [num_queries, heads, dim].
        key, value: [num_keys, kv_heads, dim] each.
        edge_features: e, [num_edges, edge_dim].
        weight: W, [heads, dim, edge_dim].
        dropout: Probability of dropping a weight.
        scale: As in `attend`.

    Returns:
        [num_queries, heads, dim].
    """
    tensors = query, key, value, edge_features, weight
    if torch.compiler.is_compiling() or isinstance(graph, SpreadGraph) or may_record():
        return None
    if query.dtype not in WIDE or any([x.dtype != query.dtype or not x.is_cpu for x in tensors]):
        return None
    if torch._C._are_functorch_transforms_active() or have_tangents(tensors):
        return None
    heads, edge_dim = query.size(1), edge_features.size(-1)
    # What W makes of queries takes part in all checks, and in the choice of a kernel, without being computed.
    unmade = query.new_empty(()).expand(query.size(0), heads, edge_dim)
    options = Options(edge_features=edge_features, edge_query=unmade, scale=scale, dropout=dropout, edge_sum=False)
    plan, inputs, _ = prepare(query, key, value, graph, options)
    kernel = select(plan, inputs, None, is_finite=True)
    if type(kernel) is not EdgesCpu or plan.memory_budget is not None:
        return None
    if torch.is_grad_enabled() and any([x.requires_grad for x in tensors]):
        return AttendMappedEdges.apply(plan, kernel, *tensors)[0]
    return kernel.forward(plan, inputs_of(tensors)).out


def inputs_of(tensors: Any) -> Inputs:
    query, key, value, edge_features, weight = tensors
    return Inputs(query, key, value, None, edge_features, None, (weight,))


class AttendMappedEdges(torch.autograd.Function):
    """As `Attend`, whose result has the features in it."""

    @staticmethod
    def forward(ctx, plan: Plan, kernel: Kernel, *tensors):
        out, lse, _ = kernel.forward(plan, inputs_of(tensors))
        ctx.plan, ctx.kernel = plan, kernel
        ctx.save_for_backward(*tensors, out, lse, plan.seed)
        ctx.mark_non_differentiable(lse)
        return out, lse

    @staticmethod
    @each_of_batch
    def backward(ctx, grad, _):
        *tensors, out, lse, seed = ctx.saved_tensors
        plan, needed = ctx.plan._replace(seed=seed), ctx.needs_input_grad[2:]
        if is_differentiated_again(grad) or has_lost_weights(plan, lse):
            return None, None, *gradients_by_torch(partial(by_torch, plan), tensors, needed, grad)
        by_query, by_key, by_value, by_features, by_weight = needed
        asked = Needed(by_query, by_key, by_value, edge_features=by_features, parameters=(by_weight,))
        merged, of_out = Partial(out, lse), Partial.gradient(grad, None)
        found = ctx.kernel.backward(plan._replace(needed=asked), inputs_of(tensors), merged, of_out)
        all_ = found.query, found.key, found.value, found.edge_features, *found.parameters
        return None, None, *[x if is_needed else None for x, is_needed in zip(all_, needed)]


def by_torch(plan: Plan, query: Tensor, key: Tensor, value: Tensor, edge_features: Tensor, weight: Tensor) -> Tensor:
    """The same from plain operations."""
    edge_query = torch.einsum("nhd,hdf->nhf", query, weight)
    found = attend_differentiably(plan, Inputs(query, key, value, None, edge_features, edge_query))
    return found.out + torch.einsum("nhf,hdf->nhd", found.edge_out, weight)
