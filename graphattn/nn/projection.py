"""Several linear maps of the same nodes, by one product with their weights one below the other."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.autograd import forward_ad
from torch.nn import Module, Parameter
from torch.nn.modules import module as torch_modules

from graphattn.kernels.columns import join_columns
from graphattn.nn.plain import HOOKS, home
from graphattn.nn.unprojected import LINEAR

# The forward pass of each class, as long as nobody has put another one in its place.
FORWARD = {kind: kind.forward for kind in LINEAR if home(kind.forward) == kind.__module__}
# To lay weights of so many numbers side by side costs less than the products that are spared; larger ones need more nodes.
FEW_WEIGHTS = 2**14
WEIGHTS_PER_NODE = 64


def project_together(x: Tensor, maps: Sequence[Any], heads: Sequence[int]) -> tuple[Tensor, ...] | None:
    """[num_nodes, heads, channels] of each map, all columns of one table; None where maps are better called one by one.

    Args:
        x: [num_nodes, in_channels].
        maps: Linear, in_channels -> heads * channels, with or without an offset all.
        heads: Of each map.
    """
    parameters = parameters_of(maps) if can_read(x) else None
    if parameters is None or not fit_together(x, *parameters):
        return None
    weights, biases = parameters
    if torch.is_grad_enabled():
        return Projections.apply(x, heads, len(weights), *weights, *biases)
    return columns(multiply(x, weights, biases), [weight.size(0) for weight in weights], heads)


def can_read(x: Tensor) -> bool:
    """Whether nodes are a plain matrix of numbers, and nobody looks at what is computed of them."""
    if torch.compiler.is_compiling() or type(x) is not Tensor or x.layout != torch.strided or x.dim() != 2:
        return False
    is_transformed = torch._C._are_functorch_transforms_active() or forward_ad._current_level >= 0
    return not (is_transformed or torch.is_autocast_enabled(x.device.type))


def parameters_of(maps: Sequence[Module]) -> tuple[list[Tensor], list[Tensor]] | None:
    """Weights and offsets of maps that are mere products and have all an offset or none; None for others."""
    if torch_modules._has_any_global_hook():
        return None
    weights, biases = [], []
    for linear in maps:
        kind, own = type(linear), linear.__dict__  # read as they are: a module finds its attributes slowly
        if FORWARD.get(kind) is not kind.forward or "forward" in own or any([own[hooks] for hooks in HOOKS]):
            return None
        weights.append(own["_parameters"]["weight"])
        bias = own["_parameters"]["bias"]
        if bias is not None:
            biases.append(bias)
    is_twice = len({*map(id, weights)}) < len(weights)
    return None if is_twice or len(biases) not in (0, len(weights)) else (weights, biases)


def fit_together(x: Tensor, weights: list[Tensor], biases: list[Tensor]) -> bool:
    """Whether all are of the dtype and on the device of the nodes, and small enough beside them."""
    size, dtype, device = 0, x.dtype, x.device
    for parameter in (*weights, *biases):
        if type(parameter) is not Parameter or parameter.dtype is not dtype or parameter.device != device:
            return False
        size += parameter.numel()
    return size <= max(FEW_WEIGHTS, WEIGHTS_PER_NODE * x.size(0))


def multiply(x: Tensor, weights: list[Tensor], biases: list[Tensor]) -> Tensor:
    weight = torch.cat(weights).t()
    return torch.addmm(torch.cat(biases), x, weight) if biases else x @ weight


def columns(table: Tensor, widths: Sequence[int], heads: Sequence[int]) -> tuple[Tensor, ...]:
    """[num_nodes, heads, channels] of each map."""
    (num_nodes, row), found, start = table.shape, [], table.storage_offset()
    for width, n in zip(widths, heads):
        found.append(table.as_strided((num_nodes, n, width // n), (row, width // n, 1), start))
        start += width
    return tuple(found)


class Projections(torch.autograd.Function):
    """x W^T + b for each pair of W and b, as [num_nodes, heads, channels]."""

    @staticmethod
    def forward(ctx, x, heads, count, *parameters):
        weights, biases = list(parameters[:count]), list(parameters[count:])
        ctx.save_for_backward(x, *weights)
        ctx.widths, ctx.has_biases = [weight.size(0) for weight in weights], bool(biases)
        ctx.set_materialize_grads(False)
        return columns(multiply(x, weights, biases), ctx.widths, heads)

    @staticmethod
    def backward(ctx, *gradients):
        x, *weights = ctx.saved_tensors
        if all(gradient is None for gradient in gradients):
            return (None,) * (3 + len(weights) * (1 + ctx.has_biases))
        table = join_columns(gradients, ctx.widths, x)
        of_x = table @ torch.cat(weights) if ctx.needs_input_grad[0] else None
        of_parameters = [None] * len(weights) * (1 + ctx.has_biases)
        if any(ctx.needs_input_grad[3 : 3 + len(weights)]):
            of_parameters[: len(weights)] = (table.t() @ x).split(ctx.widths)
        if ctx.has_biases and any(ctx.needs_input_grad[3 + len(weights) :]):
            of_parameters[len(weights) :] = table.sum(0).split(ctx.widths)
        return of_x, None, None, *of_parameters
