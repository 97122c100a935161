"""Results with the log-sum-exp of their scores, and the merge of such results over disjoint edges of the same queries."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from graphattn.formulas.normalizers import Normalizer
from graphattn.kernels.choose import select
from graphattn.kernels.kernel import Inputs, Kernel, Partial, Plan, accumulation_dtype
from graphattn.kernels.plain.differentiable import attend_differentiably, have_tangents, hidden_by_bias
from graphattn.running.execution import (
    cast_like,
    compute,
    differentiable_gradients,
    flatten,
    has_lost_weights,
    kernel_gradients,
    needed_of,
    pieces,
    unflatten,
    with_bias_for_kernel,
)
from graphattn.running.generators import Generators
from graphattn.running.hidden import ShowHidden, bias_that_hides, stays_whole, what_is_left, with_bias_of_edges


def check_has_lse(normalizer: Normalizer) -> None:
    """ValueError unless the sum of the exponentials of its scores is what a row is divided by."""
    if normalizer.merge == "lse":
        return
    advice = (
        "its results over disjoint edges add up: sum them"
        if normalizer.merge == "sum"
        else "its weights depend on all edges of a row together, so that results over some of them do not merge"
    )
    raise ValueError(f"'return_lse' needs the softmax (got normalizer {normalizer.name!r}); {advice}")


def run_with_lse(plan: Plan, inputs: Inputs, kernel: str | None) -> Partial:
    """`execution.run` with the log-sum-exp [num_queries, heads], in the dtype of sums; all three differentiable."""
    check_has_lse(plan.normalizer)
    shows_hidden = ShowHidden(plan, inputs)
    result = run_plainly(plan, inputs, kernel)
    if shows_hidden.answer():
        result = run_visible(plan, inputs, kernel)
    dtype = inputs.query.dtype
    edge_out = None if result.edge_out is None or not plan.has_edge_sum else result.edge_out.to(dtype)
    return Partial(result.out.to(dtype), result.lse, edge_out)


def run_plainly(plan: Plan, inputs: Inputs, kernel: str | None) -> Partial:
    sink: Tensor | float | None = plan.normalizer.sink
    flat = flatten(inputs)
    if have_tangents((sink, *flat)) or torch._C._are_functorch_transforms_active():
        return attend_differentiably(plan, inputs)
    if inputs.bias_by_offset is not None:
        plan, inputs = with_bias_for_kernel(plan, inputs, kernel)
        flat = flatten(inputs)
    if torch.is_grad_enabled() and any(isinstance(x, Tensor) and x.requires_grad for x in (sink, *flat)):
        return Partial(*AttendWithLse.apply(plan, kernel, sink, *flat))
    return compute(plan, inputs, kernel)[0]


def run_visible(plan: Plan, inputs: Inputs, kernel: str | None) -> Partial:
    """Without the edges that a bias of -inf takes away, whose keys hold NaN (see hidden.py)."""
    plan, inputs = with_bias_of_edges(plan, inputs)
    if stays_whole(plan, inputs):
        return attend_differentiably(plan, inputs, hidden_by_bias(bias_that_hides(inputs)))
    parts = list(what_is_left(plan, inputs))
    results = [run_plainly(left.plan, left.inputs, kernel) for left in parts]
    back = torch.cat([left.heads for left in parts]).argsort()

    def joined(found: Sequence[Any]) -> Any:
        return None if found[0] is None else torch.cat(list(found), 1)[:, back]

    return Partial(*map(joined, zip(*results)))


class AttendWithLse(torch.autograd.Function):
    """`execution.Attend`, whose third result is the log-sum-exp.

    The derivative of lse by a score is its weight w, that of out is w (value - out): a gradient of lse is taken from delta. So that
    no kernel need know of it, values get one more channel of 0, whose result is said to be -grad_lse and its gradient 1.
    """

    @staticmethod
    def forward(ctx, plan, kernel, sink, *flat):
        generators = Generators.of(plan.score, flat[0].device)
        merged, _ = compute(plan, unflatten(flat), kernel)
        ctx.plan, ctx.kernel = plan, kernel
        ctx.generators = generators if generators is not None and generators.have_moved() else None
        ctx.save_for_backward(*flat, *merged, sink if isinstance(sink, Tensor) else None)
        dtype = flat[0].dtype
        out, lse, edge_out = merged
        return out.to(dtype), lse.clone(), None if edge_out is None else edge_out.to(dtype)

    @staticmethod
    def backward(ctx, grad_out, grad_lse, grad_edge_out):
        *saved, sink = ctx.saved_tensors
        inputs, merged = unflatten(saved[:-3]), Partial(*saved[-3:])
        plan = ctx.plan if sink is None else ctx.plan._replace(normalizer=ctx.plan.normalizer.of_sink(lambda _: sink))
        grad = Partial(grad_out, grad_lse.masked_fill(merged.lse == -torch.inf, 0.0), grad_edge_out)
        is_again = torch.is_grad_enabled()
        if is_again or ctx.generators is not None or has_lost_weights(plan, merged.lse):
            with torch.enable_grad():
                found = differentiable_gradients(plan, inputs, grad, ctx.needs_input_grad[2:], is_again)
            return None, None, *found
        plan = plan._replace(needed=needed_of(ctx.needs_input_grad[3:]), is_final=False, memory=None)
        gradients, by_sink = gradients_with_lse(plan, ctx.kernel, inputs, merged, grad)
        return None, None, *cast_like((by_sink, *flatten(gradients)), (sink, *flatten(inputs)))


def gradients_with_lse(plan: Plan, kernel: str | None, inputs: Inputs, merged: Partial, grad: Partial):
    """`kernel_gradients` where the log-sum-exp has a gradient too."""
    dtype = accumulation_dtype(inputs.query.dtype)
    plan = plan._replace(value_is_key=False)  # values have one more channel now
    wide = inputs._replace(value=torch.nn.functional.pad(inputs.value, (0, 1)))
    wide_merged = merged._replace(out=torch.cat([merged.out.to(dtype), -grad.lse.to(dtype)[..., None]], -1))
    wide_grad = Partial.gradient(torch.nn.functional.pad(grad.out.to(dtype), (0, 1), value=1.0), grad.edge_out)
    kernel, chosen = kernels_of(plan, wide, kernel)
    gradients, by_sink = kernel_gradients(plan, kernel, chosen, wide, wide_merged, wide_grad)
    if gradients.value is not None:
        gradients = gradients._replace(value=gradients.value[..., :-1])
    return gradients, by_sink


def kernels_of(plan: Plan, inputs: Inputs, kernel: str | None) -> tuple[str | None, list[Kernel]]:
    """Those of the pieces; any that run where the named one cannot, as it has no values of more channels than keys."""
    try:
        return kernel, [select(*piece[1:], kernel)[0] for piece in pieces(plan, inputs, kernel)]
    except ValueError:
        if kernel is None:
            raise
        return kernels_of(plan, inputs, None)


def merge_attention(results: Sequence[tuple[Tensor, ...]]) -> tuple[Tensor, ...]:
    """One softmax from several over disjoint edges of the same queries, as `attend(..., return_lse=True)` gives them.

    out = sum over results of exp(lse_r - lse) out_r with lse = log(sum of exp(lse_r)) (Milakov and Gimelshein 2018), whatever
    the graphs were: parts of a graph, chunks of its keys, shares of other machines. Differentiable; a query without edges in all
    results has out 0 and lse -inf. A sink counts as one more key of the result it was given to: give it to one of them.

    Args:
        results: Each (out [num_queries, heads, dim], lse [num_queries, heads]), or (out, edge_out, lse).

    Returns:
        The same of all edges together.

    Raises:
        ValueError: if there is none, or they differ in shape.

    Example:
        >>> import torch
        >>> from graphattn import attend, causal, merge_attention
        >>> q, k, v = torch.randn(3, 4, 2, 8).unbind()
        >>> whole = attend(q, k, v, causal(4))
        >>> parts = [attend(q, k, v, part, return_lse=True) for part in (causal(4) & ~causal(4).T, causal(4) & causal(4).T)]
        >>> torch.allclose(merge_attention(parts)[0], whole, atol=1e-6)
        True
    """
    results = [tuple(result) for result in results]
    shapes = [[list(x.shape) if isinstance(x, Tensor) else type(x).__name__ for x in result] for result in results]
    if not results or any(shape != shapes[0] for shape in shapes) or len(results[0]) not in (2, 3):
        raise ValueError(
            f"'results' are pairs (out, lse) or triples (out, edge_out, lse) of equal shapes (got {shapes})"
        )
    outs, lses = [result[:-1] for result in results], torch.stack([result[-1] for result in results])
    if any(out.shape[:-1] != lses.shape[1:] for out in outs[0]):
        raise ValueError(f"'lse' must be [num_queries, heads] beside out [num_queries, heads, dim] (got {shapes[0]})")
    top = lses.detach().amax(0)
    top = top.masked_fill(top == -torch.inf, 0.0)
    exponentials = (lses - top).exp()
    total = exponentials.sum(0)
    is_empty = total == 0
    total = total.masked_fill(is_empty, 1.0)
    lse = (top + total.log()).masked_fill(is_empty, -torch.inf)
    shares = (exponentials / total)[..., None]
    merged = [sum(share * out for share, out in zip(shares, found)).to(found[0].dtype) for found in zip(*outs)]
    return (*merged, lse)
