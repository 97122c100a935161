"""Attention over parts whose keys come from other processes: one part is computed while the keys of the next are under way."""

from collections.abc import Iterator, Sequence
from contextlib import nullcontext
from dataclasses import replace
from typing import Any, NamedTuple

import torch
from torch import Tensor

from graphattn.distributed.exchange import Halo, Pending, add_at, give_back
from graphattn.distributed.parts import Part, fetches
from graphattn.formulas.normalizers import Normalizer
from graphattn.formulas.offsets import table_of
from graphattn.kernels.kernel import Gradients, Inputs, Kernel, Partial, Plan, accumulation_dtype, delta_of
from graphattn.kernels.parts import Merger, at_rows, take_partial
from graphattn.kernels.parts import Part as KernelPart
from graphattn.running.arguments import bias_of, nodes_of, normal_form
from graphattn.running.execution import (
    cast,
    compute,
    flatten,
    gradients_with_lse,
    kernel_gradients,
    lse_as_channel,
    run_shown,
    sink_gradient,
    with_bias_for_kernel,
    with_sink,
)
from graphattn.running.generators import Generators
from graphattn.running.hidden import ShowHidden


class Call(NamedTuple):
    """One call of `attend` over parts."""

    parts: Sequence[Part]
    plan: Plan  # without a graph of its own
    kernel: str | None
    kinds: tuple[str | None, ...]  # of the bias of each part: 'offset', 'edge' or None
    num_queries: int

    def plan_of(self, number: int) -> Plan:
        graph = self.parts[number].graph
        nodes = nodes_of(graph) if self.plan.dropout else None
        return self.plan._replace(graph=normal_form(graph), nodes=nodes)


class Ran(NamedTuple):
    """How a part was computed, so that its gradients are those of the same."""

    kernels: list[Kernel] | None  # None where NaN behind a bias of -inf had to be left out
    generators: Generators | None  # before, where the score has drawn from them


class Own(NamedTuple):
    """The tensors of the own rows."""

    query: Tensor
    key: Tensor
    value: Tensor
    bias: Tensor | None  # [own edges, heads or 1]
    edge_features: Tensor | None
    edge_query: Tensor | None


def attend_parts(
    parts: Sequence[Part], plan: Plan, inputs: Inputs, rule: Any, kernel: str | None, batch: int
) -> Partial:
    """The merged result of parts, differentiable once.

    Args:
        parts: Those of this process.
        plan, inputs: Of the own rows; a bias in `inputs` is one of own edges.
        rule: A bias by rule, None without.
        kernel: Name of the kernel.
        batch: How many examples are folded into the heads, which share a bias.
    """
    heads = inputs.query.size(1) // batch
    biases, kinds = [], []
    for part in parts:
        bias, kind = bias_of_part(rule, part, heads, inputs.query.device)
        biases.append(bias.repeat(1, batch) if bias is not None and batch > 1 and bias.size(1) > 1 else bias)
        kinds.append(kind)
    sink = plan.normalizer.sink
    call = Call(
        parts,
        # Keys and values are two tensors where they have come from other processes, whatever they were there.
        plan.apart()._replace(normalizer=without_sink(plan.normalizer), memory=None),
        kernel,
        tuple(kinds),
        len(inputs.query),
    )
    flat = (*inputs[:6], *inputs.parameters, *biases)
    return Partial(*AttendParts.apply(call, len(inputs.parameters), sink, *flat))


def bias_of_part(rule: Any, part: Part, heads: int, device: torch.device) -> tuple[Tensor | None, str | None]:
    """What a rule says of the edges of a part: a row for each offset where it can, else one for each edge."""
    if rule is None:
        return None, None
    table = table_of(rule, normal_form(part.graph), part.graph, heads, device)
    if table is not None:
        return table, "offset"
    bias = bias_of(rule, part.graph)
    assert isinstance(bias, Tensor)  # a rule is asked here, never a missing bias
    return (bias[:, None] if bias.dim() == 1 else bias), "edge"


def without_sink(normalizer: Any) -> Normalizer:
    return normalizer if normalizer.sink is None else replace(normalizer, sink=None)


def steps(call: Call, own: Own) -> Iterator[tuple[list[int], Tensor, Tensor]]:
    """Numbers of parts, their keys and values; those of the next are already under way while one is used."""

    def ask(numbers: list[int]) -> list[Pending]:
        halo = call.parts[numbers[0]].halo
        return [Pending(x.flatten(1), halo) for x in (own.key, own.value)]

    groups = fetches(call.parts)
    pending = ask(groups[0])
    for place, numbers in enumerate(groups):
        key, value = (each.wait() for each in pending)
        pending = []
        if place + 1 < len(groups):
            pending = ask(groups[place + 1])
        yield numbers, key.unflatten(1, own.key.shape[1:]), value.unflatten(1, own.value.shape[1:])
        del key, value  # before those after the next are asked for


def problem_of(call: Call, number: int, own: Own, key: Tensor, value: Tensor, parameters, bias) -> tuple[Plan, Inputs]:
    part, kind = call.parts[number], call.kinds[number]

    def at_edges(x: Tensor | None) -> Tensor | None:
        return None if x is None or part.edges is None else x[part.edges]

    key, value = at_rows(key, part.keys), at_rows(value, part.keys)
    of_edges = bias if kind == "edge" else None if own.bias is None else at_edges(own.bias)
    inputs = Inputs(
        at_rows(own.query, part.rows), key, value, of_edges, at_edges(own.edge_features),
        at_rows(own.edge_query, part.rows), parameters, bias if kind == "offset" else None,
    )  # fmt: skip
    return call.plan_of(number), inputs


class AttendParts(torch.autograd.Function):
    """Nothing is kept but own rows, results and log-sum-exp: keys are fetched again on the way back."""

    @staticmethod
    def forward(ctx, call, num_parameters, sink, *flat):
        own, parameters, biases = split(flat, num_parameters)
        merger, ran = Merger(call.plan.normalizer.merge, call.num_queries), []
        for numbers, key, value in steps(call, own):
            for number in numbers:
                given = problem_of(call, number, own, key, value, parameters, biases[number])
                result, how = result_of_part(call, *given)
                ran.append(how)
                merger.add(result, kernel_part(call.parts[number]))
                del given, result
            del key, value
        merged = with_sink(merger.total, sink)
        ctx.call, ctx.num_parameters, ctx.ran = call, num_parameters, ran
        ctx.save_for_backward(*flat, *merged, sink if isinstance(sink, Tensor) else None)
        dtype = flat[0].dtype
        out, lse, edge_out = merged
        ctx.set_materialize_grads(False)  # mostly nobody wants the lse
        return out.to(dtype), lse.clone(), None if edge_out is None else edge_out.to(dtype)

    @staticmethod
    def backward(ctx, grad_out, grad_lse, grad_edge_out):
        if torch.is_grad_enabled():
            raise RuntimeError(
                "rings, rounds and unions in parts are differentiable once, as their keys are gone when the second derivative would"
                " need them; take shard(graph, strategy='halo')"
            )
        *flat, out, lse, edge_out, sink = ctx.saved_tensors
        call, (own, parameters, biases) = ctx.call, split(flat, ctx.num_parameters)
        grad_out = torch.zeros_like(out) if grad_out is None else grad_out
        merged, grad = Partial(out, lse, edge_out), Partial.gradient(grad_out, grad_edge_out)
        if grad_lse is not None:
            grad = grad._replace(lse=grad_lse.masked_fill(lse == -torch.inf, 0.0))
        total = Total(own, parameters)
        of_biases: list[Tensor | None] = []
        for numbers, key, value in steps(call, own):
            of_keys = []
            for number in numbers:
                given = problem_of(call, number, own, key, value, parameters, biases[number])
                here = kernel_part(call.parts[number])
                results = take_partial(merged, here), take_partial(grad, here)
                found, of_bias = gradients_of_part(call, ctx.ran[number], given, *results)
                of_biases.append(of_bias)
                total.add(call.parts[number], found, None if call.kinds[number] == "edge" else of_bias)
                of_keys.append((call.parts[number].keys, found.key, found.value))
                del given, found
            total.add_keys(call.parts[numbers[0]].halo, len(key), of_keys)
            del key, value, of_keys
        by_sink = sink_gradient(sink, *((merged, grad) if grad_lse is None else lse_as_channel(merged, grad)))
        found = [*total.gradients(), *of_biases]
        cast_back = [None if g is None or x is None else cast(g, x) for g, x in zip(found, flat)]
        return None, None, None if by_sink is None else cast(by_sink, sink), *cast_back


def result_of_part(call: Call, plan: Plan, inputs: Inputs) -> tuple[Partial, Ran]:
    has_bias = inputs.bias is not None or inputs.bias_by_offset is not None
    shows_hidden = ShowHidden(plan, inputs) if has_bias else None
    generators = Generators.of(plan.score, inputs.query.device)
    result, kernels = compute(*with_bias_for_kernel(plan, inputs, call.kernel), call.kernel)
    if generators is not None and not generators.have_moved():
        generators = None
    if shows_hidden is None or not shows_hidden.answer():
        return result, Ran(kernels, generators)
    with nullcontext() if generators is None else generators.restored():
        out, edge_out, lse = run_shown(plan, inputs, call.kernel, with_lse=True)
    return Partial(out, lse, edge_out), Ran(None, generators)


def gradients_of_part(
    call: Call, ran: Ran, given: tuple[Plan, Inputs], merged: Partial, grad: Partial
) -> tuple[Inputs | Gradients, Tensor | None]:
    """Gradients of the inputs of a part, and that of its bias in the form in which it was given."""
    plan, inputs = given
    if ran.kernels is None or ran.generators is not None:
        return gradients_of_shown(call, ran.generators, plan, inputs, merged, grad)
    with torch.enable_grad():
        table = inputs.bias_by_offset
        leaf = None if table is None else table.detach().requires_grad_()
        plan, wide = with_bias_for_kernel(plan, inputs._replace(bias_by_offset=leaf), call.kernel)
    bias = wide.bias
    wide = wide.each(torch.Tensor.detach)
    if grad.lse is None:
        found, _ = kernel_gradients(plan, call.kernel, ran.kernels, wide, merged, grad)
    else:
        found, _ = gradients_with_lse(plan, call.kernel, wide, merged, grad)
    if leaf is None:
        return found, found.bias
    if bias is None or found.bias is None:
        return found, found.bias_by_offset
    (of_table,) = torch.autograd.grad(bias, leaf, found.bias.to(bias.dtype))
    return found, of_table


def gradients_of_shown(
    call: Call, generators: Generators | None, plan: Plan, inputs: Inputs, merged: Partial, grad: Partial
) -> tuple[Gradients, Tensor | None]:
    """The same by autograd, which knows what was left out, and what the score has drawn."""
    leaves = inputs.each(lambda x: x.detach().requires_grad_())
    with nullcontext() if generators is None else generators.restored(), torch.enable_grad():
        out, edge_out, lse = run_shown(plan, leaves, call.kernel, with_lse=True)
    results, cotangents = [out, edge_out], [grad.out, grad.edge_out]
    if plan.normalizer.merge == "lse":
        # out = sum of share * out of the part, with share = exp(lse of the part - lse).
        share = (lse.detach() - merged.lse.masked_fill(merged.lse == -torch.inf, 0.0)).exp()
        part = Partial(out.detach(), lse.detach(), None if edge_out is None else edge_out.detach())
        of_lse = share * (delta_of(part, grad) - delta_of(merged, grad) + (0.0 if grad.lse is None else grad.lse))
        results, cotangents = [*results, lse], [g if g is None else share[..., None] * g for g in cotangents] + [of_lse]
    pairs = [(x, g.to(x.dtype)) for x, g in zip(results, cotangents) if x is not None and g is not None]
    flat = [x for x in flatten(leaves) if x is not None]
    outputs, gradients_of_outputs = zip(*pairs)
    found = iter(torch.autograd.grad(outputs, flat, gradients_of_outputs, allow_unused=True))
    *six, by_offset = [None if x is None else zeros_if_none(next(found), x) for x in flatten(leaves)[:7]]
    gradients = Gradients.of(six, tuple(found))._replace(bias_by_offset=by_offset)
    return gradients, gradients.bias if by_offset is None else by_offset


def zeros_if_none(gradient: Tensor | None, x: Tensor) -> Tensor:
    return torch.zeros_like(x) if gradient is None else gradient


def kernel_part(part: Part) -> KernelPart:
    """Where the results of a part lie among those of the own rows."""
    rows: Any = part.rows  # a range does as indices do
    return KernelPart(part.graph, query_rows=rows, edges=slice(0))


def split(flat: Sequence[Any], num_parameters: int) -> tuple[Own, tuple[Tensor, ...], Sequence[Tensor | None]]:
    return Own(*flat[:6]), tuple(flat[6 : 6 + num_parameters]), flat[6 + num_parameters :]


class Total:
    """Gradients of the own rows, added up part by part in the precision of sums."""

    def __init__(self, own: Own, parameters: Sequence[Tensor]):
        dtype = accumulation_dtype(own.query.dtype)
        self.own = [None if x is None else torch.zeros_like(x, dtype=dtype) for x in own]
        self.parameters = [torch.zeros_like(x, dtype=dtype) for x in parameters]
        self.dtype = dtype

    def add(self, part: Part, found: Any, of_edges: Tensor | None) -> None:
        """Those of one part but for its keys."""
        query, _, _, bias, features, edge_query = self.own
        rows = slice(None) if part.rows is None else part.rows
        for total, gradient in ((query, found.query), (edge_query, found.edge_query)):
            if total is not None and gradient is not None:
                total[rows] += gradient
        for total, gradient in ((bias, of_edges), (features, found.edge_features)):
            if total is not None and gradient is not None and part.edges is not None:
                add_at(total, part.edges, gradient.to(self.dtype))
        for total, gradient in zip(self.parameters, found.parameters):
            if gradient is not None:
                total += gradient

    def add_keys(self, halo: Halo, count: int, found: list[tuple[slice | None, Tensor, Tensor]]) -> None:
        """Those of the keys and values of the parts that share a halo; they go back to the owners."""
        _, key, value, *_ = self.own
        assert key is not None and value is not None
        width = key.shape[1:].numel()
        packed = None
        for rows, of_key, of_value in found:
            both = torch.cat([x.to(self.dtype).flatten(1) for x in (of_key, of_value)], 1)
            if rows is None:
                packed = both
            else:
                packed = both.new_zeros(count, both.size(1)) if packed is None else packed
                packed[rows] += both
        assert packed is not None  # each fetch is of a part
        returned = give_back(packed, halo, len(key))
        key += returned[:, :width].view_as(key)
        value += returned[:, width:].view_as(value)

    def gradients(self) -> list[Tensor | None]:
        return [*self.own, *self.parameters]
