"""Dot-product attention over edges together with the maps that make its queries, keys and values, as one step.

A layer of a small graph takes its time from what is called, not from what is multiplied: projections, attention and the skip
connection are one node of autograd here, whose backward pass is three loops, or products of torch, and nothing between them.
"""

from collections.abc import Sequence
from functools import partial
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd import Function

from graphattn.graphs import Graph
from graphattn.graphs.spread import SpreadGraph
from graphattn.kernels.budget import current_budget
from graphattn.kernels.choose import has_others, select
from graphattn.kernels.kernel import Inputs, Needed, Partial, Plan
from graphattn.kernels.native.edges_cpu import EdgesCpu
from graphattn.kernels.plain.batched import each_of_batch
from graphattn.kernels.plain.differentiable import attend_differentiably, gradients_by_torch, is_differentiated_again
from graphattn.nn.linear_maps import (
    PLAIN,
    gradients_of_maps,
    is_looked_at,
    may_differentiate,
    products_of,
    products_of_gradients,
)
from graphattn.nn.plain import is_linear
from graphattn.running import mapped_edges
from graphattn.running.arguments import Draw, Options, prepare
from graphattn.running.execution import has_lost_weights

WIDE = torch.float32, torch.float64  # halves are rounded in other places


class Maps(NamedTuple):
    """Linear modules, in_channels -> heads * out_channels."""

    heads: int
    query: Any
    key: Any
    value: Any
    root: Any = None  # of a skip connection, to whose result attention is added


def attend_projected(
    target: Tensor,
    source: Tensor,
    graph: Graph,
    maps: Maps,
    dropout: float = 0.0,
    edge_features: Tensor | None = None,
    edge_weight: Tensor | None = None,
) -> Tensor | None:
    r"""root(x_i) + sum of w_ij (value(x_j) + W e_ij), w_i = softmax(query(x_i) · (key(x_j) + W e_ij) / sqrt(out_channels)).

    Args:
        target: x_i, [num_queries, in_channels].
        source: x_j, [num_keys, in_channels]; the same tensor where they are the same nodes.
        dropout: Probability of dropping a weight.
        edge_features, edge_weight: e, [num_edges, edge_dim], and W, [heads, out_channels, edge_dim].

    Returns:
        [num_queries, heads * out_channels], without a root [num_queries, heads, out_channels]; None where another kernel runs, or
        where somebody would see what runs.
    """
    modules = [module for module in maps[1:] if module is not None]
    if torch.compiler.is_compiling() or not all([is_linear(module) for module in modules]):
        return None
    # Not by `module.weight`, which is a function of PyTorch for each.
    weights, biases = ([module._parameters[name] for module in modules] for name in ("weight", "bias"))
    of_edges = [] if edge_features is None or edge_weight is None else [edge_features, edge_weight]
    tensors = [target, source, *weights, *[bias for bias in biases if bias is not None], *of_edges]
    if not all([is_wide(x, target.dtype) for x in tensors]) or not sizes_fit(target, source, weights, biases):
        return None
    if is_looked_at(tensors) or current_budget() is not None or isinstance(graph, SpreadGraph):
        return None
    layer = Layer(graph, maps.heads, dropout, maps.root is not None)
    if not layer.runs_loops(target, source, weights[0].size(0), edge_features):
        return None
    given = target, None if source is target else source, edge_features, edge_weight, *weights, *biases
    if not may_differentiate(*tensors):
        return layer.forward(*given)[0]
    if not all([weight.requires_grad for weight in weights]):
        return None  # a map that is frozen need not keep its input
    return AttendProjected.apply(layer, *given)


def is_wide(x: Tensor, dtype: torch.dtype) -> bool:
    """Whether it is a plain tensor on the CPU, whose numbers are rounded nowhere on the way."""
    return type(x) in PLAIN and x.dtype is dtype and dtype in WIDE and x.is_cpu and x.layout is torch.strided


def sizes_fit(target: Tensor, source: Tensor, weights: Sequence[Tensor], biases: Sequence[Tensor | None]) -> bool:
    """Whether tables have the channels that maps take, and biases those that they give; else modules say what is wrong."""
    of_query, of_key, *_ = weights
    if any([bias is not None and bias.shape != weight.shape[:1] for weight, bias in zip(weights, biases)]):
        return False
    is_empty = not (target.numel() and source.numel() and of_query.size(0))
    return not is_empty and target.size(1) == of_query.size(1) and source.size(1) == of_key.size(1)


def tables_of(target: Tensor, source: Tensor | None) -> list[tuple[Tensor, slice]]:
    """Each table, and which of the maps of queries, keys, values and root are maps of it."""
    return [(target, slice(None))] if source is None else [(target, slice(0, None, 3)), (source, slice(1, 3))]


class Tables(NamedTuple):
    """What maps make of nodes: [num_nodes, heads, out_channels] each, the root's [num_nodes, heads * out_channels]."""

    query: Tensor
    key: Tensor
    value: Tensor
    root: Tensor | None


class Layer(NamedTuple):
    """All but the tensors of a layer, which are given in this order: those of nodes, sources only where they are others; those
    of edges; the weights of queries, keys, values and root; their biases."""

    graph: Graph
    heads: int
    dropout: float
    has_root: bool

    def runs_loops(self, target: Tensor, source: Tensor, width: int, edge_features: Tensor | None) -> bool:
        """Whether the loops over edges are what runs; remembered."""
        edge_dim = None if edge_features is None else edge_features.shape
        sizes = target.size(0), source.size(0), width, edge_dim

        def ask() -> bool:
            shape = self.heads, width // self.heads
            query, key = (target.new_empty(()).expand(x.size(0), *shape) for x in (target, source))
            no_draw = Draw(seed=0)  # a question takes nothing from the generator
            plan, inputs = self.problem(query, key, key[:], edge_features, no_draw)
            return type(select(plan, inputs, None, is_finite=True)) is EdgesCpu

        if has_others():
            return ask()
        return self.graph.remember(("projected", self.heads, target.dtype, self.dropout > 0, *sizes), ask)

    def problem(
        self, query: Tensor, key: Tensor, value: Tensor, edge_features: Tensor | None, draw: Draw | None = None
    ) -> tuple[Plan, Inputs]:
        """The checked plan, without W, of which no check depends."""
        edge_query = None
        if edge_features is not None:
            edge_query = query.new_empty(()).expand(*query.shape[:2], edge_features.size(-1))
        options = Options(None, edge_features, edge_query, dropout=self.dropout, edge_sum=False, draw=draw)
        plan, inputs, _ = prepare(query, key, value, self.graph, options)
        return plan, inputs

    def shaped(self, query: Tensor, key: Tensor, value: Tensor, root: Tensor | None = None) -> Tables:
        shape = -1, self.heads, query.size(1) // self.heads
        return Tables(query.view(shape), key.view(shape), value.view(shape), root)

    def project(
        self, target: Tensor, source: Tensor | None, weights: Sequence[Tensor], biases: Sequence[Tensor | None]
    ) -> Tables:
        mapped: list[Any] = [None] * len(weights)
        for x, which in tables_of(target, source):
            mapped[which] = products_of(x, weights).forward(x, weights[which], biases[which])
        return self.shaped(*mapped)

    def forward(self, target, source, edge_features, edge_weight, *maps) -> tuple[Tensor, Any]:
        """The result, and what the backward pass needs of it."""
        count = len(maps) // 2
        tables = self.project(target, source, maps[:count], maps[count:])
        plan, inputs = self.problem(*tables[:3], edge_features)
        kernel = select(plan, inputs, None, is_finite=True)
        out, lse, _ = kernel.forward(plan, with_weight(inputs, edge_weight))
        return out if tables.root is None else tables.root.add_(out.flatten(1)), (plan, kernel, tables, out, lse)

    def by_torch(self, plan: Plan, kept: "Kept", target, source, edge_features, edge_weight, *maps) -> Tensor:
        """`forward` from plain operations, with a plan and the numbers that it had: whoever wrote a map since is not seen."""
        count = len(maps) // 2
        of_nodes = [target, *[target if source is None else source] * 2, target]
        mapped = [F.linear(x, weight, bias) for x, weight, bias in zip(of_nodes, maps[:count], maps[count:])]
        query, key, value, root = self.shaped(*mapped)
        query, key, value = (numbers + (x - x.detach()) for numbers, x in zip(kept, (query, key, value)))
        if edge_features is None:
            out = attend_differentiably(plan, Inputs(query, key, value)).out
        else:
            edge_weight = kept.edge_weight.detach() + (edge_weight - edge_weight.detach())
            out = mapped_edges.by_torch(plan, query, key, value, edge_features, edge_weight)
        return out if root is None else root + out.flatten(1)


class Kept(NamedTuple):
    """What the backward pass reads of the forward pass, beside what is differentiated by."""

    query: Tensor
    key: Tensor
    value: Tensor
    edge_weight: Any
    out: Tensor
    lse: Tensor


def with_weight(inputs: Inputs, edge_weight: Tensor | None) -> Inputs:
    """As loops take W of the features of edges."""
    return inputs if edge_weight is None else inputs._replace(edge_query=None, parameters=(edge_weight,))


class AttendProjected(Function):
    """A layer forward and backward; it keeps what maps and attention would keep each for themselves.

    As in PyG's layer, a weight may be written before the backward pass where no gradient needs it: where its table has none.
    """

    @staticmethod
    def forward(ctx, layer: Layer, target, source, edge_features, edge_weight, *maps):
        result, (plan, kernel, tables, out, lse) = layer.forward(target, source, edge_features, edge_weight, *maps)
        ctx.layer, ctx.plan, ctx.kernel, ctx.maps, ctx.edge_weight = layer, plan, kernel, maps, edge_weight
        _, by_target, by_source, by_features, *_ = ctx.needs_input_grad
        by_table = by_target, *[by_target if source is None else by_source] * 2, by_target
        kept_weights = [weight if by_x else None for weight, by_x in zip(maps[: len(maps) // 2], by_table)]
        of_edges = edge_weight if edge_weight is None or by_features else edge_weight.clone()
        ctx.save_for_backward(target, source, edge_features, *tables[:3], of_edges, out, lse, *kept_weights)
        return result

    @staticmethod
    @each_of_batch
    def backward(ctx, grad):
        target, source, edge_features, *rest = ctx.saved_tensors
        kept, kept_weights = Kept(*rest[:6]), rest[6:]
        layer, plan, needed, maps, count = ctx.layer, ctx.plan, ctx.needs_input_grad[1:], ctx.maps, len(kept_weights)
        if is_differentiated_again() or not is_plain_gradient(grad) or has_lost_weights(plan, kept.lse):
            given = target, source, edge_features, ctx.edge_weight, *maps
            return None, *gradients_by_torch(partial(layer.by_torch, plan, kept), given, needed, grad)
        by_target, by_source, by_features, by_edge_weight, *by_maps = needed
        inputs = with_weight(Inputs(*kept[:3], edge_features=edge_features), kept.edge_weight)
        asked = Needed(edge_features=by_features, parameters=(by_edge_weight,) * len(inputs.parameters))
        grad = grad.contiguous()
        of_out = Partial.gradient(grad if grad.dim() == 3 else grad.view(kept.out.shape), None)
        found = ctx.kernel.backward(plan._replace(needed=asked), inputs, Partial(kept.out, kept.lse), of_out)
        grads = [x.flatten(1) for x in found[:3]] + [grad] * layer.has_root

        of_tables: list[Tensor | None] = []
        of_weights, of_biases = [None] * count, [None] * count
        for (x, which), needs_x in zip(tables_of(target, source), (by_target, by_source)):
            products = products_of_gradients(x, maps[:count][which])
            needs = by_maps[:count][which], by_maps[count:][which]
            of_x, *found_here = gradients_of_maps(products, grads[which], x, kept_weights[which], needs_x, *needs)
            of_tables.append(of_x)
            half = len(found_here) // 2
            of_weights[which], of_biases[which] = found_here[:half], found_here[half:]
        of_target, of_source = (*of_tables, None)[:2]
        of_edges = found.edge_features if by_features else None, found.parameters[0] if by_edge_weight else None
        return None, of_target, of_source, *of_edges, *of_weights, *of_biases


def is_plain_gradient(grad: Tensor) -> bool:
    """Whether loops may read a cotangent."""
    return type(grad) is Tensor and grad.layout is torch.strided and not is_looked_at([grad])
