"""Running a plan: cut into parts, each part on its kernel, merged, and differentiated."""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import nullcontext
from functools import partial
from math import isfinite
from typing import Any

import torch
from torch import Tensor

from graphattn.graphs import Graph
from graphattn.kernels.budget import within_budget
from graphattn.kernels.choose import OWN, select
from graphattn.kernels.finite import AreFinite, NotFinite
from graphattn.kernels.kernel import (
    Gradients,
    Inputs,
    Kernel,
    Needed,
    Partial,
    Plan,
    accumulation_dtype,
    count_edges,
    delta_of,
)
from graphattn.kernels.parts import (
    Merger,
    Part,
    add_gradients,
    disjoint_parts,
    first_gradients,
    split_of,
    take,
    take_partial,
)
from graphattn.kernels.plain.batched import each_of_batch
from graphattn.kernels.plain.differentiable import (
    attend_differentiably,
    have_tangents,
    is_differentiated_again,
    with_bias_of_edges,
)
from graphattn.running.generators import Generators
from graphattn.running.hidden import ShowHidden, results_of, run_what_is_left


def run(plan: Plan, inputs: Inputs, kernel: str | None) -> tuple[Tensor, Tensor | None]:
    """(out, edge_out), differentiable, in the dtype of the query."""
    return finish(plan, inputs, *run_shown(plan, inputs, kernel))


def run_shown(plan: Plan, inputs: Inputs, kernel: str | None, with_lse: bool = False) -> tuple[Any, ...]:
    """(out, edge_out), and the log-sum-exp if wanted, before `finish`; what a bias takes away shows nowhere, NaN neither."""
    if inputs.bias is None and inputs.bias_by_offset is None:
        return run_with_hidden(plan, inputs, kernel, with_lse)
    shows_hidden = ShowHidden(plan, inputs)
    results = run_with_hidden(plan, inputs, kernel, with_lse)
    if shows_hidden.answer():
        run_here = partial(run_with_hidden, kernel=kernel, with_lse=with_lse)
        results = run_what_is_left(run_here, plan, inputs, with_lse)
    return results


def run_with_hidden(plan: Plan, inputs: Inputs, kernel: str | None, with_lse: bool = False) -> tuple[Any, ...]:
    """The same where edges that a bias takes away count with the weight 0."""
    sink: Tensor | float | None = plan.normalizer.sink
    flat = flatten(inputs)
    if have_tangents((sink, *flat)) or torch._C._are_functorch_transforms_active():
        # Forward mode and torch.func: fused kernels know neither.
        return results_of(attend_differentiably(plan, inputs), with_lse)
    if inputs.bias_by_offset is not None:
        plan, inputs = with_bias_for_kernel(plan, inputs, kernel)
        flat = flatten(inputs)
    # A list is read in half the time of a generator.
    if torch.is_grad_enabled() and any([isinstance(x, Tensor) and x.requires_grad for x in (sink, *flat)]):
        return Attend.apply(plan, kernel, with_lse, sink, *flat)
    is_final = plan.normalizer.sink is None and not (plan.normalizer.scale_by_degree or with_lse)
    result, _ = compute(plan._replace(is_final=True) if is_final else plan, inputs, kernel)
    return results_of(result, with_lse)


def finish(plan: Plan, inputs: Inputs, out: Tensor, edge_out: Tensor | None) -> tuple[Tensor, Tensor | None]:
    """Divided by degrees, if the normalizer says so, and in the dtype of the query."""
    if plan.normalizer.scale_by_degree:
        degrees = plan.graph.degrees(out.device).clamp(min=1)[:, None, None]
        out, edge_out = out / degrees, None if edge_out is None else edge_out / degrees
    dtype = inputs.query.dtype
    out = out if out.dtype is dtype else out.to(dtype)  # a kernel may write one of them in it, and not the other
    return out, edge_out if edge_out is None or edge_out.dtype is dtype else edge_out.to(dtype)


def with_bias_for_kernel(plan: Plan, inputs: Inputs, kernel: str | None) -> tuple[Plan, Inputs]:
    """A bias by offset stays one where the kernel that runs takes it; elsewhere it becomes one for each edge."""
    if inputs.bias_by_offset is not None and select(plan, inputs, kernel).takes_bias_by_offset:
        return plan, inputs
    return with_bias_of_edges(plan, inputs)


def is_left_whole(plan: Plan, inputs: Inputs, kernel: str | None) -> bool:
    """Whether tensors per edge, dropout or a named kernel want the graph in one part."""
    per_edge = any(x is not None for x in (inputs.bias, inputs.bias_by_offset, inputs.edge_features))
    return per_edge or kernel is not None or plan.dropout > 0 or plan.normalizer.merge is None


def is_one_piece(plan: Plan, inputs: Inputs, kernel: str | None) -> bool:
    """Whether `pieces` would give the plan and its inputs as they are."""
    return plan.memory_budget is None and (split_of(type(plan.graph)) is None or is_left_whole(plan, inputs, kernel))


def pieces(plan: Plan, inputs: Inputs, kernel: str | None) -> Iterator[tuple[Part, Plan, Inputs]]:
    """The graph cut into disjoint parts, and these where a memory budget says so."""
    is_whole = is_left_whole(plan, inputs, kernel)
    for part in [Part(plan.graph)] if is_whole else disjoint_parts(plan.graph, inputs.query.device):
        part_plan = plan.over(part.graph)
        whole = (part, part_plan, take(inputs, part))
        if plan.memory_budget is None:
            yield whole
            continue
        run_by = select(*whole[1:], kernel)
        for piece in within_budget(part, run_by, whole[2], plan.memory_budget, keep_queries=plan.dropout > 0):
            yield whole if piece is part else (piece, plan.over(piece.graph), take(inputs, piece))


def compute(plan: Plan, inputs: Inputs, kernel: str | None) -> tuple[Partial, list[Kernel]]:
    """The merged result of all parts, and the kernel that ran each."""
    if is_one_piece(plan, inputs, kernel):
        run_by, result = run_part(plan, inputs, kernel)
        return with_sink(result, plan.normalizer.sink), [run_by]
    merger, chosen = Merger(plan.normalizer.merge, plan.graph.num_queries), []
    for part, part_plan, part_inputs in pieces(plan, inputs, kernel):
        run_by, result = run_part(part_plan, part_inputs, kernel)
        merger.add(result, part)
        chosen.append(run_by)
        del result  # before the next part makes its own
    assert merger.total is not None  # every graph has a part
    return with_sink(merger.total, plan.normalizer.sink), chosen


def run_part(plan: Plan, inputs: Inputs, kernel: str | None) -> tuple[Kernel, Partial]:
    """The kernel of a part and its result.

    Whether keys are finite, if the kernel must know, is read after it was started, so that a GPU does not stand still.
    """
    run_by = select(plan, inputs, kernel, is_finite=True)
    must_ask = run_by.spreads_nan(plan) and not run_by.finds_nan
    are_finite = AreFinite(inputs.key, inputs.value) if must_ask else None
    try:
        result = run_by.forward(plan, inputs)
        if run_by not in OWN:
            check_result(run_by, inputs, result)
        if are_finite is None or are_finite.answer():
            return run_by, result
    except NotFinite:
        pass
    run_by = select(plan, inputs, kernel, is_finite=False)
    return run_by, run_by.forward(plan, inputs)


def check_result(kernel: Kernel, inputs: Inputs, result: Partial) -> None:
    """Raises ValueError where a kernel from outside gives back other shapes than it was asked for."""
    rows = inputs.query.shape[:2]
    wanted: dict[str, tuple[int, ...]] = {"out": (*rows, inputs.value.size(2)), "lse": tuple(rows)}
    if inputs.edge_features is not None:
        wanted["edge_out"] = (*rows, inputs.edge_features.size(-1))
    for name, shape in wanted.items():
        found = getattr(result, name, None)
        if not isinstance(found, Tensor) or found.shape != shape:
            got = list(found.shape) if isinstance(found, Tensor) else found
            raise ValueError(f"'forward' of kernel {kernel.name!r} must give '{name}' {list(shape)} (got {got})")


def with_sink(merged: Partial, sink: Tensor | float | None) -> Partial:
    """The result over all edges and a key of value 0 whose score is `sink`: it enters here, once, whatever the parts."""
    if sink is None:
        return merged
    lse = add_sink(merged.lse, sink)
    share = (merged.lse - torch.as_tensor(sink, dtype=lse.dtype, device=lse.device)).sigmoid()[..., None]
    return Partial(share * merged.out, lse, None if merged.edge_out is None else share * merged.edge_out)


def add_sink(lse: Tensor, sink: Tensor | float) -> Tensor:
    """The log-sum-exp [num_queries, heads] with one more score, [heads] or a number."""
    sink = torch.as_tensor(sink, dtype=lse.dtype, device=lse.device).expand_as(lse)
    top = torch.maximum(lse, sink).detach()  # torch.logaddexp has no second derivative at -inf
    return top + ((lse - top).exp() + (sink - top).exp()).log()


class Attend(torch.autograd.Function):
    """Parts run on their kernels forward and backward; nothing is kept but inputs, result and log-sum-exp."""

    @staticmethod
    def forward(ctx, plan, kernel, with_lse, sink, *flat):
        generators = Generators.of(plan.score, flat[0].device)
        merged, chosen = compute(plan, unflatten(flat), kernel)
        ctx.plan, ctx.kernel, ctx.chosen = plan, kernel, chosen
        ctx.generators = generators if generators is not None and generators.have_moved() else None
        # The seed too: a checkpoint may draw another one when it runs this again.
        ctx.save_for_backward(*flat, *merged, plan.seed, sink if isinstance(sink, Tensor) else None)
        if plan.normalizer.scale_by_degree:
            return results_of(merged, with_lse)
        # In the dtype of the query already here, so that gradients come back in it.
        out, lse, edge_out = merged
        dtype = flat[0].dtype
        out = out if out.dtype is dtype else out.to(dtype)
        edge_out = edge_out if edge_out is None or edge_out.dtype is dtype else edge_out.to(dtype)
        return results_of(Partial(out, lse.clone() if with_lse else lse, edge_out), with_lse)

    @staticmethod
    @each_of_batch
    def backward(ctx, grad_out, grad_edge_out, grad_lse=None):
        *saved, seed, sink = ctx.saved_tensors
        inputs, merged, grad = unflatten(saved[:-3]), Partial(*saved[-3:]), Partial.gradient(grad_out, grad_edge_out)
        if grad_lse is not None:
            grad = grad._replace(lse=grad_lse.masked_fill(merged.lse == -torch.inf, 0.0))
        plan = ctx.plan._replace(seed=seed)
        plan = plan if sink is None else plan._replace(normalizer=plan.normalizer.of_sink(lambda _: sink))
        is_again = is_differentiated_again(grad_out, grad_edge_out, grad_lse)
        if is_again or ctx.generators is not None or has_lost_weights(plan, merged.lse):
            again = nullcontext() if ctx.generators is None else ctx.generators.restored()
            with again, torch.enable_grad():
                found = differentiable_gradients(plan, inputs, grad, ctx.needs_input_grad[3:], is_again)
            return None, None, None, *found
        plan = plan._replace(needed=needed_of(ctx.needs_input_grad[4:]))
        if grad_lse is None:
            gradients, by_sink = kernel_gradients(plan, ctx.kernel, ctx.chosen, inputs, merged, grad)
        else:
            gradients, by_sink = gradients_with_lse(plan, ctx.kernel, inputs, merged, grad)
        return None, None, None, *cast_like((by_sink, *flatten(gradients)), (sink, *flatten(inputs)))


# Kernels make weights again as exp(score - lse), where a large lse has lost digits: by this much, weights are too far off.
MOST_LOST = 1e-3
# Numbers of edges and heads up to which all of them are laid out then; it takes a few times as much memory.
MOST_AGAIN = 2**25


def has_lost_weights(plan: Plan, lse: Tensor) -> bool:
    """Whether weights cannot be made from the log-sum-exp and all edges can be laid out instead; a GPU is not asked."""
    return plan.normalizer.merge == "lse" and lse.device.type == "cpu" and are_lost(plan.graph, lse)


def are_lost(graph: Graph, lse: Tensor) -> bool:
    """The same of softmax on the CPU."""
    return has_lost_digits(lse) and count_edges(graph) * lse.size(1) <= MOST_AGAIN


def has_lost_digits(lse: Tensor) -> bool:
    """Whether a log-sum-exp is too large to tell scores near it apart, as behind a mask of -1e9 over whole rows."""
    if not lse.numel():
        return False
    most = MOST_LOST / torch.finfo(lse.dtype).eps
    low, high = lse.aminmax()
    if -most <= low.item() and high.item() <= most:  # mostly: one pass tells
        return False
    largest = lse.masked_fill(lse == -torch.inf, 0.0).abs().max().item()
    return largest > most and isfinite(largest)


def unflatten(flat: Sequence[Any]) -> Inputs:
    query, key, value, bias, edge_features, edge_query, by_offset, *parameters = flat
    return Inputs(query, key, value, bias, edge_features, edge_query, tuple(parameters), by_offset)


def flatten(inputs: Inputs | Gradients) -> tuple[Tensor | None, ...]:
    return (*inputs[:6], inputs.bias_by_offset, *inputs.parameters)


def needed_of(flat: Sequence[bool]) -> Needed:
    """Of which of the tensors of `flatten` the gradient is asked for."""
    query, key, value, bias, edge_features, edge_query, by_offset, *parameters = flat
    return Needed(query, key, value, bias, edge_features, edge_query, tuple(parameters), by_offset)


def cast_like(gradients: Iterable[Tensor | None], inputs: Iterable[Tensor | None]) -> list[Tensor | None]:
    pairs = zip(gradients, inputs, strict=True)
    return [None if g is None or x is None else cast(g, x) for g, x in pairs]


def cast(gradient: Tensor, x: Tensor) -> Tensor:
    """In the shape and dtype of the tensor that it is of."""
    gradient = gradient if gradient.shape == x.shape else gradient.sum_to_size(x.shape)
    return gradient if gradient.dtype is x.dtype else gradient.to(x.dtype)


def kernel_gradients(
    plan: Plan, kernel: str | None, chosen: list[Kernel], inputs: Inputs, merged: Partial, grad: Partial
) -> tuple[Inputs | Gradients, Tensor | None]:
    """Each part's gradients from the merged result, added up at its rows, and the gradient of the sink."""
    if is_one_piece(plan, inputs, kernel):
        return chosen[0].backward(plan, inputs, merged, grad), sink_gradient(plan.normalizer.sink, merged, grad)
    total: Inputs | Gradients | None = None
    for (part, part_plan, part_inputs), run_by in zip(pieces(plan, inputs, kernel), chosen, strict=True):
        gradients = run_by.backward(part_plan, part_inputs, take_partial(merged, part), take_partial(grad, part))
        if total is None:
            total = first_gradients(inputs, gradients, part)
        else:
            add_gradients(total, gradients, part)
        del gradients  # before the next part makes its own
    assert total is not None  # every graph has a part
    return total, sink_gradient(plan.normalizer.sink, merged, grad)


def gradients_with_lse(plan: Plan, kernel: str | None, inputs: Inputs, merged: Partial, grad: Partial):
    """`kernel_gradients` where the log-sum-exp has a gradient too."""
    plan = plan._replace(memory=None, value_is_key=False)  # values are others now
    wide = inputs._replace(value=torch.nn.functional.pad(inputs.value, (0, 1)))
    kernel, chosen = kernels_of(plan, wide, kernel)
    gradients, by_sink = kernel_gradients(plan, kernel, chosen, wide, *lse_as_channel(merged, grad))
    if gradients.value is not None:
        gradients = gradients._replace(value=gradients.value[..., :-1])
    return gradients, by_sink


def lse_as_channel(merged: Partial, grad: Partial) -> tuple[Partial, Partial]:
    """A result and its gradient that say of one more channel of values what the gradient says of the log-sum-exp.

    The derivative of lse by a score is its weight w, that of out is w (value - out): a gradient of lse is taken from delta. So
    that no kernel need know of it, values get one more channel of 0, whose result is said to be -grad_lse and its gradient 1.
    """
    dtype = accumulation_dtype(merged.out.dtype)
    wide_merged = merged._replace(out=torch.cat([merged.out.to(dtype), -grad.lse.to(dtype)[..., None]], -1))
    return wide_merged, Partial.gradient(torch.nn.functional.pad(grad.out.to(dtype), (0, 1), value=1.0), grad.edge_out)


def kernels_of(plan: Plan, inputs: Inputs, kernel: str | None) -> tuple[str | None, list[Kernel]]:
    """Those of the pieces; any that run where the named one cannot, as it has no values of more channels than keys."""
    try:
        return kernel, [select(*piece[1:], kernel) for piece in pieces(plan, inputs, kernel)]
    except ValueError:
        if kernel is None:
            raise
        return kernels_of(plan, inputs, None)


def sink_gradient(sink: Tensor | float | None, merged: Partial, grad: Partial) -> Tensor | None:
    """[heads]: the sink has value 0, so that its score loses weight * delta in every row."""
    if not isinstance(sink, Tensor):
        return None
    return -((sink.to(merged.lse.dtype) - merged.lse).exp() * delta_of(merged, grad)).sum(0)


def differentiable_gradients(
    plan: Plan, inputs: Inputs, grad: Partial, needed: tuple[bool, ...], create_graph: bool = True
) -> list[Tensor | None]:
    """Gradients that can be differentiated again (create_graph=True): autograd over plain torch operations."""
    # Aliases, so that a gradient stops at its own input: one may be made of another (edge_query of query, or both be one tensor).
    given: list[Any] = [plan.normalizer.sink, *flatten(inputs)]
    if create_graph:
        given = [x.view_as(x) if isinstance(x, Tensor) else x for x in given]
    else:
        given = [x.detach().requires_grad_() if isinstance(x, Tensor) else x for x in given]
    sink, *flat = given
    inputs, plan = unflatten(flat), plan._replace(normalizer=plan.normalizer.of_sink(lambda _: sink))
    result = attend_differentiably(plan, inputs)
    both = (result.out, grad.out), (result.edge_out, grad.edge_out), (result.lse, grad.lse)
    # Nobody may want the edges' sum, or the lse; and without edges, or of inputs without gradients, they are constants.
    pairs = [(o, g) for o, g in both if o is not None and g is not None and o.requires_grad]
    if not pairs:
        return [None] * len(needed)
    outputs, cotangents = zip(*pairs, strict=True)
    wanted = [x for x, is_needed in zip(given, needed, strict=True) if is_needed]
    found = iter(torch.autograd.grad(outputs, wanted, cotangents, create_graph=create_graph, allow_unused=True))
    return [next(found) if is_needed else None for is_needed in needed]
