"""The two halves of attention, for whoever wants to do something to the scores or weights in between."""

from collections.abc import Callable, Sequence
from typing import overload

import torch
from torch import Tensor

from graphattn.compiling.edge_operators import traced_scores
from graphattn.formulas.scores import Score
from graphattn.graphs import Graph, as_graph
from graphattn.graphs.convert import GraphLike
from graphattn.graphs.per_head import PerHead
from graphattn.graphs.recording import refuse_recording
from graphattn.graphs.spread import SpreadGraph
from graphattn.kernels.kernel import accumulation_dtype
from graphattn.kernels.plain.edgewise import sums
from graphattn.running.arguments import Options, check_graph, check_no_batch, prepare, with_keys
from graphattn.running.by_heads import list_heads, over_heads, sums_by_heads
from graphattn.running.hidden import scores_shown


@overload
def attention_scores(
    query: Tensor,
    key: Tensor,
    graph: GraphLike,
    *,
    bias: Tensor | Callable[[Graph], Tensor] | None = None,
    edge_features: Tensor | None = None,
    edge_query: Tensor | None = None,
    scale: float | None = None,
    score: str | Score | Callable[[Tensor, Tensor], Tensor] = "dot",
) -> Tensor: ...


@overload
def attention_scores(
    query: Tensor,
    key: Tensor,
    graph: PerHead,
    *,
    bias: Sequence[Tensor | Callable[[Graph], Tensor] | None] | Callable[[Graph], Tensor] | None = None,
    edge_features: Sequence[Tensor | None] | None = None,
    edge_query: Tensor | None = None,
    scale: float | None = None,
    score: str | Score | Callable[[Tensor, Tensor], Tensor] = "dot",
) -> list[Tensor]: ...


def attention_scores(
    query: Tensor,
    key: Tensor,
    graph: GraphLike | PerHead,
    *,
    bias: Tensor | Callable[[Graph], Tensor] | Sequence[Tensor | Callable[[Graph], Tensor] | None] | None = None,
    edge_features: Tensor | Sequence[Tensor | None] | None = None,
    edge_query: Tensor | None = None,
    scale: float | None = None,
    score: str | Score | Callable[[Tensor, Tensor], Tensor] = "dot",
) -> Tensor | list[Tensor]:
    """The scores that `attend` gives to its normalizer: [num_edges, heads] in the order of `graph.edge_index()`.

    Arguments are those of `attend`, without a batch dimension; for a `PerHead` a list, [num_edges] of the graph of each head.
    Dot products keep num_edges * heads numbers for derivatives of any order, other scores for the first.

    Example:
        >>> import torch
        >>> from graphattn import attention_scores, causal
        >>> attention_scores(torch.ones(2, 1, 4), torch.ones(2, 1, 4), causal(2)).flatten()
        tensor([2., 2., 2.])
    """
    check_no_batch("attention_scores", query)
    options = Options(bias, edge_features, edge_query, scale, score=score)
    return over_heads(scores_over, list_heads, (query, key), graph, options)


def scores_over(query: Tensor, key: Tensor, graph: GraphLike, options: Options) -> Tensor:
    """`attention_scores` over the one graph of all heads."""
    key, graph = with_keys(query, key, graph)
    plan, inputs, _ = prepare(query, key, key, graph, options)
    traced = torch.compiler.is_compiling()
    scores = traced_scores(plan, inputs) if traced else scores_shown(plan, inputs)
    return scores.to(query.dtype)


def weighted_sum(weights: Tensor | Sequence[Tensor], value: Tensor, graph: GraphLike | PerHead) -> Tensor:
    """For each query the sum of weight * value over its edges, with weights of the caller's.

    Args:
        weights: [num_edges, heads], in the order of `graph.edge_index()`; for a `PerHead` a list, [num_edges] of each head.
        value: [num_keys, kv_heads, value_dim]; `heads` must be a multiple of `kv_heads`.
        graph: A Graph, or anything `as_graph` takes that knows its number of queries (a bare edge_index has as many queries
            as keys).

    Returns:
        [num_queries, heads, value_dim]; 0 for a query without edges. num_edges * heads numbers are kept for derivatives of
        any order.

    Raises:
        ValueError, TypeError: where shapes, dtypes or devices do not fit.

    Example:
        >>> import torch
        >>> from graphattn import causal, weighted_sum
        >>> weighted_sum(torch.tensor([[1.], [2.], [3.]]), torch.ones(2, 1, 1), causal(2)).flatten()
        tensor([1., 5.])
    """
    if not isinstance(value, Tensor) or value.dim() != 3 or not value.is_floating_point():
        got = str(list(value.shape)) if isinstance(value, Tensor) else type(value).__name__
        raise ValueError(f"'value' must be a floating tensor [num_keys, kv_heads, value_dim] (got {got})")
    if isinstance(graph, PerHead):
        return sums_by_heads(weighted_sum, weights, value, graph)
    if isinstance(graph, SpreadGraph):
        graph.agree("a weighted sum", [value])
        value, graph = graph.fetch(value)[0], graph.local()
    if not isinstance(graph, Graph):
        refuse_recording()
        graph = as_graph(graph, value.size(0))
    check_graph(graph, value, graph.num_queries, value.size(0))
    if not isinstance(weights, Tensor) or weights.dim() != 2 or weights.size(1) % max(value.size(1), 1):
        got = str(list(weights.shape)) if isinstance(weights, Tensor) else type(weights).__name__
        raise ValueError(
            f"'weights' must be [num_edges, heads], heads a multiple of kv_heads = {value.size(1)} (got {got})"
        )
    if not graph.may_have_edges(weights.size(0)):
        raise ValueError(f"'weights' must have one row for each of {graph.num_edges} edges (got {list(weights.shape)})")
    dtype = accumulation_dtype(value.dtype)
    key, query = graph.edge_index(value.device)
    return sums(weights.to(dtype), value.to(dtype), key, query, graph.num_queries).to(value.dtype)
