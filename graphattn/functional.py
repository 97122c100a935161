"""The public functions: `attend`, `attention_weights` and `choose_kernel`."""

from collections.abc import Callable, Sequence
from typing import Any, Literal, overload

import torch
from torch import Tensor

from graphattn.compiling.edge_operators import traced_weights
from graphattn.compiling.operators import run_traced
from graphattn.graphs import Graph
from graphattn.graphs.convert import GraphLike
from graphattn.graphs.per_head import PerHead
from graphattn.graphs.spread import SpreadGraph
from graphattn.kernels.choose import Choice, explain
from graphattn.running.arguments import (
    BiasLike,
    NormalizerLike,
    Options,
    ScoreLike,
    check_no_batch,
    prepare,
    unfold,
    with_keys,
)
from graphattn.running.by_heads import at_places, join_choices, join_heads, list_heads, over_heads
from graphattn.running.execution import pieces, run, with_bias_for_kernel
from graphattn.running.hidden import weights_shown
from graphattn.running.with_lse import run_with_lse


@overload
def attend(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    graph: GraphLike | PerHead,
    *,
    bias: BiasLike | Sequence[BiasLike] = None,
    edge_features: None = None,
    edge_query: Tensor | None = None,
    scale: float | None = None,
    dropout: float = 0.0,
    score: ScoreLike = "dot",
    normalizer: NormalizerLike = "softmax",
    kernel: str | None = None,
    edge_sum: bool = True,
    return_lse: Literal[False] = False,
) -> Tensor: ...


@overload
def attend(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    graph: GraphLike | PerHead,
    *,
    bias: BiasLike | Sequence[BiasLike] = None,
    edge_features: Tensor | Sequence[Tensor | None],
    edge_query: Tensor | None = None,
    scale: float | None = None,
    dropout: float = 0.0,
    score: ScoreLike = "dot",
    normalizer: NormalizerLike = "softmax",
    kernel: str | None = None,
    edge_sum: Literal[True] = True,
    return_lse: Literal[False] = False,
) -> tuple[Tensor, Tensor]: ...


@overload
def attend(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    graph: GraphLike | PerHead,
    *,
    bias: BiasLike | Sequence[BiasLike] = None,
    edge_features: Tensor | Sequence[Tensor | None] | None = None,
    edge_query: Tensor | None = None,
    scale: float | None = None,
    dropout: float = 0.0,
    score: ScoreLike = "dot",
    normalizer: NormalizerLike = "softmax",
    kernel: str | None = None,
    edge_sum: bool = True,
    return_lse: Literal[False] = False,
) -> Tensor | tuple[Tensor, Tensor]: ...


@overload
def attend(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    graph: GraphLike | PerHead,
    *,
    bias: BiasLike | Sequence[BiasLike] = None,
    edge_features: Tensor | Sequence[Tensor | None] | None = None,
    edge_query: Tensor | None = None,
    scale: float | None = None,
    dropout: float = 0.0,
    score: ScoreLike = "dot",
    normalizer: NormalizerLike = "softmax",
    kernel: str | None = None,
    edge_sum: bool = True,
    return_lse: Literal[True],
) -> tuple[Tensor, ...]: ...


def attend(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    graph: GraphLike | PerHead,
    *,
    bias: BiasLike | Sequence[BiasLike] = None,
    edge_features: Tensor | Sequence[Tensor | None] | None = None,
    edge_query: Tensor | None = None,
    scale: float | None = None,
    dropout: float = 0.0,
    score: ScoreLike = "dot",
    normalizer: NormalizerLike = "softmax",
    kernel: str | None = None,
    edge_sum: bool = True,
    return_lse: bool = False,
) -> Tensor | tuple[Tensor, ...]:
    """Attention of queries over the keys that `graph` joins them to.

    out[i] = sum over edges j -> i of w[i, j] * value[j], with w[i] = normalizer(scale * score(query[i], key[j]) + bias) over
    the edges of i (Vaswani et al. 2017, eq. 1, restricted to edges). A query without edges gets 0.

    Args:
        query: [num_queries, heads, dim], or [batch, num_queries, heads, dim] with one graph for the whole batch.
        key: [num_keys, kv_heads, dim]; `heads` must be a multiple of `kv_heads`.
        value: [num_keys, kv_heads, value_dim].
        graph: A Graph, an edge_index [2, num_edges] (row 0 = key, row 1 = query) or anything `as_graph` takes; a `PerHead`
            for another graph in each head, with lists for `bias` and `edge_features`.
        bias: [num_edges] or [num_edges, heads], added to the scaled score; -inf takes an edge away. Or a rule
            graph -> such a tensor, as the biases of `graphattn.nn` are (`ALiBi(heads)`).
        edge_features: [num_edges, edge_dim], or [num_edges, heads, edge_dim] for each head its own. With them comes a second
            result, the attention-weighted sum of the features.
        edge_query: [num_queries, heads, edge_dim]: adds scale * edge_query[i] . edge_features[edge] to the score, which is
            what an edge term W x_e in the key amounts to, with edge_query = W^T query.
        scale: Factor of the score; None means 1 / sqrt(dim) for the dot product and 1 for every other score.
        dropout: Probability of dropping an edge's weight, for each head; the rest is scaled by 1 / (1 - dropout).
        score: 'dot', 'cosine' or 'gaussian'; a Score with parameters (`Additive(vector)`, `Gat`, `Cosine`, `Bilinear`,
            `Gaussian`); or a function or torch.nn.Module (query, key [..., heads, dim]) -> scores [..., heads] (see `Custom`).
        normalizer: 'softmax', 'relu', 'squared_relu', 'sigmoid', 'identity', 'sparsemax', 'entmax15', or a Normalizer such as
            `Softmax(sink=0.0)`, `TopK(8)` or `Relu(scale_by_degree=True)`, or a function of the scores of a row along the last
            axis, as `torch.softmax(x, -1)` is one (see `CustomNormalizer`).
        kernel: Name of the kernel to use instead of the fastest (see `choose_kernel`).
        edge_sum: False leaves out the second result, where edge features have a part in the score alone.
        return_lse: Give the log-sum-exp of the scores of each query too, -inf where it has no edge: results over disjoint
            edges merge by it (see `merge_attention`). For softmax, a sink included; before dropout.

    Everything per edge is in the order of `graph.edge_index()`.

    Returns:
        out [num_queries, heads, value_dim]; with `edge_features` the pair (out, [num_queries, heads, edge_dim]), unless
        `edge_sum` is False. With `return_lse` a tuple of these and, at its end, lse [num_queries, heads], in float32 for half
        precision.

    Raises:
        ValueError, TypeError: where shapes, dtypes, devices or options do not fit; the message says what it got.

    Example:
        >>> import torch
        >>> from graphattn import attend, causal
        >>> x = torch.ones(3, 1, 4)
        >>> attend(x, x, torch.arange(3.).view(3, 1, 1), causal(3)).flatten()
        tensor([0.0000, 0.5000, 1.0000])
    """
    options = Options(bias, edge_features, edge_query, scale, dropout, score, normalizer, kernel, edge_sum)
    if not return_lse:
        return over_heads(attend_over, join_heads, (query, key, value), graph, options)
    *outs, lse = over_heads(attend_with_lse, join_heads, (query, key, value), graph, options)
    return (*outs, lse.squeeze(-1))


def attend_over(
    query: Tensor, key: Tensor, value: Tensor, graph: GraphLike, options: Options
) -> Tensor | tuple[Tensor, Tensor]:
    """`attend` over the one graph of all heads."""
    if isinstance(graph, SpreadGraph):
        results = graph.attend(query, key, value, options, with_lse=False)
        return results[0] if len(results) == 1 else (results[0], results[1])
    plan, inputs, batch = prepare(query, key, value, graph, options)
    run_here = run_traced if torch.compiler.is_compiling() else run
    out, edge_out = run_here(plan, inputs, options.kernel)
    if out.dtype is not query.dtype:
        out, edge_out = out.to(query.dtype), None if edge_out is None else edge_out.to(query.dtype)
    if batch is not None:
        out, edge_out = unfold(out, batch), None if edge_out is None else unfold(edge_out, batch)
    return out if edge_out is None or not options.edge_sum else (out, edge_out)


def attend_with_lse(
    query: Tensor, key: Tensor, value: Tensor, graph: GraphLike, options: Options
) -> tuple[Tensor, ...]:
    """The same with the log-sum-exp [num_queries, heads, 1] behind it."""
    if torch.compiler.is_compiling():
        raise ValueError("'return_lse' is not for compiled code; call attend outside of torch.compile and torch.export")
    if isinstance(graph, SpreadGraph):
        return graph.attend(query, key, value, options, with_lse=True)
    plan, inputs, batch = prepare(query, key, value, graph, options)
    out, lse, edge_out = run_with_lse(plan, inputs, options.kernel)
    results = [out, lse[..., None]] if edge_out is None else [out, edge_out, lse[..., None]]
    kept = [query.dtype] * (len(results) - 1) + [lse.dtype]
    return tuple((x if batch is None else unfold(x, batch)).to(dtype) for x, dtype in zip(results, kept))


@overload
def attention_weights(
    query: Tensor,
    key: Tensor,
    graph: GraphLike,
    *,
    bias: BiasLike = None,
    edge_features: Tensor | None = None,
    edge_query: Tensor | None = None,
    scale: float | None = None,
    score: ScoreLike = "dot",
    normalizer: NormalizerLike = "softmax",
    edges: Tensor | None = None,
) -> Tensor: ...


@overload
def attention_weights(
    query: Tensor,
    key: Tensor,
    graph: PerHead,
    *,
    bias: Sequence[BiasLike] | Callable[[Graph], Tensor] | None = None,
    edge_features: Sequence[Tensor | None] | None = None,
    edge_query: Tensor | None = None,
    scale: float | None = None,
    score: ScoreLike = "dot",
    normalizer: NormalizerLike = "softmax",
    edges: Tensor | Sequence[Tensor] | None = None,
) -> list[Tensor]: ...


def attention_weights(
    query: Tensor,
    key: Tensor,
    graph: GraphLike | PerHead,
    *,
    bias: BiasLike | Sequence[BiasLike] = None,
    edge_features: Tensor | Sequence[Tensor | None] | None = None,
    edge_query: Tensor | None = None,
    scale: float | None = None,
    score: ScoreLike = "dot",
    normalizer: NormalizerLike = "softmax",
    edges: Tensor | Sequence[Tensor] | None = None,
) -> Tensor | list[Tensor]:
    """The weights that `attend` uses, computed when asked for: [num_edges, heads] in the order of `graph.edge_index()`.

    Arguments are those of `attend`, without a batch dimension; dropout has no part in it. `edges`, int64 [num_chosen],
    chooses edges by their place (or bool [num_edges]). Differentiable. For a `PerHead` a list, [num_edges] of the graph of
    each head; `edges` then holds for every head, or is a list with one entry for each.

    Example:
        >>> import torch
        >>> from graphattn import attention_weights, causal
        >>> attention_weights(torch.ones(2, 1, 4), torch.ones(2, 1, 4), causal(2)).flatten()
        tensor([1.0000, 0.5000, 0.5000])
    """
    check_no_batch("attention_weights", query)
    options = Options(bias, edge_features, edge_query, scale, score=score, normalizer=normalizer)
    return at_places(over_heads(weights_over, list_heads, (query, key), graph, options), edges)


def weights_over(query: Tensor, key: Tensor, graph: GraphLike, options: Options) -> Tensor:
    """`attention_weights` of all edges of the one graph of all heads."""
    key, graph = with_keys(query, key, graph)
    plan, inputs, _ = prepare(query, key, key, graph, options)
    traced = torch.compiler.is_compiling()
    weights = traced_weights(plan, inputs) if traced else weights_shown(plan, inputs)
    return weights.to(query.dtype)


def choose_kernel(
    graph: GraphLike | PerHead,
    query: Tensor,
    key: Tensor | None = None,
    value: Tensor | None = None,
    *,
    kernel: str | None = None,
    **options: Any,
) -> Choice:
    """The kernel that `attend` would run, and why not each one before it in the order: it cannot, or it would be slower.

    Arguments are those of `attend`; key and value default to the query. A graph that is run in parts, and a `PerHead`, names
    the kernels of the parts joined by ' + '. Forward mode and torch.func always run by torch operations.

    Example:
        >>> import torch
        >>> from graphattn import BandedGraph, CompleteGraph, choose_kernel
        >>> choose_kernel(CompleteGraph(50), torch.randn(50, 2, 8)).kernel
        'banded_cpu'
        >>> choose_kernel(BandedGraph(9, 1, 2), torch.randn(9, 2, 8)).refusals["sdpa"]
        "'sdpa' runs complete and causal graphs (got BandedGraph)"
    """
    key = query if key is None else key
    value = key if value is None else value
    return over_heads(choice_over, join_choices, (query, key, value), graph, Options(**options, kernel=kernel))


def choice_over(query: Tensor, key: Tensor, value: Tensor, graph: GraphLike, options: Options) -> Choice:
    """`choose_kernel` for the one graph of all heads."""
    if isinstance(graph, SpreadGraph):
        return Choice(*graph.explain(query, key, value, options))
    plan, inputs, _ = prepare(query, key, value, graph, options)
    names: list[str] = []
    refusals: dict[str, str] = {}
    for _, part_plan, part_inputs in pieces(*with_bias_for_kernel(plan, inputs, options.kernel), options.kernel):
        chosen, reasons = explain(part_plan, part_inputs, options.kernel)
        names += [chosen.name] if chosen.name not in names else []
        refusals |= reasons
    return Choice(" + ".join(names), refusals)
