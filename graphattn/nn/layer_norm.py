"""PyG's LayerNorm over the nodes and channels of each example, by a loop that reads an example once forward and once backward."""

from collections.abc import Sequence
from functools import partial
from typing import Any

import torch
import torch_geometric
from torch import Tensor
from torch.autograd import Function

from graphattn.graphs import CompleteGraph
from graphattn.kernels.native import layer_norm as loops
from graphattn.kernels.native.library import why_not_native
from graphattn.kernels.plain.batched import each_of_batch
from graphattn.kernels.plain.differentiable import gradients_by_torch
from graphattn.nn.linear_maps import is_float_on_cpu, is_looked_at, may_differentiate
from graphattn.nn.plain import has_hooks, runs_as


def normalized(
    norm: Any,
    x: Tensor,
    batch: Tensor,
    examples: CompleteGraph | None,
    other: Tensor | None = None,
    added: Tensor | None = None,
) -> Tensor:
    """norm(x + other, batch=batch) + added; `examples` knows the nodes of each example if they lie side by side.

    Example:
        >>> norm, x, batch = torch_geometric.nn.LayerNorm(8), torch.randn(5, 8), torch.tensor([0, 0, 1, 1, 1])
        >>> torch.allclose(normalized(norm, x, batch, CompleteGraph([2, 3])), norm(x, batch), atol=1e-6)
        True
    """
    tables = [table for table in (x, other, added) if table is not None]
    if examples is None or not suits_loops(norm, tables, examples):
        y = norm(x if other is None else x + other, batch=batch)
        return y if added is None else y + added
    places, parameters = loops.examples_of(examples), (norm.weight, norm.bias)
    if may_differentiate(*tables, *parameters):
        return LayerNorm.apply(x, other, added, *parameters, norm.eps, places)[0]
    return loops.forward(x, other, added, *parameters, norm.eps, places, keeps_sum=False)[0]


def suits_loops(norm: Any, tables: Sequence[Tensor], examples: CompleteGraph) -> bool:
    """Whether the loop computes what the module does, and nobody would miss torch's operations."""
    kind = torch_geometric.nn.LayerNorm
    if torch.compiler.is_compiling() or type(norm) is not kind or not runs_as(norm, kind) or has_hooks(norm):
        return False
    parameters = [parameter for parameter in (norm.weight, norm.bias) if parameter is not None]
    tensors, shape = [*tables, *parameters], (examples.num_queries, norm.in_channels)
    if norm.mode != "graph" or len(parameters) == 1 or not all([table.shape == shape for table in tables]):
        return False
    if not all([parameter.shape == shape[1:] for parameter in parameters]):  # one number for all channels
        return False
    if not tables[0].numel() or not all(map(is_float_on_cpu, tensors)):
        return False
    return why_not_native() is None and not is_looked_at(tensors)


class LayerNorm(Function):
    """The norm of each example, of a sum and in a sum; the second result is the sum x + other, for second derivatives by it."""

    @staticmethod
    def forward(ctx, x, other, added, weight, bias, eps, examples):
        y, total, mean, scale = loops.forward(x, other, added, weight, bias, eps, examples, keeps_sum=True)
        ctx.save_for_backward(x if total is None else total, weight, bias, mean, scale)
        ctx.eps, ctx.examples = eps, examples
        ctx.set_materialize_grads(False)
        return y, total

    @staticmethod
    @each_of_batch
    def backward(ctx, grad, grad_sum):
        x, weight, bias, mean, scale = ctx.saved_tensors
        needs_x, needs_other, needs_added, *of_parameters = ctx.needs_input_grad[:5]
        needed = needs_x or needs_other, *of_parameters
        of_sum, of_weight, of_bias = None, None, None
        if grad is not None and (torch.is_grad_enabled() or is_looked_at([grad])):
            call = partial(by_torch, eps=ctx.eps, examples=ctx.examples)
            of_sum, of_weight, of_bias = gradients_by_torch(call, [x, weight, bias], needed, grad)
        elif grad is not None:
            of_sum, of_weight, of_bias = loops.backward(grad, x, weight, mean, scale, ctx.examples, needed)
        if grad_sum is not None:
            of_sum = grad_sum if of_sum is None else of_sum + grad_sum
        # As of torch's sum, one tensor goes on to all: who adds to it sees that others have it, and makes a new one.
        of_tables = of_sum if needs_x else None, of_sum if needs_other else None, grad if needs_added else None
        return *of_tables, of_weight, of_bias, None, None


def by_torch(x: Tensor, weight: Tensor | None, bias: Tensor | None, eps: float, examples: loops.Examples) -> Tensor:
    """The norm as plain operations."""
    sizes = examples.starts.diff()
    example = torch.repeat_interleave(sizes)
    counts = (sizes.clamp(min=1) * x.size(1)).to(x.dtype)

    def mean_of(x: Tensor) -> Tensor:
        return x.new_zeros(counts.shape).index_add(0, example, x.sum(1)) / counts

    centered = x - mean_of(x)[example, None]
    scaled = centered * (mean_of(centered.square()) + eps).rsqrt()[example, None]
    return scaled if weight is None or bias is None else scaled * weight + bias
