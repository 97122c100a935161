"""`attend`: attention over the edges of a graph. Checks its inputs, chooses kernels, runs them, differentiates."""

import math
from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.autograd.forward_ad import unpack_dual

from graphattn.graphs import Graph, as_graph
from graphattn.kernels.choose import Choice, select
from graphattn.kernels.differentiable import attend_differentiably
from graphattn.kernels.edges_torch import all_scores, edge_scores, gather, log_sum_exp, sorted_edges, zeros_like
from graphattn.kernels.kernel import Inputs, Kernel, Partial, Plan
from graphattn.kernels.normalizers import Normalizer, as_normalizer
from graphattn.kernels.parts import Merger, Part, add_gradients, at_rows, disjoint_parts, take, take_partial
from graphattn.kernels.scores import Score, as_score


def attend(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    graph: Any,
    *,
    bias: Tensor | None = None,
    edge_features: Tensor | None = None,
    edge_query: Tensor | None = None,
    scale: float | None = None,
    dropout: float = 0.0,
    score: str | Score = "dot",
    normalizer: str | Normalizer = "softmax",
    kernel: str | None = None,
) -> Tensor | tuple[Tensor, Tensor]:
    """Attention of queries over the keys that `graph` joins them to.

    out[i] = sum over edges j -> i of w[i, j] * value[j], with w[i] = normalizer(scale * score(query[i], key[j]) + bias) over
    the edges of i (Vaswani et al. 2017, eq. 1, restricted to edges). A query without edges gets 0.

    Args:
        query: [num_queries, heads, dim], or [batch, num_queries, heads, dim] with one graph for the whole batch.
        key: [num_keys, kv_heads, dim]; `heads` must be a multiple of `kv_heads`.
        value: [num_keys, kv_heads, value_dim].
        graph: A Graph, an edge_index [2, num_edges] (row 0 = key, row 1 = query) or anything `as_graph` takes.
        bias: [num_edges] or [num_edges, heads], added to the scaled score; -inf takes an edge away.
        edge_features: [num_edges, edge_dim]. With them comes a second result, the attention-weighted sum of the features.
        edge_query: [num_queries, heads, edge_dim]: adds scale * edge_query[i] . edge_features[edge] to the score, which is
            what an edge term W x_e in the key amounts to, with edge_query = W^T query.
        scale: Factor of the score; None means 1 / sqrt(dim) for the dot product and 1 for the additive score.
        dropout: Probability of dropping an edge's weight, for each head; the rest is scaled by 1 / (1 - dropout).
        score: 'dot', or a Score such as `Additive(vector)`.
        normalizer: 'softmax', 'relu', 'sigmoid', or a Normalizer such as `Relu(scale_by_degree=True)`.
        kernel: Name of the kernel to use instead of the fastest (see `choose_kernel`).

    Everything per edge is in the order of `graph.edge_index()`.

    Returns:
        out [num_queries, heads, value_dim]; with `edge_features` the pair (out, [num_queries, heads, edge_dim]).

    Raises:
        ValueError, TypeError: where shapes, dtypes, devices or options do not fit; the message says what it got.

    Example:
        >>> import torch
        >>> from graphattn import attend, causal
        >>> x = torch.ones(3, 1, 4)
        >>> attend(x, x, torch.arange(3.).view(3, 1, 1), causal(3)).flatten()
        tensor([0.0000, 0.5000, 1.0000])
    """
    options = {"scale": scale, "dropout": dropout, "score": score, "normalizer": normalizer}
    problem = prepare(query, key, value, graph, bias, edge_features, edge_query, **options)
    out, edge_out = run(problem.plan, problem.inputs, kernel)
    if problem.batch is not None:
        out, edge_out = (None if x is None else unfold(x, problem.batch) for x in (out, edge_out))
    return out if edge_features is None else (out, edge_out)


def attention_weights(
    query: Tensor,
    key: Tensor,
    graph: Any,
    *,
    bias: Tensor | None = None,
    edge_features: Tensor | None = None,
    edge_query: Tensor | None = None,
    scale: float | None = None,
    score: str | Score = "dot",
    normalizer: str | Normalizer = "softmax",
    edges: Tensor | None = None,
) -> Tensor:
    """The weights that `attend` uses, computed when asked for: [num_edges, heads] in the order of `graph.edge_index()`.

    Arguments are those of `attend`, without a batch dimension; dropout has no part in it. `edges`, int64 [num_chosen],
    chooses edges by their place. Differentiable.

    Example:
        >>> import torch
        >>> from graphattn import attention_weights, causal
        >>> attention_weights(torch.ones(2, 1, 4), torch.ones(2, 1, 4), causal(2)).flatten()
        tensor([1.0000, 0.5000, 0.5000])
    """
    if isinstance(query, Tensor) and query.dim() == 4:
        raise ValueError(f"'attention_weights' takes query [num_queries, heads, dim] (got {list(query.shape)})")
    options = {"scale": scale, "score": score, "normalizer": normalizer, "dropout": 0.0}
    plan, inputs, _ = prepare(query, key, key, graph, bias, edge_features, edge_query, **options)
    order = sorted_edges(plan.graph, query.device, with_repeat=False)
    if torch.is_grad_enabled() and any(x is not None and x.requires_grad for x in flatten(inputs)):
        scores = edge_scores(plan, *gather(inputs, order))
    else:
        scores = all_scores(plan, inputs, order)
    lse = log_sum_exp(scores, order.row, plan.graph.num_queries)
    weights = plan.normalizer.weights(scores, lse[order.row])
    if plan.normalizer.scale_by_degree:
        weights = weights / plan.graph.degrees(query.device)[order.row, None]
    if isinstance(order.edge_id, Tensor):
        weights = torch.empty_like(weights).index_copy(0, order.edge_id.long(), weights)
    weights = weights.to(query.dtype)
    return weights if edges is None else weights[edges]


def choose_kernel(
    graph: Any,
    query: Tensor,
    key: Tensor | None = None,
    value: Tensor | None = None,
    *,
    kernel: str | None = None,
    **options,
) -> Choice:
    """The kernel that `attend` would run, and why not each one before it in the order.

    Arguments are those of `attend`; key and value default to the query. A graph that is run in parts names the kernels of
    the parts joined by ' + '.

    Example:
        >>> import torch
        >>> from graphattn import BandedGraph, CompleteGraph, choose_kernel
        >>> choose_kernel(CompleteGraph(5), torch.randn(5, 2, 8)).kernel
        'sdpa'
        >>> choose_kernel(BandedGraph(9, 1, 2), torch.randn(9, 2, 8)).refusals["sdpa"]
        "'sdpa' runs complete and causal graphs (got BandedGraph)"
    """
    key = query if key is None else key
    value = key if value is None else value
    per_edge = {name: options.pop(name, None) for name in ("bias", "edge_features", "edge_query")}
    plan, inputs, _ = prepare(query, key, value, graph, **per_edge, **options)
    names, refusals = [], {}
    for _, part_plan, part_inputs in pieces(plan, inputs, kernel):
        chosen, reasons = select(part_plan, part_inputs, kernel)
        names += [chosen.name] if chosen.name not in names else []
        refusals |= reasons
    return Choice(" + ".join(names), refusals)


class Problem(NamedTuple):
    plan: Plan
    inputs: Inputs
    batch: int | None


def prepare(
    query,
    key,
    value,
    graph,
    bias=None,
    edge_features=None,
    edge_query=None,
    *,
    scale=None,
    dropout=0.0,
    score="dot",
    normalizer="softmax",
) -> Problem:
    """Checked arguments in the form that kernels take; a leading batch dimension becomes more heads."""
    check_node_tensors(query, key, value)
    batch = query.size(0) if query.dim() == 4 else None
    num_queries, num_keys = query.size(-3), key.size(-3)
    graph = as_graph(graph, num_queries, num_keys)
    graph = graph.remember("normal form", graph.normal_form)  # one object, so that its CSR is built once
    check_graph(graph, query, num_queries, num_keys)
    score, normalizer = as_score(score), as_normalizer(normalizer)
    score.check(*query.shape[-2:], None if edge_features is None else edge_features.size(-1))
    bias, edge_features = check_edge_tensors(graph, query, bias, edge_features, edge_query)
    dropout = check_dropout(dropout)
    scale = score.default_scale(query.size(-1)) if scale is None else check_scale(scale)
    inputs = Inputs(query, key, value, bias, edge_features, edge_query, score.parameters)
    if batch is not None:
        inputs = fold(inputs)
        score = score.replace(*inputs.parameters)
    seed = torch.randint(2**32, (), device=query.device) if dropout else None
    return Problem(Plan(graph, score, normalizer, scale, dropout, seed), inputs, batch)


def fold(inputs: Inputs) -> Inputs:
    """[batch, nodes, heads, dim] -> [nodes, batch * heads, dim]: one graph, so a batch is more heads."""
    batch = inputs.query.size(0)

    def join(x):
        return None if x is None else x.transpose(0, 1).flatten(1, 2)

    bias = inputs.bias
    return Inputs(
        *(join(x) for x in inputs[:3]),
        bias.repeat(1, batch) if bias is not None and bias.size(1) > 1 else bias,
        inputs.edge_features,
        join(inputs.edge_query),
        tuple(x.repeat(batch, *[1] * (x.dim() - 1)) for x in inputs.parameters),
    )


def unfold(x: Tensor, batch: int) -> Tensor:
    return x.unflatten(1, (batch, -1)).transpose(0, 1)


def check_node_tensors(query: Tensor, key: Tensor, value: Tensor) -> None:
    tensors = {"query": query, "key": key, "value": value}
    for name, x in tensors.items():
        if not isinstance(x, Tensor):
            raise TypeError(f"'{name}' must be a torch.Tensor (got {type(x).__name__})")
        if x.dim() not in (3, 4) or x.dim() != query.dim():
            raise ValueError(
                f"'{name}' must be [num_nodes, heads, dim], or [batch, num_nodes, heads, dim] in all three"
                f" (got {list(x.shape)} beside query {list(query.shape)})"
            )
        if not x.is_floating_point() or x.dtype != query.dtype:
            raise TypeError(
                f"'query', 'key' and 'value' must share one floating dtype (got '{name}' {x.dtype} beside"
                f" query {query.dtype}); convert with .to(dtype)"
            )
        if x.device != query.device:
            raise ValueError(f"'{name}' is on {x.device}, 'query' on {query.device}; move them to one device")
    if key.shape[:-1] != value.shape[:-1]:
        raise ValueError(
            f"'key' and 'value' must share nodes and heads (got {list(key.shape)} and {list(value.shape)})"
        )
    if query.size(-1) != key.size(-1) or query.shape[:-3] != key.shape[:-3]:
        raise ValueError(f"'query' and 'key' must share batch and dim (got {list(query.shape)} and {list(key.shape)})")
    heads, kv_heads = query.size(-2), key.size(-2)
    if not heads or not kv_heads or heads % kv_heads:
        raise ValueError(f"heads of 'query' must be a multiple of heads of 'key' (got {heads} and {kv_heads})")


def check_graph(graph: Graph, query: Tensor, num_queries: int, num_keys: int) -> None:
    if graph.shape != (num_queries, num_keys):
        raise ValueError(
            f"'graph' joins {graph.num_queries} queries to {graph.num_keys} keys (got {num_queries} queries and {num_keys}"
            " keys); nodes may have been dropped or added (Data.subgraph) after the graph was made: use graph.subgraph(nodes)"
        )
    if graph.device is not None and graph.device != query.device:
        raise ValueError(
            f"'graph' is on {graph.device}, 'query' on {query.device}; move it with graph.to({query.device})"
        )


def check_edge_tensors(
    graph: Graph, query: Tensor, bias, edge_features, edge_query
) -> tuple[Tensor | None, Tensor | None]:
    """The bias as [num_edges, heads or 1] and the features, both floating and of the graph's edges."""
    heads = query.size(-2)
    for name, x in {"bias": bias, "edge_features": edge_features, "edge_query": edge_query}.items():
        if x is not None and not (isinstance(x, Tensor) and x.is_floating_point()):
            raise TypeError(f"'{name}' must be a floating tensor (got {getattr(x, 'dtype', type(x).__name__)})")
        if x is not None and x.device != query.device:
            raise ValueError(f"'{name}' is on {x.device}, 'query' on {query.device}; move them to one device")
    if bias is not None:
        bias = bias[:, None] if bias.dim() == 1 else bias
        if bias.dim() != 2 or bias.size(0) != graph.num_edges or bias.size(1) not in (1, heads):
            raise ValueError(
                f"'bias' must be [num_edges] or [num_edges, heads] = [{graph.num_edges}, {heads}] in the order"
                f" of graph.edge_index() (got {list(bias.shape)})"
            )
    if edge_features is not None and (edge_features.dim() != 2 or edge_features.size(0) != graph.num_edges):
        raise ValueError(
            f"'edge_features' must be [num_edges, edge_dim] with {graph.num_edges} edges in the order of"
            f" graph.edge_index() (got {list(edge_features.shape)})"
        )
    if edge_query is not None:
        if edge_features is None:
            raise ValueError("'edge_query' needs 'edge_features' beside it (got None)")
        expected = (*query.shape[:-1], edge_features.size(1))
        if edge_query.shape != expected:
            raise ValueError(f"'edge_query' must be {list(expected)} (got {list(edge_query.shape)})")
    return bias, edge_features


def check_dropout(dropout: float) -> float:
    if isinstance(dropout, bool) or not isinstance(dropout, (int, float)) or not 0 <= dropout <= 1:
        raise ValueError(f"'dropout' must be a probability in 0 .. 1 (got {dropout!r})")
    return float(dropout)


def check_scale(scale: float) -> float:
    if isinstance(scale, bool) or not isinstance(scale, (int, float)) or not math.isfinite(scale):
        raise ValueError(f"'scale' must be a finite number (got {scale!r})")
    return float(scale)


def run(plan: Plan, inputs: Inputs, kernel: str | None) -> tuple[Tensor, Tensor | None]:
    """(out, edge_out), differentiable, in the dtype of the query."""
    flat = (*inputs[:-1], *inputs.parameters)
    if any(x is not None and unpack_dual(x).tangent is not None for x in flat):
        partial = attend_differentiably(plan, inputs)  # forward mode: fused kernels have no tangents
        out, edge_out = partial.out, partial.edge_out
    elif torch.is_grad_enabled() and any(x is not None and x.requires_grad for x in flat):
        out, edge_out = Attend.apply(plan, kernel, *flat)
    else:
        (out, _, edge_out), _ = compute(plan, inputs, kernel)
    if plan.normalizer.scale_by_degree:
        degrees = plan.graph.degrees(out.device).clamp(min=1)[:, None, None]
        out, edge_out = out / degrees, None if edge_out is None else edge_out / degrees
    dtype = inputs.query.dtype
    return out.to(dtype), None if edge_out is None else edge_out.to(dtype)


def pieces(plan: Plan, inputs: Inputs, kernel: str | None) -> Iterator[tuple[Part, Plan, Inputs]]:
    """The graph cut into disjoint parts, or whole where tensors per edge, dropout or a named kernel want it."""
    is_whole = kernel is not None or inputs.bias is not None or inputs.edge_features is not None or plan.dropout > 0
    for part in [Part(plan.graph)] if is_whole else disjoint_parts(plan.graph, inputs.query.device):
        part_plan = plan if part.graph is plan.graph else replace(plan, graph=part.graph)
        yield part, part_plan, take(inputs, part)


def compute(plan: Plan, inputs: Inputs, kernel: str | None) -> tuple[Partial, list[Kernel]]:
    """The merged result of all parts, and the kernel that ran each."""
    merger, chosen = Merger(plan.normalizer.merge, plan.graph.num_queries), []
    for part, part_plan, part_inputs in pieces(plan, inputs, kernel):
        run_by, _ = select(part_plan, part_inputs, kernel)
        merger.add(run_by.forward(part_plan, part_inputs), part)
        chosen.append(run_by)
    return merger.total, chosen


class Attend(torch.autograd.Function):
    """Parts run on their kernels forward and backward; nothing is kept but inputs, result and log-sum-exp."""

    @staticmethod
    def forward(ctx, plan, kernel, *flat):
        merged, chosen = compute(plan, unflatten(flat), kernel)
        ctx.plan, ctx.kernel, ctx.chosen = plan, kernel, chosen
        ctx.save_for_backward(*flat, *merged)
        return merged.out, merged.edge_out

    @staticmethod
    def backward(ctx, grad_out, grad_edge_out):
        saved = ctx.saved_tensors
        inputs, merged, grad = unflatten(saved[:-3]), Partial(*saved[-3:]), Partial(grad_out, None, grad_edge_out)
        if torch.is_grad_enabled():
            return None, None, *differentiable_gradients(ctx.plan, inputs, grad, ctx.needs_input_grad[2:])
        gradients = kernel_gradients(ctx, inputs, merged, grad)
        return None, None, *cast_like(flatten(gradients), flatten(inputs))


def unflatten(flat: tuple) -> Inputs:
    return Inputs(*flat[:6], tuple(flat[6:]))


def flatten(inputs: Inputs) -> tuple[Tensor | None, ...]:
    return (*inputs[:-1], *inputs.parameters)


def cast_like(gradients: Iterable[Tensor | None], inputs: Iterable[Tensor | None]) -> list[Tensor | None]:
    pairs = zip(gradients, inputs, strict=True)
    return [None if g is None or x is None else g.sum_to_size(x.shape).to(x.dtype) for g, x in pairs]


def kernel_gradients(ctx, inputs: Inputs, merged: Partial, grad: Partial) -> Inputs:
    """Each part's gradients from the merged result, added up at its rows."""
    delta = (grad.out * merged.out).sum(-1)  # [num_queries, heads]
    if merged.edge_out is not None:
        delta = delta + (grad.edge_out * merged.edge_out).sum(-1)
    total = None
    for (part, plan, part_inputs), run_by in zip(pieces(ctx.plan, inputs, ctx.kernel), ctx.chosen, strict=True):
        at_part = (take_partial(merged, part), take_partial(grad, part), at_rows(delta, part.query_rows))
        gradients = run_by.backward(plan, part_inputs, *at_part)
        if part.is_whole and total is None:
            total = gradients
        else:
            total = zeros_like(inputs) if total is None else total
            add_gradients(total, gradients, part)
    return total


def differentiable_gradients(
    plan: Plan, inputs: Inputs, grad: Partial, needed: tuple[bool, ...]
) -> list[Tensor | None]:
    """Gradients that can be differentiated again (create_graph=True): autograd over plain torch operations."""
    partial = attend_differentiably(plan, inputs)
    pairs = [(o, g) for o, g in ((partial.out, grad.out), (partial.edge_out, grad.edge_out)) if o is not None]
    outputs, cotangents = zip(*pairs, strict=True)
    wanted = [x for x, is_needed in zip(flatten(inputs), needed, strict=True) if is_needed]
    found = iter(torch.autograd.grad(outputs, wanted, cotangents, create_graph=True, allow_unused=True))
    return [next(found) if is_needed else None for is_needed in needed]
