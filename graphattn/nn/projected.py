"""Dot-product attention over edges together with the maps that make its queries, keys and values, as one step.

A layer of a small graph takes its time from what is called, not from what is multiplied: projections, attention and the skip
connection are one node of autograd here, whose passes are a few loops, or products of torch, and nothing between them. Where a
graph comes again with tables of the same sizes, a pass is those loops alone (`kernels/native/replay.py`).
"""

from contextlib import nullcontext
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.autograd import Function

from graphattn.graphs import Graph
from graphattn.graphs.spread import SpreadGraph
from graphattn.kernels.budget import current_budget
from graphattn.kernels.choose import has_others
from graphattn.kernels.native.border import PLAIN
from graphattn.kernels.native.replay import Ready, Replay
from graphattn.kernels.native.tape import Tape
from graphattn.kernels.plain.batched import each_of_batch
from graphattn.kernels.plain.differentiable import gradients_by_torch, is_differentiated_again
from graphattn.nn.layer_on_graph import Attended, Given, Layer, edge_dim_in_front
from graphattn.nn.linear_maps import is_looked_at, may_differentiate
from graphattn.nn.plain import are_linear
from graphattn.running.arguments import new_seed
from graphattn.running.execution import are_lost

TRIES = range(1, 4)  # calls that are written down, if they can be: what comes once is not worth it
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
    if torch.compiler.is_compiling() or not are_linear(modules):
        return None
    # Not by `module.weight`, which is a function of PyTorch for each.
    weights, biases = ([module._parameters[name] for module in modules] for name in ("weight", "bias"))
    other = None if source is target else source
    of_edges = (None, None) if edge_features is None else (edge_features, edge_weight)
    flat = target, other, *of_edges, *weights, *biases
    if type(target) not in PLAIN or is_looked_at(flat) or current_budget() is not None:
        return None
    # As loops read it: memory of its own, so that a weight may be written before the backward pass.
    turned = None if of_edges[1] is None else edge_dim_in_front(of_edges[1].detach()).contiguous()
    given = Given(target, other, of_edges[0], turned, weights, biases)
    layer = Layer(graph, maps.heads, dropout, maps.root is not None)
    memory = None if has_others() else memory_of(layer, given)
    ready = None if memory is None or memory.forward is None else memory.forward.ready(given.flat())
    if ready is None and not may_run(layer, given, memory):
        return None
    if not may_differentiate(*flat):
        return attend_given(layer, given, memory, ready).result
    if not all([weight.requires_grad for weight in weights]):
        return None  # a map that is frozen need not keep its input
    return AttendProjected.apply(layer, given, memory, ready, *flat)


class Memory:
    """What a layer on a graph with tables of the same sizes ran before."""

    def __init__(self) -> None:
        self.calls = 0
        self.forward: Replay | None = None
        self.backward: dict[tuple[bool, ...], Replay | None] = {}  # by the gradients that are asked for


def memory_of(layer: Layer, given: Given) -> Memory:
    shapes = [None if x is None else x.shape for x in given.flat()]
    return layer.graph.remember(("projected", *layer[1:], given.target.dtype, *shapes), Memory)


class Done(NamedTuple):
    """A forward pass, and what its backward pass reads."""

    result: Tensor
    lse: Tensor
    kept: tuple[
        Tensor, ...
    ]  # query, key, value and out, as far as that is not the result; or the memory of the `replay`
    seed: int
    replay: Replay | None = None


def may_run(layer: Layer, given: Given, memory: Memory | None) -> bool:
    """Whether loops over edges run on plain tables that fit together."""
    if not all([x is None or is_wide(x, given.target.dtype) for x in given.flat()]):
        return False
    if memory is not None and memory.calls:
        return True
    return not isinstance(layer.graph, SpreadGraph) and sizes_fit(given) and layer.runs_loops(given)


def attend_given(layer: Layer, given: Given, memory: Memory | None, ready: Ready | None) -> Done:
    """The forward pass, by what is written down if that takes these tensors."""
    seed = int(new_seed(given.target.device)) if layer.dropout else 0
    if memory is not None and memory.forward is not None and ready is not None:
        (result, lse), room = memory.forward.run(ready, seed)
        return Done(result, lse, (room,), seed, memory.forward)
    is_new = memory is not None and memory.forward is None and memory.calls in TRIES
    with Tape() if is_new else nullcontext() as tape:
        result, attended = layer.forward(given, seed)
    kept = attended[: 4 if layer.has_root else 3]
    if memory is not None:
        memory.calls += 1
        if tape is not None:
            memory.forward = Replay.of(tape, given.flat(), [result, attended.lse], kept)
    return Done(result, attended.lse, kept, seed)


def is_wide(x: Tensor, dtype: torch.dtype) -> bool:
    """Whether it is a plain tensor on the CPU, whose numbers are rounded nowhere on the way."""
    return type(x) in PLAIN and x.dtype is dtype and dtype in WIDE and x.is_cpu and x.layout is torch.strided


def sizes_fit(given: Given) -> bool:
    """Whether tables have the channels that maps take, and biases those that they give; else modules say what is wrong."""
    of_query, of_key, *_ = given.weights
    if any([bias is not None and bias.shape != weight.shape[:1] for weight, bias in zip(given.weights, given.biases)]):
        return False
    target, source = given.target, given.source
    is_empty = not (target.numel() and source.numel() and of_query.size(0))
    return not is_empty and target.size(1) == of_query.size(1) and source.size(1) == of_key.size(1)


class AttendProjected(Function):
    """A layer forward and backward; it keeps what maps and attention would keep each for themselves.

    As in PyG's layer, a weight may be written before the backward pass where no gradient needs it: where its table has none.
    """

    @staticmethod
    def forward(ctx, layer: Layer, given: Given, memory: Memory | None, ready: Ready | None, *flat):
        done = attend_given(layer, given, memory, ready)
        ctx.layer, ctx.memory, ctx.seed, ctx.replay, ctx.maps = layer, memory, done.seed, done.replay, flat[3:]
        *_, by_target, by_source = ctx.needs_input_grad[:6]
        by_table = by_target, *[by_target if given.other_source is None else by_source] * 2, by_target
        weights = [weight if by_x else None for weight, by_x in zip(given.weights, by_table)]
        out = None if layer.has_root else done.result
        ctx.save_for_backward(*given[:4], *weights, out, done.lse, *done.kept)
        return done.result

    @staticmethod
    @each_of_batch
    def backward(ctx, grad):
        layer, replay, needed, saved = ctx.layer, ctx.replay, ctx.needs_input_grad[4:], ctx.saved_tensors
        count = len(ctx.maps) // 2
        given = Given(*saved[:4], saved[4 : 4 + count], [None] * count)
        out, lse, *kept = saved[4 + count :]
        is_again = is_differentiated_again() or not is_plain_gradient(grad)
        is_lost = is_again or are_lost(layer.graph, lse)
        grad = grad if is_lost else grad.contiguous()
        known = None if is_lost or replay is None else ctx.memory.backward.get(needed)
        ready = None if known is None else known.ready([grad, *saved])
        if known is not None and ready is not None:
            found = iter(known.run(ready, ctx.seed)[0])
            return None, None, None, None, *[next(found) if is_needed else None for is_needed in needed]

        kept = kept if replay is None else replay.views(*kept)
        attended = Attended(*kept[:3], kept[3] if out is None else out, lse)
        if is_lost:
            again = partial(layer.by_torch, attended, given.edge_weight, ctx.seed)
            flat = *saved[:3], *ctx.maps
            return None, None, None, None, *gradients_by_torch(again, flat, needed, grad)
        is_new = replay is not None and needed not in ctx.memory.backward
        with Tape() if is_new else nullcontext() as tape:
            grads = layer.backward(grad, given, attended, needed, ctx.seed)
        if tape is not None:
            asked = [x for x, is_needed in zip(grads, needed) if is_needed]
            ctx.memory.backward[needed] = Replay.of(tape, [grad, *saved], asked)
        return None, None, None, None, *grads


def is_plain_gradient(grad: Tensor) -> bool:
    """Whether loops may read a cotangent."""
    return type(grad) is Tensor and grad.layout is torch.strided and not is_looked_at([grad])
