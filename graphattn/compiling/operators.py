"""`attend` as an operator of torch: the one node that torch.compile and torch.export see of everything below it.

What is traced around it is plain tensor algebra. The graph is opened, checked and run when the compiled code runs, by the same
kernels and with the same numbers as without a compiler.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from operator import index
from typing import Any

import torch
from torch import Tensor

from graphattn.compiling.unfused import run_unfused
from graphattn.formulas.normalizers import NAMED, NORMALIZERS, Normalizer, Softmax, TopK
from graphattn.formulas.scores import Additive, Dot, Score
from graphattn.graphs import Graph, LocalGraph
from graphattn.graphs.exported import is_exporting
from graphattn.graphs.traced import TracedGraph, fake_ticket, opened, ticket_of
from graphattn.kernels.budget import current_budget
from graphattn.kernels.choose import select
from graphattn.kernels.kernel import Gradients, Inputs, Partial, Plan, accumulation_dtype
from graphattn.kernels.plain.edges_torch import zero_if_none
from graphattn.running.arguments import check_edge_tensors, check_graph, nodes_of, normal_form
from graphattn.running.execution import (
    cast_like,
    compute,
    finish,
    kernel_gradients,
    needed_of,
    pieces,
    run_with_hidden,
    unflatten,
)
from graphattn.running.hidden import ShowHidden, run_what_is_left


def run_traced(plan: Plan, inputs: Inputs, kernel: str | None) -> tuple[Tensor, Tensor | None]:
    """`execution.run` where `plan.graph` is a TracedGraph."""
    if is_seen_through(plan):
        if kernel not in (None, "edges_torch") and not is_exporting():
            raise ValueError(f"{NO_KERNEL} (got kernel={kernel!r})")
        if plan.dropout and isinstance(plan.graph, TracedGraph) and isinstance(plan.graph.graph, LocalGraph):
            raise ValueError(
                f"{NO_KERNEL} that draws dropout by the numbers of a larger graph (got {plan.graph.graph!r})"
            )
        return finish(plan, inputs, *run_unfused(plan, inputs))
    tensors = *inputs[:6], list(inputs.parameters)
    out, _, edge_out, _ = attend_operator(*tensors, *operator_options(plan, inputs), plan.dropout, plan.seed, kernel)
    return finish(plan, inputs, out, None if inputs.edge_features is None else edge_out)


def operator_options(plan: Plan, inputs: Inputs) -> tuple[Tensor | None, Tensor, str, str, float]:
    """Sink, graph, score, normalizer and scale as arguments of an operator."""
    assert isinstance(plan.graph, TracedGraph)  # as every graph is while a compiler traces
    sink = plan.normalizer.sink
    if sink is not None and not isinstance(sink, Tensor):
        sink = torch.full((inputs.query.size(1),), sink, dtype=torch.float64, device=inputs.query.device)
    return sink, plan.graph.tensor, name_of_score(plan.score), name_of_normalizer(plan.normalizer), plan.scale


# Scores and normalizers by name ---------------------------------------------------------------------------------------


def is_seen_through(plan: Plan) -> bool:
    """Whether compilers trace into attention: where torch.export takes it elsewhere, torch.func transforms it, or a score or
    normalizer is the caller's own."""
    is_named = type(plan.score) in (Dot, Additive) and type(plan.normalizer) in (*NAMED, TopK)
    return not is_named or is_exporting() or torch._C._are_functorch_transforms_active()


NO_KERNEL = "compiled code has no kernel for torch.func transforms, nor for scores and normalizers of the caller's own"


ADDS_FEATURES = " and features"  # behind the name of an activation


def name_of_score(score: Score) -> str:
    """Of a score as `Score.reduce` leaves it."""
    if isinstance(score, Additive):
        return score.activation + ADDS_FEATURES * score.adds_features
    return score.name


def score_of_name(name: str, parameters: Sequence[Tensor]) -> Score:
    if name == Dot.name:
        return Dot()
    vector, *rest = parameters
    adds_features = name.endswith(ADDS_FEATURES)
    edge_weight = rest[0] if rest else None
    return Additive(vector, edge_weight, name.removesuffix(ADDS_FEATURES), adds_features=adds_features)


def name_of_normalizer(normalizer: Normalizer) -> str:
    if isinstance(normalizer, TopK):
        return f"{normalizer.name} {index(normalizer.k)}"  # a number of the compiled code, not one of its symbols
    return f"{normalizer.name} by_degree" if normalizer.scale_by_degree else normalizer.name


def normalizer_of_name(name: str, sink: Tensor | None) -> Normalizer:
    name, *option = name.split()
    if name == TopK.name:
        return TopK(int(option[0]))
    if option:
        of_degree: Any = NORMALIZERS[name]  # one of those that have it
        return of_degree(scale_by_degree=True)
    return NORMALIZERS[name]() if sink is None else Softmax(sink)


# The operators ----------------------------------------------------------------------------------------------------------


@torch.library.custom_op("graphattn::attend", mutates_args=())
def attend_operator(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    bias: Tensor | None,
    edge_features: Tensor | None,
    edge_query: Tensor | None,
    parameters: list[Tensor],
    sink: Tensor | None,
    graph: Tensor,
    score: str,
    normalizer: str,
    scale: float,
    dropout: float,
    seed: Tensor | None,
    kernel: str | None,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """out, log-sum-exp and edge_out (empty where there are no features), in the accumulation dtype, and a ticket of the graph.

    The ticket goes to the backward pass: the tensor `graph` may show another graph by then.
    """
    inputs = Inputs(query, key, value, bias, edge_features, edge_query, tuple(parameters))
    given = opened(graph, query.size(0), key.size(0))
    plan = plan_of(inputs, sink, given, score, normalizer, scale, dropout, seed)
    with tape_of_its_own():
        shows_hidden = ShowHidden(plan, inputs)
        (out, lse, edge_out), _ = compute(plan, inputs, kernel)
        if shows_hidden.answer():
            out, edge_out = run_what_is_left(partial(run_with_hidden, kernel=kernel), plan, inputs)
    edge_out = out.new_empty(*lse.shape, 0) if edge_out is None else edge_out
    dtype = accumulation_dtype(query.dtype)
    out, lse, edge_out = fresh((x.to(dtype) for x in (out, lse, edge_out)), flat_of(inputs))
    return out, lse, edge_out, ticket_of(given)


@attend_operator.register_fake
def _(query, key, value, bias, edge_features, edge_query, parameters, sink, graph, *options):
    edge_dim = 0 if edge_features is None else edge_features.size(-1)
    rows, dtype = query.shape[:2], accumulation_dtype(query.dtype)
    shapes = (*rows, value.size(2)), rows, (*rows, edge_dim)
    return *(query.new_empty(shape, dtype=dtype) for shape in shapes), fake_ticket()


@torch.library.custom_op("graphattn::attend_backward", mutates_args=())
def attend_backward(
    grad_out: Tensor,
    grad_edge_out: Tensor,
    out: Tensor,
    lse: Tensor,
    edge_out: Tensor,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    bias: Tensor | None,
    edge_features: Tensor | None,
    edge_query: Tensor | None,
    parameters: list[Tensor],
    sink: Tensor | None,
    graph: Tensor,
    score: str,
    normalizer: str,
    scale: float,
    dropout: float,
    seed: Tensor | None,
    kernel: str | None,
    needed: list[bool],
) -> list[Tensor]:
    """Gradients of all differentiable arguments, empty where none is needed."""
    inputs = Inputs(query, key, value, bias, edge_features, edge_query, tuple(parameters))
    plan = plan_of(inputs, sink, graph, score, normalizer, scale, dropout, seed)
    has_edges, given = edge_features is not None, (*flat_of(inputs), sink)
    if ShowHidden(plan, inputs).answer():

        def run_again(*leaves: Any) -> list[Tensor]:
            *flat, own_sink = leaves
            own = plan._replace(normalizer=plan.normalizer.of_sink(lambda _: own_sink))
            found = run_what_is_left(partial(run_with_hidden, kernel=kernel), own, unflatten(in_full(flat, None)))
            return [x for x in found if x is not None]

        return gradients_by_tape(run_again, given, needed, [grad_out, grad_edge_out] if has_edges else [grad_out])
    merged, grad = Partial(out, lse, edge_out if has_edges else None), Partial.gradient(grad_out, grad_edge_out)
    with tape_of_its_own():
        chosen = [select(*part[1:], kernel) for part in pieces(plan, inputs, kernel)]
        plan = plan._replace(needed=needed_of(in_full(needed[:-1], False)))
        gradients, by_sink = kernel_gradients(plan, kernel, chosen, inputs, merged, grad)
    return real_gradients(cast_like((*flat_of(gradients), by_sink), given), given, needed, grad_out)


@attend_backward.register_fake
def _(grad_out, grad_edge_out, out, lse, edge_out, *arguments):
    *tensors, parameters, sink = arguments[:8]
    return fake_gradients((*tensors, *parameters, sink), arguments[-1], grad_out)


def keep_for_backward(ctx, inputs, output):
    *tensors, parameters, sink, _ = inputs[:9]
    *ctx.options, seed, ctx.kernel = inputs[9:]
    *results, graph = output
    ctx.save_for_backward(*results, *tensors, sink, graph, seed, *parameters)


def differentiate(ctx, grad_out, grad_lse, grad_edge_out, _):
    out, lse, edge_out, *inputs, sink, graph, seed = ctx.saved_tensors[:12]
    parameters = list(ctx.saved_tensors[12:])
    needed = flat_needs(ctx.needs_input_grad[:8])
    results = grad_out, grad_edge_out, out, lse, edge_out
    found = attend_backward(*results, *inputs, parameters, sink, graph, *ctx.options, seed, ctx.kernel, needed)
    found = none_unless(needed, found)
    return *found[:6], found[6:-1], found[-1], *[None] * 7


attend_operator.register_autograd(differentiate, setup_context=keep_for_backward)


def refuse_second_derivatives(ctx, *gradients):
    raise RuntimeError(
        "compiled code cannot be differentiated twice from outside; take the first derivative inside the compiled function, by"
        " torch.func.grad, or compile neither"
    )


attend_backward.register_autograd(refuse_second_derivatives)


# Gradients: a list of tensors, empty where none is needed, as an operator cannot give None ------------------------------


def flat_of(inputs: Inputs | Gradients) -> tuple[Tensor | None, ...]:
    """The tensors of an operator, which takes every bias edge by edge."""
    return (*inputs[:6], *inputs.parameters)


def in_full(flat: Sequence[Any], by_offset: Any) -> list[Any]:
    """One thing for each tensor of an operator -> one for each of `flatten`."""
    return [*flat[:6], by_offset, *flat[6:]]


def real_gradients(
    found: Iterable[Tensor | None], given: Sequence[Tensor | None], needed: list[bool], grad: Tensor
) -> list[Tensor]:
    nothing = grad.new_empty(0)
    gradients = zip(found, given, needed, strict=True)
    own = (nothing if x is None or not is_needed else zero_if_none(g, x) for g, x, is_needed in gradients)
    return fresh(own, given)


def gradients_by_tape(
    function: Callable[..., Tensor | list[Tensor]],
    given: Sequence[Tensor | None],
    needed: list[bool],
    grad: Tensor | list[Tensor],
) -> list[Tensor]:
    """Those of function(*given), one tensor or several, which runs again for it."""
    with tape_of_its_own(), torch.enable_grad():
        leaves = [x if x is None else x.detach().requires_grad_(is_needed) for x, is_needed in zip(given, needed)]
        wanted = [x for x, is_needed in zip(leaves, needed) if is_needed and x is not None]
        found = iter(torch.autograd.grad(function(*leaves), wanted, grad, allow_unused=True))
    of_all = [next(found) if is_needed else None for is_needed in needed]
    return real_gradients(of_all, given, needed, grad[0] if isinstance(grad, list) else grad)


def fake_gradients(given: Sequence[Tensor | None], needed: list[bool], grad: Tensor) -> list[Tensor]:
    return [
        grad.new_empty(0) if x is None or not is_needed else torch.empty_like(x, memory_format=torch.contiguous_format)
        for x, is_needed in zip(given, needed, strict=True)
    ]


def flat_needs(needs: Sequence) -> list[bool]:
    """What autograd says of tensors, the list of parameters and the sink, in one row."""
    *needed, of_parameters, of_sink = needs
    return [*needed, *of_parameters, of_sink]


def none_unless(needed: list[bool], found: list[Tensor]) -> list[Tensor | None]:
    return [gradient if is_needed else None for gradient, is_needed in zip(found, needed, strict=True)]


# What the operators need to run -----------------------------------------------------------------------------------------


def plan_of(
    inputs: Inputs,
    sink: Tensor | None,
    graph: Tensor | Graph,
    score: str,
    normalizer: str,
    scale: float,
    dropout: float = 0.0,
    seed: Tensor | None = None,
) -> Plan:
    """The plan that the arguments of an operator stand for, checked as `attend` checks it without a compiler."""
    query = inputs.query
    num_queries, num_keys = query.size(0), inputs.key.size(0)
    given = graph if isinstance(graph, Graph) else opened(graph, num_queries, num_keys)
    shown = normal_form(given)
    check_graph(shown, query, num_queries, num_keys)
    check_edge_tensors(shown, query, *inputs[3:6])
    named = score_of_name(score, inputs.parameters), normalizer_of_name(normalizer, sink)
    nodes = nodes_of(given) if dropout else None
    return Plan(shown, *named, scale, dropout, seed, current_budget(), nodes=nodes)


@contextmanager
def tape_of_its_own() -> Iterator[None]:
    """Inside an operator autograd is switched off; some kernels differentiate with it, on tensors of their own."""
    key = torch._C.DispatchKey.AutogradFunctionality
    was_off = torch._C._dispatch_tls_is_dispatch_key_excluded(key)
    torch._C._dispatch_tls_set_dispatch_key_excluded(key, False)
    try:
        with torch.no_grad():
            yield
    finally:
        torch._C._dispatch_tls_set_dispatch_key_excluded(key, was_off)


def fresh(tensors: Iterable[Tensor], given: Iterable[Tensor | None]) -> list[Tensor]:
    """Contiguous tensors that share no memory with those given nor with each other, as compilers assume of results."""
    taken = {x.untyped_storage().data_ptr() for x in given if x is not None}
    results = []
    for x in tensors:
        x = x.contiguous()
        x = x.clone() if x.untyped_storage().data_ptr() in taken else x
        taken.add(x.untyped_storage().data_ptr())
        results.append(x)
    return results
