"""Attention by plain loops in float64, which shares no code with kernels: what they are tested against."""

import math
from collections.abc import Callable, Sequence
from itertools import product
from typing import Any, NamedTuple, TypeVar

import torch
from torch import Tensor

Function = TypeVar("Function", bound=Callable[..., Any])


def loop_attention(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    edges: Sequence[tuple[int, int]],
    *,
    bias: Tensor | None = None,
    edge_features: Tensor | None = None,
    edge_query: Tensor | None = None,
    scale: float | None = None,
    normalizer: Any = "softmax",
    score: Any = "dot",
    kv_heads: int | None = None,
) -> tuple[Tensor, Tensor | None, Tensor, Tensor | None]:
    """Attention over `edges` by loops over queries and heads, in float64; differentiable.

    Args:
        query: `[num_queries, heads, dim]`; key: `[num_keys, kv_heads, dim]`; value: `[num_keys, kv_heads, value_dim]`.
        edges: list of (key, query) pairs; a pair that is there twice counts twice.
        bias: `[num_edges]` or `[num_edges, heads]`, added to the scores; -inf means no edge.
        edge_features: `[num_edges, edge_dim]`; edge_query: `[num_queries, heads, edge_dim]`, whose product is
            added to the score before scaling.
        scale: factor of the scores; `dim ** -0.5` for dot products and 1 for other scores by default.
        normalizer: 'softmax', ('softmax', sink [heads]), ('top_k', k), 'relu', 'squared_relu', 'sigmoid', 'identity',
            'sparsemax', 'entmax15', or a function of the scores of a row [num_edges of the row] -> its weights.
        score: 'dot', or a function (query [dim], key [dim]) -> number; one with parameters comes together with them,
            `(function, *parameters)`, each [heads, ...] or [kv_heads, ...], and is given those of one head. One that
            `sees_features` marks gets the edge's features too.
        kv_heads: checked against `key` if given.

    Returns:
        out `[num_queries, heads, value_dim]`, z `[num_queries, heads, edge_dim]` (the features by the same weights)
        or None, weights `[num_edges, heads]`, lse `[num_queries, heads]` (None unless softmax). Queries without
        edges: out 0, z 0, lse -inf.
    """
    call = Call(query.double(), key.double(), value.double(), edges, bias, edge_features, edge_query, scale, score)
    assert kv_heads in (None, key.size(1))
    (num_queries, heads, _), value_dim = query.shape, value.size(2)
    edge_dim = 0 if edge_features is None else edge_features.size(-1)
    out = [[call.value.new_zeros(value_dim) for _ in range(heads)] for _ in range(num_queries)]
    z = [[call.query.new_zeros(edge_dim) for _ in range(heads)] for _ in range(num_queries)]
    weights = [[call.query.new_zeros(()) for _ in range(heads)] for _ in edges]
    lse = [[call.query.new_full((), -math.inf) for _ in range(heads)] for _ in range(num_queries)]
    for i, h in product(range(num_queries), range(heads)):
        scores = call.scores_of_row(i, h)
        if scores and normalizer == "softmax":
            lse[i][h] = log_sum_exp(list(scores.values()))
        for number, weight in zip(scores, weights_of_row(list(scores.values()), normalizer, h)):
            weights[number][h] = weight
            out[i][h] = out[i][h] + weight * call.value[edges[number][0], call.key_head(h)]
            if edge_features is not None:
                z[i][h] = z[i][h] + weight * call.features_of(number, h)
    return (
        _stack(out, (num_queries, heads, value_dim), call.value),
        None if edge_features is None else _stack(z, (num_queries, heads, edge_dim), call.query),
        _stack(weights, (len(edges), heads), call.query),
        _stack(lse, (num_queries, heads), call.query) if normalizer == "softmax" else None,
    )


class Call(NamedTuple):
    """What `loop_attention` is given to find scores by; query, key and value in float64."""

    query: Tensor
    key: Tensor
    value: Tensor
    edges: Sequence[tuple[int, int]]
    bias: Tensor | None
    edge_features: Any  # where a score asks for them, they are there
    edge_query: Tensor | None
    scale: float | None
    score: Any

    def key_head(self, h: int) -> int:
        """The key head that query head h reads."""
        return h // (self.query.size(1) // self.key.size(1))

    def scores_of_row(self, i: int, h: int) -> dict[int, Tensor]:
        """By the numbers of the edges of query i, those that no bias takes away."""
        scores = {}
        for number, (_, target) in enumerate(self.edges):
            if target == i:
                offset = self.bias_of_edge(number, h)
                if offset is None or offset != -math.inf:
                    score = self.score_of_edge(number, h)
                    scores[number] = score if offset is None else score + offset.double()
        return scores

    def bias_of_edge(self, number: int, h: int) -> Tensor | None:
        if self.bias is None:
            return None
        return self.bias[number] if self.bias.dim() == 1 else self.bias[number, h]

    def features_of(self, number: int, h: int) -> Tensor:
        """[edge_dim]"""
        own = self.edge_features[number].double()
        return own if own.dim() == 1 else own[h]

    def score_of_edge(self, number: int, h: int) -> Tensor:
        """Scaled, without the bias."""
        j, i = self.edges[number]
        query, key = self.query[i, h], self.key[j, self.key_head(h)]
        if self.score == "dot":
            score = (query * key).sum()
        else:
            function, *parameters = (self.score,) if callable(self.score) else self.score
            own = [x[h * len(x) // self.query.size(1)].double() for x in parameters]
            own += [self.features_of(number, h)] if function in SCORES_OF_EDGES else []
            score = function(query, key, *own)
        if self.edge_query is not None:
            score = score + (self.edge_query[i, h].double() * self.features_of(number, h)).sum()
        if self.scale is None:
            return score * len(query) ** -0.5 if self.score == "dot" else score
        return score * self.scale


SCORES_OF_EDGES: set[Callable[..., Any]] = set()


def sees_features(function: Function) -> Function:
    """Marks a score (query, key, *parameters, features [edge_dim]) -> number."""
    SCORES_OF_EDGES.add(function)
    return function


def log_sum_exp(scores: list[Any]) -> Any:
    largest = max(float(number.detach()) for number in scores)
    return sum((number - largest).exp() for number in scores).log() + largest


def weights_of_row(scores: list[Any], normalizer: Any, h: int) -> list[Any]:
    """The weights of one query and head from the scores of its edges."""
    if not scores:
        return []
    if callable(normalizer):
        return list(normalizer(torch.stack(scores)))
    if isinstance(normalizer, tuple):
        kind, parameter = normalizer
        return ROW_WEIGHTS[kind](scores, parameter if kind == "top_k" else parameter[h].double())
    return ROW_WEIGHTS[normalizer](scores)


def softmax_of_row(scores: list[Any], sink: Any = None) -> list[Any]:
    scores = scores if sink is None else [*scores, sink]
    largest = max(float(number.detach()) for number in scores)
    exponentials = [(number - largest).exp() for number in scores]
    return [number / sum(exponentials) for number in exponentials]


def sparsemax_of_row(scores: list[Any]) -> list[Any]:
    """Martins and Astudillo 2016, algorithm 1."""
    falling = sorted(scores, key=float, reverse=True)
    k = max(k for k in range(1, len(scores) + 1) if 1 + k * falling[k - 1] > sum(falling[:k]))
    threshold = (sum(falling[:k]) - 1) / k
    return [(number - threshold).relu() for number in scores]


def entmax15_of_row(scores: list[Any]) -> list[Any]:
    """The root t of sum of max(score / 2 - t, 0)^2 = 1 by bisection; autograd sees Newton's steps.

    The first has the derivatives of the root, the second those of the second order too.
    """
    halves = [number / 2 for number in scores]
    low, high = max(map(float, halves)) - 1, max(map(float, halves))
    for _ in range(100):
        middle = (low + high) / 2
        total = sum(max(float(number) - middle, 0) ** 2 for number in halves)
        low, high = (middle, high) if total > 1 else (low, middle)
    threshold: Any = low
    for _ in range(2):
        above = [(number - threshold).relu() for number in halves]
        threshold = threshold + (sum(x**2 for x in above) - 1) / sum(2 * x for x in above)
    return [(number - threshold).relu() ** 2 for number in halves]


def top_k_of_row(scores: list[Any], k: int) -> list[Any]:
    least = sorted(map(float, scores), reverse=True)[min(k, len(scores)) - 1]
    kept = [number for number in scores if float(number) >= least]
    weights = iter(softmax_of_row(kept))
    return [next(weights) if float(number) >= least else number * 0 for number in scores]


ROW_WEIGHTS: dict[str, Callable[..., list[Any]]] = {
    "softmax": softmax_of_row,
    "relu": lambda scores: [number.relu() for number in scores],
    "squared_relu": lambda scores: [number.relu() ** 2 for number in scores],
    "sigmoid": lambda scores: [number.sigmoid() for number in scores],
    "identity": lambda scores: scores,
    "sparsemax": sparsemax_of_row,
    "entmax15": entmax15_of_row,
    "top_k": top_k_of_row,
}


def _stack(nested: list[list[Any]], shape: tuple[int, ...], like: Tensor) -> Tensor:
    entries = [entry for row in nested for entry in row]
    return torch.stack(entries).reshape(shape) if entries else like.new_zeros(shape)
