"""NaN and infinity behind a bias of -inf: an edge that is taken away must not show what its key holds.

A kernel gives such an edge the weight 0, and 0 times NaN is NaN. So where keys, values or edge features are not finite, and
edges are taken away, what is left of the graph runs as a graph of its own.
"""

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import NamedTuple

import torch
from torch import Tensor

from graphattn.by_heads import keys_of, of_heads
from graphattn.graphs import EdgeListGraph
from graphattn.kernels.differentiable import scores_of_edges, weights_of_edges, with_bias_of_edges
from graphattn.kernels.finite import AreFinite
from graphattn.kernels.kernel import Inputs, Plan
from graphattn.kernels.parts import sizes_of
from graphattn.kernels.scores import Custom


class ShowHidden:
    """Whether a result shows what a bias hides. Asked before the kernels start, answered after, so that a GPU does not wait."""

    def __init__(self, plan: Plan, inputs: Inputs):
        self.plan, self.inputs, self.are_finite = plan, inputs, None
        if inputs.bias is None or torch._C._are_functorch_transforms_active():
            return
        # A table by offset is small, and mostly hides nothing; a bias of edges is looked at only if it must be.
        if plan.bias_by_offset and inputs.bias.device.type == "cpu" and not is_hidden(inputs).any():
            return
        shown = inputs.query, inputs.key, inputs.value, inputs.edge_features, inputs.edge_query
        self.are_finite = AreFinite(*(x for x in shown if x is not None))

    def answer(self) -> bool:
        if self.are_finite is None or self.are_finite.answer():
            return False
        hidden = is_hidden(self.inputs)
        # A function as score sees all heads together: they must lose the same edges.
        is_custom = isinstance(self.plan.score, Custom)
        return bool(hidden.any()) and not (is_custom and bool((hidden != hidden[:, :1]).any()))


def is_hidden(inputs: Inputs) -> Tensor:
    """[num_edges, heads or 1]"""
    return inputs.bias.detach() == -torch.inf


class Left(NamedTuple):
    """The edges that some heads keep."""

    heads: Tensor
    places: Tensor  # of the edges in graph.edge_index()
    plan: Plan
    inputs: Inputs


def what_is_left(plan: Plan, inputs: Inputs) -> Iterator[Left]:
    """Heads that lose the same edges together, over the edges that they keep."""
    plan, inputs = with_bias_of_edges(plan, inputs)
    edges, num_heads = plan.graph.edge_index(inputs.query.device), inputs.query.size(1)
    patterns, of_head = is_hidden(inputs).unique(dim=1, return_inverse=True)
    of_head = of_head.expand(num_heads)
    for number in range(patterns.size(1)):
        heads, places = (of_head == number).nonzero().flatten(), (~patterns[:, number]).nonzero().flatten()
        graph = EdgeListGraph(edges[:, places], *sizes_of(plan.graph))
        own = take_heads(inputs, heads) if len(heads) < num_heads else inputs
        features = own.edge_features
        own = own._replace(bias=own.bias[places], edge_features=None if features is None else features[places])
        score = plan.score if len(heads) == num_heads else plan.score.at_heads(heads)
        normalizer = plan.normalizer.of_sink(lambda sink, heads=heads: sink[heads])
        if normalizer.scale_by_degree:  # edges that are taken away count: the caller divides
            normalizer = replace(normalizer, scale_by_degree=False)
        own = own._replace(parameters=score.parameters)
        yield Left(heads, places, replace(plan, graph=graph, score=score, normalizer=normalizer), own)


def take_heads(inputs: Inputs, heads: Tensor) -> Inputs:
    num_heads = inputs.query.size(1)
    return inputs._replace(
        query=inputs.query[:, heads],
        key=keys_of(inputs.key, heads, num_heads),
        value=keys_of(inputs.value, heads, num_heads),
        bias=of_heads(inputs.bias, heads),
        edge_query=None if inputs.edge_query is None else inputs.edge_query[:, heads],
    )


def run_what_is_left(run: Callable, plan: Plan, inputs: Inputs) -> tuple[Tensor, Tensor | None]:
    """(out, edge_out) of `run(plan, inputs)`, before they are divided by degrees."""
    found, order = [], []
    for left in what_is_left(plan, inputs):
        found.append(run(left.plan, left.inputs))
        order.append(left.heads)
    back = torch.cat(order).argsort()
    out, edge_out = (None if parts[0] is None else torch.cat(parts, 1)[:, back] for parts in zip(*found))
    return out, edge_out


def scores_shown(plan: Plan, inputs: Inputs) -> Tensor:
    """`scores_of_edges`, -inf for edges that are taken away, whatever they hold."""
    return numbers_of_edges(scores_of_edges, plan, inputs, of_hidden=-torch.inf)


def weights_shown(plan: Plan, inputs: Inputs) -> Tensor:
    """`weights_of_edges`, 0 for edges that are taken away, whatever they hold."""
    return numbers_of_edges(weights_of_edges, plan, inputs, of_hidden=0.0)


def numbers_of_edges(numbers: Callable, plan: Plan, inputs: Inputs, of_hidden: float) -> Tensor:
    """[num_edges, heads] of `numbers(plan, inputs)`, with one number for all edges that are taken away if they would show."""
    shows_hidden = ShowHidden(plan, inputs)
    result = numbers(plan, inputs)
    if not shows_hidden.answer():
        return result
    found, order = [], []
    for left in what_is_left(plan, inputs):
        own = numbers(left.plan, left.inputs)
        found.append(own.new_full((plan.graph.num_edges, own.size(1)), of_hidden).index_copy(0, left.places, own))
        order.append(left.heads)
    result = torch.cat(found, 1)[:, torch.cat(order).argsort()]
    if plan.normalizer.scale_by_degree:
        result = result / plan.graph.degrees(result.device)[plan.graph.edge_index(result.device)[1], None]
    return result
