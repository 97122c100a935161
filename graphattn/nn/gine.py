"""PyG's GINEConv inside other layers: the sum over edges by a loop that keeps no message, the maps by whichever is faster."""

from functools import partial
from typing import Any

import torch
import torch_geometric
from torch import Tensor
from torch.autograd import Function
from torch_geometric.nn.conv import MessagePassing

from graphattn.graphs import Graph, as_graph
from graphattn.kernels.native import gine as loops
from graphattn.kernels.native.library import why_not_native
from graphattn.kernels.plain.batched import each_of_batch
from graphattn.kernels.plain.differentiable import gradients_by_torch
from graphattn.nn.linear_maps import (
    apply_linear,
    gradients_of_maps,
    is_float_on_cpu,
    is_looked_at,
    may_differentiate,
    products_of,
)
from graphattn.nn.messages import adds_up, is_watched, own_method
from graphattn.nn.plain import has_hooks, is_linear, runs_as
from graphattn.nn.sequential import in_turn

MOST_WEIGHTS = 2**12  # that stay in the first cache from edge to edge; more are multiplied before, many edges at a time


def convolve(conv: MessagePassing, x: Tensor, edge_index: Any, **options: Any) -> Tensor:
    """conv(x, edge_index, **options).

    Example:
        >>> conv = torch_geometric.nn.GINEConv(torch.nn.Linear(8, 4), edge_dim=3)
        >>> x, edge_index, edge_attr = torch.randn(5, 8), torch.tensor([[0, 1], [1, 2]]), torch.randn(2, 3)
        >>> convolve(conv, x, edge_index, edge_attr=edge_attr).shape
        torch.Size([5, 4])
    """
    if not is_plain_gine(conv) or options.keys() != {"edge_attr"}:
        return conv(x, edge_index, **options)
    edge_attr, maps = options["edge_attr"], None if conv.lin is None else (conv.lin.weight, conv.lin.bias)
    if not suits_loops(x, edge_index, edge_attr, maps, conv.eps):
        return conv(x, edge_index, **options)
    graph = as_graph(edge_index, x.size(0), x.size(0))
    if not loops.has_whole_rows(graph, may_differentiate(x, edge_attr, *conv.parameters())):
        return conv(x, edge_index, **options)
    if maps is not None and maps[0].numel() > MOST_WEIGHTS:
        (edge_attr,), maps = apply_linear(edge_attr, conv.lin), None
    weight, bias = maps or (None, None)
    return in_turn(conv.nn, sum_messages(x, edge_attr, weight, bias, conv.eps, graph))


def is_plain_gine(conv: MessagePassing) -> bool:
    """PyG's own layer, that nobody looks into."""
    kind = torch_geometric.nn.GINEConv
    if torch.compiler.is_compiling() or type(conv) is not kind or not runs_as(conv, kind) or has_hooks(conv):
        return False
    if is_watched(conv) or not adds_up(conv, node_dim=-2) or own_method(conv, kind) is not None:
        return False
    return conv.lin is None or is_linear(conv.lin)


def suits_loops(
    x: Any, edge_index: Any, edge_attr: Any, maps: tuple[Tensor, Tensor | None] | None, eps: Tensor
) -> bool:
    """Whether these are what the loops read, and nobody would miss torch's operations."""
    if type(edge_index) is not Tensor or edge_index.layout is not torch.strided or edge_index.dtype is not torch.int64:
        return False
    tensors = [x, edge_attr, eps, *[parameter for parameter in maps or () if parameter is not None]]
    if not edge_index.is_cpu or not all([isinstance(x, Tensor) and is_float_on_cpu(x) for x in tensors]):
        return False
    if x.dim() != 2 or not x.numel() or eps.numel() != 1 or edge_index.dim() != 2 or edge_index.size(0) != 2:
        return False
    if maps is not None and maps[0].size(0) != x.size(1):
        return False
    if edge_attr.shape != (edge_index.size(1), (x if maps is None else maps[0]).size(1)) or not edge_attr.numel():
        return False
    return why_not_native() is None and not is_looked_at(tensors)


def sum_messages(
    x: Tensor, edge_attr: Tensor, weight: Tensor | None, bias: Tensor | None, eps: Tensor, graph: Graph
) -> Tensor:
    """(1 + eps) x_i + sum over j -> i of relu(x_j + W e_ij + b), [num_nodes, channels]."""
    if may_differentiate(x, edge_attr, weight, bias, eps):
        return SumMessages.apply(x, edge_attr, weight, bias, eps, graph)
    return loops.forward(x, edge_attr, weight, bias, eps, graph, keeps_signs=False)[0]


class SumMessages(Function):
    """The sum over edges; relu's signs are kept, one bit each, and of the rest what a gradient needs, as in PyG's layer."""

    @staticmethod
    def forward(ctx, x, edge_attr, weight, bias, eps, graph):
        out, signs = loops.forward(x, edge_attr, weight, bias, eps, graph, keeps_signs=True)
        needs_x, needs_features, needs_weight, needs_bias, needs_eps, _ = ctx.needs_input_grad
        needs_map = needs_weight or needs_bias
        kept = x if needs_eps else None, edge_attr if needs_map else None, weight if needs_features else None
        ctx.save_for_backward(*kept, eps if needs_x else None, signs)
        ctx.given, ctx.graph = (x, edge_attr, weight, bias, eps), graph
        return out

    @staticmethod
    @each_of_batch
    def backward(ctx, grad):
        x, edge_attr, weight, eps, signs = ctx.saved_tensors
        needed = ctx.needs_input_grad[:5]
        needs_x, needs_features, needs_weight, needs_bias, _ = needed
        if torch.is_grad_enabled() or is_looked_at([grad]):
            call = partial(by_torch, graph=ctx.graph, passed=numbers_passed(signs, grad.size(1)))
            return *gradients_by_torch(call, ctx.given, needed, grad), None
        has_map, of_maps = ctx.given[2] is not None, (None, None, None)
        needs_messages = needs_features or needs_weight or needs_bias
        of_x, of_messages, of_eps = loops.backward(grad, x, signs, eps, ctx.graph, needs_x, needs_messages)
        if not has_map:
            return of_x, of_messages, None, None, of_eps, None
        if of_messages is not None:
            products = products_of(ctx.given[1], [ctx.given[2].size(0)])
            needs = needs_features, [needs_weight], [needs_bias]
            of_maps = gradients_of_maps(products, [of_messages], edge_attr, [weight], *needs)
        return of_x, *of_maps, of_eps, None


def numbers_passed(signs: Tensor, channels: int) -> Tensor:
    """bool [edges, channels] from the bits that loops kept of relu."""
    bits = signs[..., None] >> torch.arange(8, dtype=torch.uint8, device="cpu")
    return (bits & 1).bool().flatten(1)[:, :channels]


def by_torch(
    x: Tensor, edge_attr: Tensor, weight: Tensor | None, bias: Tensor | None, eps: Tensor, graph: Graph, passed: Tensor
) -> Tensor:
    """The same as plain operations, relu by what it let pass: whoever wrote a tensor since, that no gradient needs, is not seen."""
    source, target = graph.edge_index(x.device)
    mapped = edge_attr if weight is None else torch.nn.functional.linear(edge_attr, weight, bias)
    messages = torch.where(passed, x[source] + mapped, 0.0)
    return (1 + eps) * x + x.new_zeros(x.shape).index_add(0, target, messages)
