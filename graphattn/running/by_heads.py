"""Attention with another graph for each head: groups of heads, each on the kernel of its graph."""

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import torch
from torch import Tensor

from graphattn.formulas.normalizers import as_normalizer
from graphattn.formulas.scores import as_score
from graphattn.graphs import Graph
from graphattn.graphs.per_head import PerHead, groups_of_same
from graphattn.kernels.choose import Choice
from graphattn.running.arguments import check_places

PER_EDGE = ("bias", "edge_features")


def attend_by_heads(
    attend: Callable[..., Any], query: Tensor, key: Tensor, value: Tensor, graph: PerHead, **options: Any
) -> Any:
    """`attend` for each group of heads that share a graph and what is given per edge; results in the order of the heads."""
    results, order = [], []
    for group in groups((query, key, value), graph, options):
        result = attend(*group.tensors, group.graph, **group.options)
        results.append(result if isinstance(result, tuple) else (result,))
        order += group.heads
    back = torch.tensor(order, device=query.device).argsort()
    joined = tuple(torch.cat(parts, -2).index_select(-2, back) for parts in zip(*results))
    return joined if len(joined) > 1 else joined[0]


def per_edge_by_heads(
    function: Callable[..., Any], query: Tensor, key: Tensor, graph: PerHead, edges: Any = None, **options: Any
) -> list[Tensor]:
    """`attention_weights` or `attention_scores` of each head: [num_edges] of its graph, or those at its places `edges`."""
    found: dict[int, Tensor] = {}
    for group in groups((query, key), graph, options):
        numbers = function(*group.tensors, group.graph, **group.options)
        for head, of_head in zip(group.heads, numbers.unbind(1)):
            places = edges[head] if isinstance(edges, (list, tuple)) else edges
            found[head] = of_head if places is None else of_head[check_places(places, len(of_head))]
    return [found[head] for head in range(query.size(-2))]


def choice_by_heads(
    choose_kernel: Callable[..., Choice], query: Tensor, key: Tensor, value: Tensor, graph: PerHead, **options: Any
) -> Choice:
    """The kernels of all groups of heads, joined as those of parts are, and all their refusals."""
    names: list[str] = []
    refusals: dict[str, str] = {}
    for group in groups((query, key, value), graph, options):
        choice = choose_kernel(group.graph, *group.tensors, **group.options)
        names += [name for name in choice.kernel.split(" + ") if name not in names]
        refusals |= choice.refusals
    return Choice(" + ".join(names), refusals)


def sums_by_heads(weighted_sum: Callable, weights: Any, value: Tensor, graph: PerHead) -> Tensor:
    """`weighted_sum` of each head over its own graph, with weights [num_edges] of its own."""
    if not isinstance(weights, (list, tuple)) or len(weights) != len(graph):
        got = f"{len(weights)} entries" if isinstance(weights, (list, tuple)) else type(weights).__name__
        raise ValueError(
            f"'weights' beside a PerHead is a list with one entry for each of {len(graph)} heads (got {got})"
        )
    if len(graph) % max(value.size(1), 1):
        raise ValueError(f"{len(graph)} heads must be a multiple of kv_heads (got value {list(value.shape)})")
    results, order = [], []
    for some in groups_of_same(zip(graph.graphs)):
        for head in some:
            if not isinstance(weights[head], Tensor) or weights[head].dim() != 1:
                own = weights[head]
                got = str(list(own.shape)) if isinstance(own, Tensor) else type(own).__name__
                raise ValueError(f"'weights' of head {head} must be a tensor [num_edges] (got {got})")
        heads = torch.tensor(some, device=value.device)
        own = torch.stack([weights[head] for head in some], 1)
        results.append(weighted_sum(own, keys_of(value, heads, len(graph)), graph.graphs[some[0]]))
        order += some
    return torch.cat(results, 1).index_select(1, torch.tensor(order, device=value.device).argsort())


class Group(NamedTuple):
    """Heads that share a graph and what is given per edge."""

    heads: list[int]
    tensors: tuple[Tensor, ...]  # query, key and perhaps value, of these heads
    graph: Graph
    options: dict[str, Any]  # tensors of all heads cut to these, lists to their one entry


def groups(tensors: tuple[Tensor, ...], graph: PerHead, options: dict[str, Any]) -> Iterator[Group]:
    """The groups of heads for `tensors`, query and key or query, key and value, of all heads."""
    query, *keys = tensors
    num_heads = query.size(-2)
    check(graph, num_heads, options)
    given = [options.get(name) for name in PER_EDGE]
    members = groups_of_same(
        zip(graph.graphs, *(x if isinstance(x, (list, tuple)) else [x] * num_heads for x in given))
    )
    for some in members:
        heads = torch.tensor(some, device=query.device)
        own = (query.index_select(-2, heads), *(keys_of(x, heads, num_heads) for x in keys))
        yield Group(some, own, graph.graphs[some[0]], options_of(options, heads, some[0], len(members) == 1))


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
    if "normalizer" in own:
        own["normalizer"] = as_normalizer(own["normalizer"]).of_sink(lambda sink: sink[heads])
    return own


def of_heads(bias: Tensor, heads: Tensor) -> Tensor:
    """[num_edges], or some columns of [num_edges, all heads]; a single column is shared."""
    return bias if bias.dim() == 1 or bias.size(1) == 1 else bias[:, heads]


def keys_of(x: Tensor, heads: Tensor, num_heads: int) -> Tensor:
    """The keys or values of some heads, one for each: head h reads key head h // (heads / kv_heads). Of all, as they are."""
    if len(heads) == num_heads:
        return x
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
