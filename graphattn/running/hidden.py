"""NaN and infinity behind a bias of -inf: an edge that is taken away must not show what its key holds.

A kernel gives such an edge the weight 0, and 0 times NaN is NaN. So where keys, values or edge features are not finite, and
edges are taken away, what is left of the graph runs as a graph of its own. Where that cannot be, torch operations leave the
edges out one by one: torch.func may give each of a batch another bias, and a function as score sees all heads together.
"""

from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import Tensor

from graphattn.formulas.scores import Custom
from graphattn.graphs import EdgeListGraph
from graphattn.kernels.finite import AreFinite
from graphattn.kernels.kernel import Inputs, Partial, Plan
from graphattn.kernels.parts import sizes_of
from graphattn.kernels.plain.differentiable import (
    attend_differentiably,
    hidden_by_bias,
    scores_of_edges,
    weights_of_edges,
    with_bias_of_edges,
)
from graphattn.running.by_heads import keys_of, of_heads


class ShowHidden:
    """Whether a result shows what a bias hides. Asked before the kernels start, answered after, so that a GPU does not wait."""

    def __init__(self, plan: Plan, inputs: Inputs):
        bias = inputs.bias if inputs.bias_by_offset is None else inputs.bias_by_offset
        self.bias = None if bias is None else unwrapped(bias)
        self.are_finite: AreFinite | None = None
        # A table by offset is small, and mostly hides nothing; a bias of edges is looked at only if it must be.
        if self.bias is None or (
            inputs.bias_by_offset is not None and self.bias.device.type == "cpu" and not self.hides()
        ):
            return
        shown = inputs.query, inputs.key, inputs.value, inputs.edge_features, inputs.edge_query
        self.are_finite = AreFinite(*(unwrapped(x) for x in shown if x is not None))

    def answer(self) -> bool:
        return self.are_finite is not None and not self.are_finite.answer() and self.hides()

    def hides(self) -> bool:
        return self.bias is not None and bool(hidden_by_bias(self.bias).any())


def unwrapped(x: Tensor) -> Tensor:
    """The numbers that torch.func has wrapped, of all examples of a batch; no derivative passes here."""
    while torch._C._functorch.is_functorch_wrapped_tensor(x):  # one wrapper for each transform
        x = torch._C._functorch.get_unwrapped(x)
    return x


def hidden_edges(bias: Tensor | None, *shown: Tensor | None) -> Tensor | None:
    """The edges [num_edges, heads or 1] that a bias takes away and whose weight of 0 does not hide what is `shown`, tensors that
    reach the result; None where it does."""
    if bias is None:
        return None
    bias = bias[:, None] if bias.dim() == 1 else bias
    if torch.compiler.is_compiling():  # numbers cannot be asked
        return hidden_by_bias(bias)
    are_finite = AreFinite(*(unwrapped(x) for x in shown if x is not None))
    if are_finite.answer() or not bool(hidden_by_bias(unwrapped(bias)).any()):
        return None
    return hidden_by_bias(bias)


class Left(NamedTuple):
    """The edges that some heads keep."""

    heads: Tensor
    places: Tensor  # of the edges in graph.edge_index()
    plan: Plan
    inputs: Inputs


def bias_that_hides(inputs: Inputs) -> Tensor:
    assert inputs.bias is not None  # without one nothing is hidden
    return inputs.bias


def stays_whole(plan: Plan, inputs: Inputs) -> bool:
    """Whether edges are left out one by one: nothing can be cut by the numbers of a batch of torch.func, nor the heads of a
    function that sees them together, if they lose different edges."""
    if torch._C._are_functorch_transforms_active():
        return True
    hidden = hidden_by_bias(bias_that_hides(inputs))
    return isinstance(plan.score, Custom) and bool((hidden != hidden[:, :1]).any())


def what_is_left(plan: Plan, inputs: Inputs) -> Iterator[Left]:
    """Heads that lose the same edges together, over the edges that they keep."""
    edges, num_heads = plan.graph.edge_index(inputs.query.device), inputs.query.size(1)
    patterns, of_head = hidden_by_bias(bias_that_hides(inputs)).unique(dim=1, return_inverse=True)
    of_head = of_head.expand(num_heads)
    for number in range(patterns.size(1)):
        heads, places = (of_head == number).nonzero().flatten(), (~patterns[:, number]).nonzero().flatten()
        graph = EdgeListGraph(edges[:, places], *sizes_of(plan.graph))
        own = take_heads(inputs, heads) if len(heads) < num_heads else inputs
        features = own.edge_features
        own = own._replace(
            bias=bias_that_hides(own)[places], edge_features=None if features is None else features[places]
        )
        score = plan.score if len(heads) == num_heads else plan.score.at_heads(heads)
        normalizer: Any = plan.normalizer.of_sink(partial(torch.index_select, dim=0, index=heads))
        if normalizer.scale_by_degree:  # edges that are taken away count: the caller divides
            normalizer = replace(normalizer, scale_by_degree=False)
        own = own._replace(parameters=score.parameters)
        own_plan = plan._replace(graph=graph, score=score, normalizer=normalizer, memory=None)
        yield Left(heads, places, own_plan, own)


def take_heads(inputs: Inputs, heads: Tensor) -> Inputs:
    num_heads, features = inputs.query.size(1), inputs.edge_features
    return inputs._replace(
        query=inputs.query[:, heads],
        key=keys_of(inputs.key, heads, num_heads),
        value=keys_of(inputs.value, heads, num_heads),
        bias=of_heads(bias_that_hides(inputs), heads),
        edge_features=features[:, heads] if features is not None and features.dim() == 3 else features,
        edge_query=None if inputs.edge_query is None else inputs.edge_query[:, heads],
    )


def results_of(result: Partial, with_lse: bool) -> tuple[Any, ...]:
    """(out, edge_out), and the log-sum-exp if wanted."""
    return (result.out, result.edge_out, result.lse) if with_lse else (result.out, result.edge_out)


def run_what_is_left(run: Callable, plan: Plan, inputs: Inputs, with_lse: bool = False) -> tuple[Any, ...]:
    """(out, edge_out) of `run(plan, inputs)`, before they are divided by degrees, and the log-sum-exp that it gives if wanted."""
    plan, inputs = with_bias_of_edges(plan, inputs)
    if stays_whole(plan, inputs):
        result = attend_differentiably(plan, inputs, hidden_by_bias(inputs.bias))
        return results_of(result, with_lse)
    parts = list(what_is_left(plan, inputs))
    results = [run(left.plan, left.inputs) for left in parts]
    back = torch.cat([left.heads for left in parts]).argsort()
    return tuple(None if found[0] is None else torch.cat(found, 1)[:, back] for found in zip(*results))


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
    plan, inputs = with_bias_of_edges(plan, inputs)
    if stays_whole(plan, inputs):
        hidden = hidden_by_bias(bias_that_hides(inputs))
        result = numbers(plan, inputs, hidden)
        return result if of_hidden == -torch.inf else result.masked_fill(hidden, of_hidden)
    found, order = [], []
    for left in what_is_left(plan, inputs):
        own = numbers(left.plan, left.inputs)
        found.append(own.new_full((plan.graph.num_edges, own.size(1)), of_hidden).index_copy(0, left.places, own))
        order.append(left.heads)
    result = torch.cat(found, 1)[:, torch.cat(order).argsort()]
    if plan.normalizer.scale_by_degree:
        result = result / plan.graph.degrees(result.device)[plan.graph.edge_index(result.device)[1], None]
    return result
