"""A number for each edge and head from its two nodes, and sums of nodes weighted by such numbers, differentiable at will.

Each is the other's derivative, so that derivatives of every order keep num_edges * heads numbers, never times dim. Both can
leave out edges that are `hidden` from a head, whatever their nodes hold: NaN times 0 would be NaN, forward and backward.
"""

from collections.abc import Callable, Iterator
from functools import partial

import torch
from torch import Tensor

from graphattn.graphs.exported import is_exporting
from graphattn.kernels.kernel import sum_to_groups
from graphattn.kernels.plain.batched import each_of_batch
from graphattn.kernels.plain.edges_torch import CHUNK_ELEMENTS


class Products(torch.autograd.Function):
    """left[at_left] · right[at_right], see `products`."""

    @staticmethod
    def forward(left: Tensor, right: Tensor, at_left: Tensor, at_right: Tensor, hidden: Tensor | None) -> Tensor:
        result = left.new_empty(at_left.numel(), left.size(1))
        for part in parts_of(at_left.numel(), left):
            own = None if hidden is None else hidden[part]
            result[part] = products_of(left, right, at_left[part], at_right[part], own)
        return result

    @staticmethod
    def setup_context(ctx, inputs, output):
        ctx.save_for_backward(*inputs)
        ctx.save_for_forward(*inputs)

    @staticmethod
    @each_of_batch
    def backward(ctx, grad):
        return gradients_of_products(ctx, grad, sums)

    @staticmethod
    def vmap(info, in_dims, left, right, at_left, at_right, hidden):
        left, right = one_batch(info, in_dims, left, right)
        hidden = hidden_in_batch(info, in_dims[-1], hidden, left.size(1))
        return products(left, right, at_left, at_right, hidden).unflatten(1, (info.batch_size, -1)), 1

    @staticmethod
    def jvp(ctx, left_tangent, right_tangent, *_):
        left, right, *places = ctx.saved_tensors
        terms = []
        if left_tangent is not None:
            terms.append(products(left_tangent, right, *places))
        if right_tangent is not None:
            terms.append(products(left, right_tangent, *places))
        return sum(terms)


class Sums(torch.autograd.Function):
    """Sums of weights * values[at_values], see `sums`."""

    @staticmethod
    def forward(
        weights: Tensor, values: Tensor, at_values: Tensor, at_rows: Tensor, num_rows: int, hidden: Tensor | None
    ) -> Tensor:
        result = values.new_zeros(num_rows, weights.size(1), values.size(2))
        for part in parts_of(at_rows.numel(), result):
            own = None if hidden is None else hidden[part]
            result.index_add_(0, at_rows[part], messages_of(weights[part], values, at_values[part], own))
        return result

    @staticmethod
    def setup_context(ctx, inputs, output):
        *tensors, ctx.num_rows, hidden = inputs
        ctx.save_for_backward(*tensors, hidden)
        ctx.save_for_forward(*tensors, hidden)

    @staticmethod
    @each_of_batch
    def backward(ctx, grad):
        return gradients_of_sums(ctx, grad, products, sums)

    @staticmethod
    def vmap(info, in_dims, weights, values, at_values, at_rows, num_rows, hidden):
        weights, values = one_batch(info, in_dims, weights, values)
        hidden = hidden_in_batch(info, in_dims[-1], hidden, weights.size(1))
        return sums(weights, values, at_values, at_rows, num_rows, hidden).unflatten(1, (info.batch_size, -1)), 1

    @staticmethod
    def jvp(ctx, weights_tangent, values_tangent, *_):
        weights, values, *places, hidden = ctx.saved_tensors
        terms = []
        if weights_tangent is not None:
            terms.append(sums(weights_tangent, values, *places, ctx.num_rows, hidden))
        if values_tangent is not None:
            terms.append(sums(weights, values_tangent, *places, ctx.num_rows, hidden))
        return sum(terms)


def products(left: Tensor, right: Tensor, at_left: Tensor, at_right: Tensor, hidden: Tensor | None = None) -> Tensor:
    """The dot products of left[at_left] and right[at_right], head by head (a sampled dense-dense product).

    Args:
        left: [num_left, heads, dim].
        right: [num_right, kv_heads, dim], of the same dtype.
        at_left, at_right: int64 [num_edges].
        hidden: bool [num_edges, heads or 1], of edges whose product is 0 whatever their nodes hold.

    Returns:
        [num_edges, heads].

    >>> products(torch.tensor([[[1., 2.]]]), torch.tensor([[[3., 0.]], [[0., 4.]]]), torch.tensor([0, 0]), torch.tensor([1, 0]))
    tensor([[8.],
            [3.]])
    """
    if torch.compiler.is_compiling():
        # Compilers see through these: operators know no torch.func, and what is exported knows no operators of ours.
        if is_exporting() or torch._C._are_functorch_transforms_active():
            return products_of(left, right, at_left, at_right, hidden)
        return traced_products(left, right, at_left, at_right, hidden)
    return Products.apply(left, right, at_left, at_right, hidden)


def sums(
    weights: Tensor,
    values: Tensor,
    at_values: Tensor,
    at_rows: Tensor,
    num_rows: int,
    hidden: Tensor | None = None,
) -> Tensor:
    """For each row the sum of weights * values[at_values] over its edges (a sparse-dense product for each head).

    Args:
        weights: [num_edges, heads].
        values: [num_values, kv_heads, dim], of the same dtype.
        at_values, at_rows: int64 [num_edges].
        num_rows: Number of rows.
        hidden: bool [num_edges, heads or 1], of edges that add nothing whatever their values hold.

    Returns:
        [num_rows, heads, dim].

    >>> sums(torch.tensor([[2.], [3.]]), torch.tensor([[[1., 0.]], [[0., 1.]]]), torch.tensor([0, 1]), torch.tensor([1, 1]), 2)
    tensor([[[0., 0.]],
    <BLANKLINE>
            [[2., 3.]]])
    """
    if torch.compiler.is_compiling():
        if is_exporting() or torch._C._are_functorch_transforms_active():
            zeros = values.new_zeros(num_rows, weights.size(1), values.size(2))
            return zeros.index_add(0, at_rows, messages_of(weights, values, at_values, hidden))
        return traced_sums(weights, values, at_values, at_rows, num_rows, hidden)
    return Sums.apply(weights, values, at_values, at_rows, num_rows, hidden)


def gradients_of_products(ctx, grad: Tensor, sums: Callable[..., Tensor]) -> tuple:
    left, right, at_left, at_right, hidden = ctx.saved_tensors
    by_left = by_right = None
    if ctx.needs_input_grad[0]:
        by_left = sums(grad, right, at_right, at_left, left.size(0), hidden)
    if ctx.needs_input_grad[1]:
        by_right = sum_to_groups(sums(grad, left, at_left, at_right, right.size(0), hidden), right.size(1))
    return by_left, by_right, None, None, None


def gradients_of_sums(ctx, grad: Tensor, products: Callable[..., Tensor], sums: Callable[..., Tensor]) -> tuple:
    weights, values, at_values, at_rows, hidden = ctx.saved_tensors
    by_weights = by_values = None
    if ctx.needs_input_grad[0]:
        by_weights = products(grad, values, at_rows, at_values, hidden)
    if ctx.needs_input_grad[1]:
        by_values = sum_to_groups(sums(weights, grad, at_rows, at_values, values.size(0), hidden), values.size(1))
    return by_weights, by_values, None, None, None, None


def one_batch(info, in_dims: tuple, *tensors: Tensor) -> list[Tensor]:
    """Tensors [n, heads, ...] under torch.vmap as [n, batch * heads, ...]: over the same edges a batch is more heads."""
    if any(dim is not None for dim in in_dims[len(tensors) : -1]):
        raise ValueError(
            "torch.vmap takes one graph for the whole batch; lay examples with graphs of their own end to end"
        )
    batch = [
        x.unsqueeze(1).expand(-1, info.batch_size, *x.shape[1:]) if dim is None else x.movedim(dim, 1)
        for x, dim in zip(tensors, in_dims)
    ]
    return [x.flatten(1, 2) for x in batch]


def hidden_in_batch(info, in_dim: int | None, hidden: Tensor | None, heads: int) -> Tensor | None:
    """[num_edges, heads or 1] under torch.vmap as [num_edges, heads of the batch]."""
    if hidden is None:
        return None
    hidden = hidden[:, None] if in_dim is None else hidden.movedim(in_dim, 1)  # [num_edges, batch or 1, heads or 1]
    return hidden.expand(-1, info.batch_size, heads // info.batch_size).flatten(1)


def products_of(left: Tensor, right: Tensor, at_left: Tensor, at_right: Tensor, hidden: Tensor | None = None) -> Tensor:
    """`products` with all of [num_edges, heads, dim] at once."""
    ours = in_groups(left.index_select(0, at_left), right.size(1))
    theirs = right.index_select(0, at_right)[:, :, None]
    if hidden is not None:
        is_out = in_groups(hidden.expand(-1, left.size(1))[..., None], right.size(1))
        ours, theirs = (torch.where(is_out, 0.0, x) for x in (ours, theirs))
    return (ours * theirs).sum(-1).flatten(1)


def messages_of(weights: Tensor, values: Tensor, at_values: Tensor, hidden: Tensor | None = None) -> Tensor:
    """What `sums` adds up: [num_edges, heads, dim]."""
    heads, kv_heads = weights.size(1), values.size(1)
    weights = in_groups(weights[:, :, None], kv_heads)
    gathered = values.index_select(0, at_values)[:, :, None]
    if hidden is not None:
        is_out = in_groups(hidden.expand(-1, heads)[..., None], kv_heads)
        weights, gathered = (torch.where(is_out, 0.0, x) for x in (weights, gathered))
    return (weights * gathered).flatten(1, 2)


def in_groups(per_head: Tensor, kv_heads: int) -> Tensor:
    """[n, heads, dim] -> [n, kv_heads, heads / kv_heads, dim]: the heads that share a key head."""
    return per_head.unflatten(1, (kv_heads, -1))


@torch.library.custom_op("graphattn::products", mutates_args=())
def traced_products(
    left: Tensor, right: Tensor, at_left: Tensor, at_right: Tensor, hidden: Tensor | None = None
) -> Tensor:
    return Products.forward(left, right, at_left, at_right, hidden)


@traced_products.register_fake
def _(left, right, at_left, at_right, hidden=None):
    return left.new_empty(at_left.size(0), left.size(1))


@torch.library.custom_op("graphattn::sums", mutates_args=())
def traced_sums(
    weights: Tensor, values: Tensor, at_values: Tensor, at_rows: Tensor, num_rows: int, hidden: Tensor | None = None
) -> Tensor:
    return Sums.forward(weights, values, at_values, at_rows, num_rows, hidden)


@traced_sums.register_fake
def _(weights, values, at_values, at_rows, num_rows, hidden=None):
    return values.new_empty(num_rows, weights.size(1), values.size(2))


def keep_products(ctx, inputs, output):
    ctx.save_for_backward(*inputs)


def keep_sums(ctx, inputs, output):
    *tensors, ctx.num_rows, hidden = inputs
    ctx.save_for_backward(*tensors, hidden)


traced_products.register_autograd(partial(gradients_of_products, sums=traced_sums), setup_context=keep_products)
traced_sums.register_autograd(
    partial(gradients_of_sums, products=traced_products, sums=traced_sums), setup_context=keep_sums
)


def parts_of(num_edges: int, like: Tensor) -> Iterator[slice]:
    """Ranges of edges whose [edges, heads, dim] stay in the cache of a core; `like` is [nodes, heads, dim]."""
    step = max(CHUNK_ELEMENTS // max(like.size(1) * like.size(2), 1), 1)
    return (slice(start, min(start + step, num_edges)) for start in range(0, num_edges, step))
