"""Scores and weights of edges as an operator of torch, as `operators` does for `attend`."""

import torch
from torch import Tensor

from graphattn.compiling.operators import (
    fake_gradients,
    flat_needs,
    flat_of,
    fresh,
    gradients_by_tape,
    is_seen_through,
    none_unless,
    operator_options,
    plan_of,
    refuse_second_derivatives,
    tape_of_its_own,
)
from graphattn.compiling.unfused import scores_unfused, weights_unfused
from graphattn.graphs.traced import fake_ticket, ticket_of
from graphattn.kernels.kernel import Inputs, Plan, accumulation_dtype
from graphattn.running.hidden import scores_shown, weights_shown

KINDS = {"scores": scores_shown, "weights": weights_shown}


def traced_scores(plan: Plan, inputs: Inputs) -> Tensor:
    """`scores_of_edges` where `plan.graph` is a TracedGraph."""
    return scores_unfused(plan, inputs) if is_seen_through(plan) else traced_numbers("scores", plan, inputs)


def traced_weights(plan: Plan, inputs: Inputs) -> Tensor:
    """`weights_of_edges` where `plan.graph` is a TracedGraph."""
    return weights_unfused(plan, inputs) if is_seen_through(plan) else traced_numbers("weights", plan, inputs)


def traced_numbers(kind: str, plan: Plan, inputs: Inputs) -> Tensor:
    tensors = *inputs[:2], *inputs[3:6], list(inputs.parameters)
    edges = plan.graph.edge_index(inputs.query.device)
    return numbers_of_edges(kind, *tensors, *operator_options(plan, inputs), edges)[0]


@torch.library.custom_op("graphattn::numbers_of_edges", mutates_args=())
def numbers_of_edges(
    kind: str,
    query: Tensor,
    key: Tensor,
    bias: Tensor | None,
    edge_features: Tensor | None,
    edge_query: Tensor | None,
    parameters: list[Tensor],
    sink: Tensor | None,
    graph: Tensor,
    score: str,
    normalizer: str,
    scale: float,
    edges: Tensor,
) -> tuple[Tensor, Tensor]:
    """[num_edges, heads] in the accumulation dtype; `edges` is the edge_index, whose size compilers know it by.

    And a ticket of the graph for the backward pass: the tensor `graph` may show another graph by then.
    """
    inputs = Inputs(query, key, key, bias, edge_features, edge_query, tuple(parameters))
    plan = plan_of(inputs, sink, graph, score, normalizer, scale)
    with tape_of_its_own():
        return fresh([KINDS[kind](plan, inputs)], flat_of(inputs))[0], ticket_of(plan.graph)


@numbers_of_edges.register_fake
def _(kind, query, *arguments):
    numbers = query.new_empty(arguments[-1].size(1), query.size(1), dtype=accumulation_dtype(query.dtype))
    return numbers, fake_ticket()


@torch.library.custom_op("graphattn::numbers_of_edges_backward", mutates_args=())
def numbers_of_edges_backward(
    grad: Tensor,
    kind: str,
    query: Tensor,
    key: Tensor,
    bias: Tensor | None,
    edge_features: Tensor | None,
    edge_query: Tensor | None,
    parameters: list[Tensor],
    sink: Tensor | None,
    graph: Tensor,
    score: str,
    normalizer: str,
    scale: float,
    needed: list[bool],
) -> list[Tensor]:
    """Gradients of all differentiable arguments, empty where none is needed."""
    given = (query, key, bias, edge_features, edge_query, *parameters, sink)

    def numbers(query, key, bias, edge_features, edge_query, *rest):
        inputs = Inputs(query, key, key, bias, edge_features, edge_query, rest[:-1])
        return KINDS[kind](plan_of(inputs, rest[-1], graph, score, normalizer, scale), inputs)

    return gradients_by_tape(numbers, given, needed, grad)


@numbers_of_edges_backward.register_fake
def _(
    grad, kind, query, key, bias, edge_features, edge_query, parameters, sink, graph, score, normalizer, scale, needed
):
    return fake_gradients((query, key, bias, edge_features, edge_query, *parameters, sink), needed, grad)


def keep_for_backward(ctx, inputs, output):
    ctx.kind, *tensors, parameters, sink, _, score, normalizer, scale, _ = inputs
    ctx.options = score, normalizer, scale
    ctx.save_for_backward(*tensors, sink, output[1], *parameters)


def differentiate(ctx, grad, _):
    *tensors, sink, graph = ctx.saved_tensors[:7]
    parameters = list(ctx.saved_tensors[7:])
    needed = flat_needs(ctx.needs_input_grad[1:8])
    found = numbers_of_edges_backward(grad, ctx.kind, *tensors, parameters, sink, graph, *ctx.options, needed)
    found = none_unless(needed, found)
    return None, *found[:5], found[5:-1], found[-1], *[None] * 5


numbers_of_edges.register_autograd(differentiate, setup_context=keep_for_backward)
numbers_of_edges_backward.register_autograd(refuse_second_derivatives)
