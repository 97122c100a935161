"""PyG's LayerNorm over the nodes and channels of each example, by a loop that reads an example once forward and once backward."""

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


def normalized(norm: Any, x: Tensor, batch: Tensor, examples: CompleteGraph | None) -> Tensor:
    """norm(x, batch=batch), of which `examples` knows the nodes if they lie side by side.

    Example:
        >>> norm, x, batch = torch_geometric.nn.LayerNorm(8), torch.randn(5, 8), torch.tensor([0, 0, 1, 1, 1])
        >>> torch.allclose(normalized(norm, x, batch, CompleteGraph([2, 3])), norm(x, batch), atol=1e-6)
        True
    """
    if examples is None or not suits_loops(norm, x, examples):
        return norm(x, batch=batch)
    places = loops.examples_of(examples)
    if may_differentiate(x, norm.weight, norm.bias):
        return LayerNorm.apply(x, norm.weight, norm.bias, norm.eps, places)
    return loops.forward(x, norm.weight, norm.bias, norm.eps, places)[0]


def suits_loops(norm: Any, x: Tensor, examples: CompleteGraph) -> bool:
    """Whether the loop computes what the module does, and nobody would miss torch's operations."""
    kind = torch_geometric.nn.LayerNorm
    if torch.compiler.is_compiling() or type(norm) is not kind or not runs_as(norm, kind) or has_hooks(norm):
        return False
    tensors = [tensor for tensor in (x, norm.weight, norm.bias) if tensor is not None]
    shapes_fit = x.shape == (examples.num_queries, norm.in_channels) and x.numel() > 0
    if norm.mode != "graph" or len(tensors) == 2 or not shapes_fit or not all(map(is_float_on_cpu, tensors)):
        return False
    return why_not_native() is None and not is_looked_at(tensors)


class LayerNorm(Function):
    """The norm of each example."""

    @staticmethod
    def forward(ctx, x, weight, bias, eps, examples):
        y, mean, scale = loops.forward(x, weight, bias, eps, examples)
        ctx.save_for_backward(x, weight, bias, mean, scale)
        ctx.eps, ctx.examples = eps, examples
        return y

    @staticmethod
    @each_of_batch
    def backward(ctx, grad):
        x, weight, bias, mean, scale = ctx.saved_tensors
        needed = ctx.needs_input_grad[:3]
        if torch.is_grad_enabled() or is_looked_at([grad]):
            call = partial(by_torch, eps=ctx.eps, examples=ctx.examples)
            return *gradients_by_torch(call, [x, weight, bias], needed, grad), None, None
        return *loops.backward(grad, x, weight, mean, scale, ctx.examples, needed), None, None


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
