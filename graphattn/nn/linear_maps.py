"""Linear maps of a layer's input, all of one table at a time, by whichever multiplies faster: torch, or the loops of linear.c.

On AMD's processors with AVX-512 torch's library leaves half of each vector unused, so that loops take half its time. There they
run where a table is float32 on the CPU and nothing looks at what runs: transforms, modes, compilers and autocast get torch's
product, second derivatives too.
"""

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd import Function

from graphattn.graphs.recording import may_record
from graphattn.kernels.native import linear as loops
from graphattn.kernels.native.border import PLAIN
from graphattn.kernels.plain.batched import each_of_batch, is_batched
from graphattn.kernels.plain.differentiable import gradients_by_torch, have_tangents
from graphattn.nn.plain import are_linear, is_linear

FEWEST = 64  # rows
LEAST = 2**20  # multiplications, below which torch's call is as short


def apply_linear(x: Tensor, *maps: Any) -> tuple[Tensor, ...]:
    """map(x) for each of some modules.

    Args:
        x: [num_nodes, in_channels], or what the modules take.
        maps: Linear modules, or others, which are called.

    Example:
        >>> keys, values = apply_linear(torch.randn(5, 8), torch.nn.Linear(8, 4), torch.nn.Linear(8, 16))
        >>> keys.shape, values.shape
        (torch.Size([5, 4]), torch.Size([5, 16]))
    """
    if not are_linear(maps):
        return tuple([map(x) for map in maps])
    weights, biases = [map.weight for map in maps], [map.bias for map in maps]
    if may_run_loops(x) and suits_loops(x, weights, biases):
        return by_loops(x, weights, biases)
    # What the modules do when they are called, which takes as long as a product of few nodes.
    return tuple(by_torch.forward(x, weights, biases))


def linear(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """As torch.nn.functional.linear."""
    if may_run_loops(x) and suits_loops(x, [weight], [bias]):
        return by_loops(x, [weight], [bias])[0]
    return F.linear(x, weight, bias)


def linear_in_parts(x: Tensor, weight: Tensor, bias: Tensor | None, parts: int) -> tuple[Tensor, ...]:
    """linear(x, weight, bias) as so many blocks of columns; of loops each has memory of its own, and so has its gradient.

    >>> [part.shape for part in linear_in_parts(torch.ones(5, 2), torch.ones(6, 2), None, 2)]
    [torch.Size([5, 3]), torch.Size([5, 3])]
    """
    if may_run_loops(x) and weight.size(0) >= parts * loops.FEWEST and suits_loops(x, [weight], [bias]):
        return by_loops(x, weight.chunk(parts), (None,) * parts if bias is None else bias.chunk(parts))
    return F.linear(x, weight, bias).chunk(parts, -1)


def add_to(own: Tensor, other: Tensor) -> Tensor:
    """own + other, in the memory of `own` if nothing stands against it: the result of a plain linear map, which keeps its input for
    the backward pass, and which nobody else has yet."""
    is_alike = own.dtype == other.dtype and own.shape == other.shape
    return own.add_(other) if is_alike and may_write(own, other) else own + other


def relu_over(own: Tensor) -> Tensor:
    """relu(own), likewise."""
    return torch.relu_(own) if may_write(own) else torch.relu(own)


def may_write(*tensors: Tensor) -> bool:
    """Whether nobody sees the difference if the first is written."""
    is_plain = not torch.compiler.is_compiling() and all([type(tensor) is Tensor for tensor in tensors])
    return is_plain and not is_looked_at(tensors)


def head_by_head(x: Tensor, weights: Tensor) -> Tensor:
    """x [num_nodes, heads, channels] times a matrix of each head [heads, channels, out_channels]: [num_nodes, heads, out_channels].

    >>> head_by_head(torch.ones(5, 2, 3), torch.ones(2, 3, 4)).shape
    torch.Size([5, 2, 4])
    """
    if may_run_loops(x) and suits_heads(x, weights):
        return HeadByHead.apply(x, weights) if may_differentiate(x, weights) else loops.by_head(x, weights)
    is_plain = not torch.compiler.is_compiling() and type(x) is Tensor and x.is_cpu
    if not is_plain or may_differentiate(x, weights) or is_looked_at((x, weights)):
        return heads_by_torch(x, weights)
    result = x.new_empty(x.size(0), *weights.shape[::2])  # as kernels read it, which would copy what torch.bmm lays out
    torch.bmm(x.transpose(0, 1), weights, out=result.transpose(0, 1))
    return result


def suits_relu_between(x: Tensor, first: Any, last: Any) -> bool:
    """Whether loops compute last(relu(first(x))), and nobody would miss torch's operations."""
    if not (is_linear(first) and is_linear(last) and may_run_loops(x)):
        return False
    of_last = [tensor for tensor in (last.weight, last.bias) if tensor is not None]
    if not suits_loops(x, [first.weight], [first.bias]) or not all([is_float_on_cpu(tensor) for tensor in of_last]):
        return False
    if is_looked_at(of_last):
        return False
    return fits(first.weight.t(), last.weight, last.bias)  # which is as wide as what the last one maps


def relu_between(x: Tensor, first: Any, last: Any) -> Tensor:
    """last(relu(first(x))) of two linear maps that `suits_relu_between` has seen."""
    parameters = first.weight, first.bias, last.weight, last.bias
    if may_differentiate(x, *parameters):
        return ReluBetween.apply(x, *parameters)[0]
    (hidden,) = loops.forward(x, [first.weight], [first.bias], relu=True)
    return loops.forward(hidden, [last.weight], [last.bias])[0]


def may_run_loops(x: Tensor) -> bool:
    """What most calls end at where loops are no gain."""
    return not torch.compiler.is_compiling() and type(x) in PLAIN and loops.is_faster()


def suits_loops(x: Tensor, weights: Sequence[Tensor], biases: Sequence[Tensor | None]) -> bool:
    """Whether the loops take a table [rows, inputs] and maps of it, and nobody would miss torch's product."""
    if x.dim() != 2 or not is_much(x, [weight.size(0) for weight in weights]):
        return False
    tensors = [x, *weights, *[bias for bias in biases if bias is not None]]
    if not all([is_float_on_cpu(tensor) for tensor in tensors]):
        return False
    if not all([fits(x, weight, bias) for weight, bias in zip(weights, biases)]):
        return False
    if x.stride(1) != 1:  # columns side by side would be copied
        return False
    return not is_looked_at(tensors)


def suits_heads(x: Tensor, weights: Tensor) -> bool:
    """Likewise for a table [rows, heads, inputs] and matrices [heads, inputs, outputs]."""
    if x.dim() != 3 or weights.dim() != 3 or x.shape[1:] != weights.shape[:2] or x.size(0) < FEWEST:
        return False
    if min(weights.shape[1:]) < loops.FEWEST or x.numel() * weights.size(2) < LEAST:
        return False
    return is_float_on_cpu(x) and is_float_on_cpu(weights) and not is_looked_at((x, weights))


def fits(x: Tensor, weight: Tensor, bias: Tensor | None) -> bool:
    """Whether the loops know the sizes; torch says what is wrong with others."""
    if weight.dim() != 2 or not weight.size(0) or weight.size(1) != x.size(1):
        return False
    return bias is None or bias.shape == weight.shape[:1]


def is_float_on_cpu(tensor: Tensor) -> bool:
    is_strided = tensor.layout is torch.strided and tensor.is_cpu
    return type(tensor) in PLAIN and tensor.dtype is loops.REAL and is_strided


def is_looked_at(tensors: Sequence[Tensor | None]) -> bool:
    """Whether transforms, modes, forward mode or autocast would see, or change, what torch does with these tensors."""
    has_modes = may_record() or torch._C._len_torch_function_stack() > 0 or torch.is_autocast_enabled("cpu")
    return has_modes or torch._C._are_functorch_transforms_active() or have_tangents(tensors)


def may_differentiate(*tensors: Tensor | None) -> bool:
    return torch.is_grad_enabled() and any([x is not None and x.requires_grad for x in tensors])


def by_loops(x: Tensor, weights: Sequence[Tensor], biases: Sequence[Tensor | None]) -> tuple[Tensor, ...]:
    if may_differentiate(x, *weights, *biases):
        return LinearMaps.apply(x, *weights, *biases)
    return tuple(loops.forward(x, weights, biases))


def are_plain(grads: Sequence[Tensor]) -> bool:
    """Whether loops may read cotangents: neither sparse, nor many at once, nor looked at."""
    if torch.compiler.is_compiling() or is_looked_at(grads):
        return False
    return all([is_float_on_cpu(grad) and not is_batched(grad) for grad in grads])


def products_of(x: Tensor, widths: Sequence[int]) -> Any:
    """Where maps of a plain table on the CPU come from if nothing looks on, and their gradients: `loops` or `by_torch`.

    Where all is small, one call for all maps is faster than torch's, on any processor.

    Args:
        widths: Outputs of each map.
    """
    is_known = x.dtype is loops.REAL and x.stride(1) == 1 and x.size(0) >= loops.FEWEST and min(widths) > 0
    return loops if is_known and (loops.is_faster() or not is_much(x, widths)) else by_torch


def is_much(x: Tensor, widths: Sequence[int]) -> bool:
    return x.size(0) >= FEWEST and x.numel() * sum(widths) >= LEAST


class by_torch:
    """Maps and gradients as torch computes them, which can be differentiated and transformed."""

    @staticmethod
    def forward(x: Tensor, weights: Sequence[Tensor], biases: Sequence[Tensor | None]) -> list[Tensor]:
        return [F.linear(x, weight, bias) for weight, bias in zip(weights, biases)]

    @staticmethod
    def backward_input(grads: Sequence[Tensor], weights: Sequence[Tensor], passed: Tensor | None = None) -> Tensor:
        first, *others = (grad @ weight for grad, weight in zip(grads, weights))
        return sum(others, first) if passed is None else where_passed(sum(others, first), passed)

    @staticmethod
    def backward_weight(
        grads: Sequence[Tensor], x: Tensor, have_biases: Sequence[bool]
    ) -> list[tuple[Tensor, Tensor | None]]:
        return [(grad.t() @ x, grad.sum(0) if has_bias else None) for grad, has_bias in zip(grads, have_biases)]


class HeadByHead(Function):
    """x weight of each head."""

    @staticmethod
    def forward(ctx, x, weights):
        ctx.save_for_backward(x, weights)
        return loops.by_head(x, weights)

    @staticmethod
    @each_of_batch
    def backward(ctx, grad):
        x, weights = ctx.saved_tensors
        needs_x, needs_weights = ctx.needs_input_grad
        if torch.is_grad_enabled() or not are_plain([grad]):
            return tuple(gradients_by_torch(heads_by_torch, [x, weights], ctx.needs_input_grad, grad))
        of_x = loops.by_head(grad, weights.mT) if needs_x else None
        if not needs_weights:
            return of_x, None
        # In the order of the numbers of the weight, which may be given turned.
        is_turned = weights.mT.is_contiguous()
        return of_x, loops.by_head_over_rows(grad, x).mT if is_turned else loops.by_head_over_rows(x, grad)


def heads_by_torch(x: Tensor, weights: Tensor) -> Tensor:
    # torch.einsum comes to the same in twice the time where nodes are few.
    return torch.bmm(x.transpose(0, 1), weights).transpose(0, 1)


class LinearMaps(Function):
    """x weightᵀ + bias of each map; all add to one gradient of x."""

    @staticmethod
    def forward(ctx, x, *weights_and_biases):
        count = len(weights_and_biases) // 2
        weights, biases = weights_and_biases[:count], weights_and_biases[count:]
        needs_x, *needed = ctx.needs_input_grad
        ctx.save_for_backward(x if any(needed[:count]) else None, *[weight if needs_x else None for weight in weights])
        ctx.set_materialize_grads(False)
        return tuple(loops.forward(x, weights, biases))

    @staticmethod
    def backward(ctx, *grads):
        x, *weights = ctx.saved_tensors
        needs_x, *needed = ctx.needs_input_grad
        needs_weight, needs_bias = needed[: len(weights)], needed[len(weights) :]
        given = [grad for grad in grads if grad is not None]
        products = loops if are_plain(given) and not torch.is_grad_enabled() else by_torch
        return gradients_of_maps(products, grads, x, weights, needs_x, needs_weight, needs_bias)


def gradients_of_maps(
    products: Any,
    grads: Sequence[Tensor | None],
    x: Tensor | None,
    weights: Sequence[Tensor | None],
    needs_x: bool,
    needs_weight: Sequence[bool],
    needs_bias: Sequence[bool],
) -> tuple[Tensor | None, ...]:
    """The gradients of x, of all weights and of all biases, None for those that are not needed.

    Args:
        products: `loops` or `by_torch`.
        grads: Those of the results of the maps, None for one that nobody differentiated by.
        x, weights: As far as the gradients need them.
    """
    of_maps = [number for number, grad in enumerate(grads) if grad is not None]
    of_x = None
    if of_maps and needs_x:
        of_x = products.backward_input([grads[i] for i in of_maps], [weights[i] for i in of_maps])
    of_parameters: list[Tensor | None] = [None] * (2 * len(weights))
    for i in of_maps:
        if needs_bias[i] and not needs_weight[i]:
            of_parameters[len(weights) + i] = grads[i].sum(0)  # type: ignore[union-attr] # of those that are not None
    asked = [i for i in of_maps if needs_weight[i]]
    if asked:
        of_weights = products.backward_weight([grads[i] for i in asked], x, [needs_bias[i] for i in asked])
        for i, (of_weight, of_bias) in zip(asked, of_weights):
            of_parameters[i], of_parameters[len(weights) + i] = of_weight, of_bias
    return of_x, *of_parameters


class ReluBetween(Function):
    """Two linear maps with relu between them, which is applied where its input and its gradient are computed. What is between
    them is the second result, for second derivatives by it."""

    @staticmethod
    def forward(ctx, x, first, first_bias, last, last_bias):
        (hidden,) = loops.forward(x, [first], [first_bias], relu=True)
        needs_x, needs_first, *_ = ctx.needs_input_grad
        needs_hidden = any(ctx.needs_input_grad[:3])
        kept = x if needs_first else None, first if needs_x else None, last if needs_hidden else None, hidden
        ctx.save_for_backward(*kept)
        ctx.set_materialize_grads(False)
        return loops.forward(hidden, [last], [last_bias])[0], hidden

    @staticmethod
    def backward(ctx, grad, grad_hidden):
        x, first, last, hidden = ctx.saved_tensors
        needs_x, needs_first, needs_first_bias, needs_last, needs_last_bias = ctx.needs_input_grad
        of_hidden, of_first, of_last = None, (None, None, None), (None, None)
        is_plain = grad is not None and grad_hidden is None and are_plain([grad]) and not torch.is_grad_enabled()
        products = loops if is_plain else by_torch
        if grad is not None:
            _, *of_last = gradients_of_maps(products, [grad], hidden, [last], False, [needs_last], [needs_last_bias])
        if grad is not None and last is not None:
            of_hidden = products.backward_input([grad], [last], hidden)
        if grad_hidden is not None:
            passed = where_passed(grad_hidden, hidden)
            of_hidden = passed if of_hidden is None else of_hidden + passed
        if of_hidden is not None:
            needed = needs_x, [needs_first], [needs_first_bias]
            of_first = gradients_of_maps(products, [of_hidden], x, [first], *needed)
        return *of_first, *of_last


def where_passed(grad: Tensor, result: Tensor) -> Tensor:
    """The gradient before relu, from that behind it and relu's result."""
    return grad.masked_fill(result <= 0, 0)
