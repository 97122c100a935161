"""Attention by plain loops in float64, which shares no code with kernels: what they are tested against."""

import math
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

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
        normalizer: 'softmax', ('softmax', sink [heads]), ('top_k', k) or one of ROW_WEIGHTS.
        score: 'dot', or a function (query [dim], key [dim], *parameters of one head) -> number together with its parameters,
            `(function, *parameters)`, each [heads, ...] or [kv_heads, ...]; one of SCORES_OF_EDGES gets the edge's features too.
        kv_heads: checked against `key` if given.

    Returns:
        out `[num_queries, heads, value_dim]`, z `[num_queries, heads, edge_dim]` (the features by the same weights)
        or None, weights `[num_edges, heads]`, lse `[num_queries, heads]` (None unless softmax). Queries without
        edges: out 0, z 0, lse -inf.
    """
    query, key, value = (tensor.double() for tensor in (query, key, value))
    features: Any = edge_features  # where scores ask for them, they are there
    num_queries, heads, dim = query.shape
    assert kv_heads in (None, key.size(1))
    shared = heads // key.size(1)  # query heads that read the same key head
    if scale is None:
        scale = dim**-0.5 if score == "dot" else 1.0
    zero = query.new_zeros(())
    minus_infinity = query.new_full((), -math.inf)

    out = [[value.new_zeros(value.size(2)) for _ in range(heads)] for _ in range(num_queries)]
    edge_dim = 0 if edge_features is None else edge_features.size(1)
    z = [[query.new_zeros(edge_dim) for _ in range(heads)] for _ in range(num_queries)]
    weights = [[zero for _ in range(heads)] for _ in edges]
    lse = [[minus_infinity for _ in range(heads)] for _ in range(num_queries)]

    for i in range(num_queries):
        row = [number for number, edge in enumerate(edges) if edge[1] == i]
        for h in range(heads):
            scores, kept = [], []
            for number in row:
                j = edges[number][0]
                if score == "dot":
                    product = (query[i, h] * key[j, h // shared]).sum()
                else:
                    function, *parameters = score
                    own = [x[h * len(x) // heads].double() for x in parameters]
                    own += [features[number].double()] if function in SCORES_OF_EDGES else []
                    product = function(query[i, h], key[j, h // shared], *own)
                if edge_query is not None:
                    product = product + (edge_query[i, h].double() * features[number].double()).sum()
                product = product * scale
                if bias is not None:
                    offset = bias[number] if bias.dim() == 1 else bias[number, h]
                    if offset == -math.inf:
                        continue
                    product = product + offset.double()
                scores.append(product)
                kept.append(number)
            if not kept:
                continue
            if normalizer == "softmax":
                largest = max(float(number.detach()) for number in scores)
                lse[i][h] = sum(((number - largest).exp() for number in scores), zero).log() + largest
            if isinstance(normalizer, tuple):
                kind, parameter = normalizer
                row_weights = ROW_WEIGHTS[kind](scores, parameter if kind == "top_k" else parameter[h].double())
            else:
                row_weights = ROW_WEIGHTS[normalizer](scores)
            for number, weight in zip(kept, row_weights):
                weights[number][h] = weight
                out[i][h] = out[i][h] + weight * value[edges[number][0], h // shared]
                if edge_features is not None:
                    z[i][h] = z[i][h] + weight * edge_features[number].double()

    return (
        _stack(out, (num_queries, heads, value.size(2)), value),
        None if edge_features is None else _stack(z, (num_queries, heads, edge_dim), query),
        _stack(weights, (len(edges), heads), query),
        _stack(lse, (num_queries, heads), query) if normalizer == "softmax" else None,
    )


SCORES_OF_EDGES: set[Callable[..., Any]] = set()


def sees_features(function: Function) -> Function:
    """Marks a score (query, key, *parameters, features [edge_dim]) -> number."""
    SCORES_OF_EDGES.add(function)
    return function


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
    """The root of sum of max(score / 2 - t, 0)^2 = 1 by bisection, then Newton's step in t so that autograd sees it."""
    halves = [number / 2 for number in scores]
    low, high = max(map(float, halves)) - 1, max(map(float, halves))
    for _ in range(100):
        middle = (low + high) / 2
        total = sum(max(float(number) - middle, 0) ** 2 for number in halves)
        low, high = (middle, high) if total > 1 else (low, middle)
    slope = sum(2 * max(float(number) - low, 0) for number in halves)
    threshold = low + (sum((number - low).relu() ** 2 for number in halves) - 1) / slope
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
