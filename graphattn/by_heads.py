"""Attention with another graph for each head: groups of heads, each on the kernel of its graph."""

from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor

from graphattn.graphs import Graph
from graphattn.graphs.per_head import PerHead, groups_of_same
from graphattn.kernels.normalizers import as_normalizer
from graphattn.kernels.scores import as_score

PER_EDGE = ("bias", "edge_features")


def attend_by_heads(attend: Callable, query: Tensor, key: Tensor, value: Tensor, graph: PerHead, **options):
    """`attend` for each group of heads that share a graph and what is given per edge; results in the order of the heads."""
    results, order = [], []
    for some, heads, its_graph, its_options in groups(query, graph, options):
        tensors = (query.index_select(-2, heads), *(keys_of(x, heads, query.size(-2)) for x in (key, value)))
        result = attend(*tensors, its_graph, **its_options)
        results.append(result if isinstance(result, tuple) else (result,))
        order += some
    back = torch.tensor(order, device=query.device).argsort()
    joined = tuple(torch.cat(parts, -2).index_select(-2, back) for parts in zip(*results))
    return joined if len(joined) > 1 else joined[0]


def weights_by_heads(
    attention_weights: Callable, query: Tensor, key: Tensor, graph: PerHead, **options
) -> list[Tensor]:
    """`attention_weights` of each head: [num_edges] of its graph."""
    found: list[Tensor] = [None] * query.size(-2)
    for some, heads, its_graph, its_options in groups(query, graph, options):
        tensors = query.index_select(-2, heads), keys_of(key, heads, query.size(-2))
        weights = attention_weights(*tensors, its_graph, **its_options)
        for head, its_weights in zip(some, weights.unbind(1)):
            found[head] = its_weights
    return found


def groups(
    query: Tensor, graph: PerHead, options: dict[str, Any]
) -> Iterator[tuple[list[int], Tensor, Graph, dict[str, Any]]]:
    """(heads, also as a tensor, their graph, their options): tensors of all heads cut to some, lists to their one entry."""
    num_heads = query.size(-2)
    check(graph, num_heads, options)
    given = [options.get(name) for name in PER_EDGE]
    members = groups_of_same(zip(graph.graphs, *(x if isinstance(x, (list, tuple)) else [x] * num_heads for x in given)))
    for some in members:
        heads = torch.tensor(some, device=query.device)
        yield some, heads, graph.graphs[some[0]], options_of(options, heads, some[0], len(members) == 1)


def options_of(options: dict[str, Any], heads: Tensor, first: int, are_all: bool) -> dict[str, Any]:
    own = dict(options)
    for name in PER_EDGE:
        own[name] = own[name][first] if isinstance(own.get(name), (list, tuple)) else own.get(name)
    if are_all:
        return own
    rule = own["bias"]
    if rule is not None:
        own["bias"] = (lambda graph: of_heads(rule(graph), heads)) if callable(rule) else of_heads(rule, heads)
    if own.get("edge_query") is not None:
        own["edge_query"] = own["edge_query"].index_select(-2, heads)
    own["score"] = as_score(own.get("score", "dot")).at_heads(heads)
    own["normalizer"] = as_normalizer(own.get("normalizer", "softmax")).of_sink(lambda sink: sink[heads])
    return own


def of_heads(bias: Tensor, heads: Tensor) -> Tensor:
    """[num_edges], or some columns of [num_edges, all heads]; a single column is shared."""
    return bias if bias.dim() == 1 or bias.size(1) == 1 else bias[:, heads]


def keys_of(x: Tensor, heads: Tensor, num_heads: int) -> Tensor:
    """The keys or values of some heads, one for each: head h reads key head h // (heads / kv_heads)."""
    return x.index_select(-2, heads * x.size(-2) // num_heads)


def check(graph: PerHead, num_heads: int, options: dict[str, Any]) -> None:
    if len(graph) != num_heads:
        raise ValueError(f"a PerHead has one graph for each head (got {len(graph)} graphs and {num_heads} heads)")
    for name in PER_EDGE:
        given = options.get(name)
        if isinstance(given, Tensor):
            raise ValueError(f"'{name}' beside a PerHead is a list with one entry for each head (got a tensor)")
        if isinstance(given, (list, tuple)) and len(given) != num_heads:
            raise ValueError(f"'{name}' must have one entry for each of {num_heads} heads (got {len(given)})")
