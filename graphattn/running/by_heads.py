"""Attention with another graph for each head: groups of heads, each on the kernel of its graph."""

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple, TypeVar

import torch
from torch import Tensor

from graphattn.formulas.normalizers import as_normalizer
from graphattn.formulas.scores import Custom, as_score
from graphattn.graphs import Graph
from graphattn.graphs.convert import GraphLike
from graphattn.graphs.per_head import PerHead, groups_of_same
from graphattn.kernels.choose import Choice
from graphattn.running.arguments import BiasLike, Options, check_places

PER_EDGE = ("bias", "edge_features")
Result = TypeVar("Result")


class Group(NamedTuple):
    """Heads that share a graph and what is given per edge."""

    heads: list[int]
    tensors: tuple[
        Tensor, ...
    ]  # query, key and perhaps value, of these heads, or of all where the score sees all together
    graph: Graph
    options: Options  # tensors of all heads cut to these, sequences to their one entry


def over_heads(
    function: Callable[..., Result],
    join: Callable[[list[tuple[list[int], Result]]], Any],
    tensors: tuple[Tensor, ...],
    graph: GraphLike | PerHead,
    options: Options,
) -> Any:
    """function(*tensors, graph, options), of a PerHead for each group of heads that share a graph.

    Args:
        function: of `tensors`, a graph of one kind for all of their heads, and options.
        join: of the places and the result of each group, in any order.
        tensors: query and key, or query, key and value, of all heads.
    """
    if not isinstance(graph, PerHead):
        return function(*tensors, graph, options)
    found = [
        (group.heads, function(*group.tensors, group.graph, group.options)) for group in groups(tensors, graph, options)
    ]
    return join(found)


def join_heads(found: list[tuple[list[int], Any]]) -> Any:
    """Results [..., heads, dim] of some heads or of all, or pairs of them, as one, in the order of the heads."""
    results = [
        tuple(of_these(x, heads, -2) for x in (result if isinstance(result, tuple) else (result,)))
        for heads, result in found
    ]
    back = torch.tensor([head for heads, _ in found for head in heads], device=results[0][0].device).argsort()
    joined = tuple(torch.cat(parts, -2).index_select(-2, back) for parts in zip(*results))
    return joined if len(joined) > 1 else joined[0]


def list_heads(found: list[tuple[list[int], Tensor]]) -> list[Tensor]:
    """Results [num_edges, heads] of some heads or of all as a list: [num_edges] of each head."""
    of_head = {head: own for heads, result in found for head, own in zip(heads, of_these(result, heads, 1).unbind(1))}
    return [of_head[head] for head in range(len(of_head))]


def of_these(x: Tensor, heads: list[int], axis: int) -> Tensor:
    """The numbers of some heads, where those of all came out."""
    if x.size(axis) == len(heads):
        return x
    return x.index_select(axis, torch.tensor(heads, device=x.device))


def join_choices(found: list[tuple[list[int], Choice]]) -> Choice:
    """The kernels of all groups, joined as those of parts are, and all their refusals."""
    names = dict.fromkeys(name for _, choice in found for name in choice.kernel.split(" + "))
    return Choice(" + ".join(names), {name: why for _, choice in found for name, why in choice.refusals.items()})


def at_places(numbers: Tensor | list[Tensor], edges: Any) -> Any:
    """[num_edges, heads], or a list with [num_edges] of each head, at the places `edges`, which may be a sequence beside a list."""
    if edges is None:
        return numbers
    if isinstance(numbers, Tensor):
        return numbers[check_places(edges, len(numbers))]
    own = edges if isinstance(edges, (list, tuple)) else [edges] * len(numbers)
    if len(own) != len(numbers):
        raise ValueError(f"'edges' must have one entry for each of {len(numbers)} heads (got {len(own)})")
    return [x if places is None else x[check_places(places, len(x))] for x, places in zip(numbers, own, strict=True)]


def sums_by_heads(weighted_sum: Callable, weights: Any, value: Tensor, graph: PerHead) -> Tensor:
    """`weighted_sum` of each head over its own graph, with weights [num_edges] of its own."""
    if not isinstance(weights, (list, tuple)) or len(weights) != len(graph):
        got = f"{len(weights)} entries" if isinstance(weights, (list, tuple)) else type(weights).__name__
        raise ValueError(
            f"'weights' beside a PerHead is a list with one entry for each of {len(graph)} heads (got {got})"
        )
    if len(graph) % max(value.size(1), 1):
        raise ValueError(f"{len(graph)} heads must be a multiple of kv_heads (got value {list(value.shape)})")
    found = []
    for some in groups_of_same(zip(graph.graphs)):
        for head in some:
            if not isinstance(weights[head], Tensor) or weights[head].dim() != 1:
                own = weights[head]
                got = str(list(own.shape)) if isinstance(own, Tensor) else type(own).__name__
                raise ValueError(f"'weights' of head {head} must be a tensor [num_edges] (got {got})")
        heads = torch.tensor(some, device=value.device)
        own = torch.stack([weights[head] for head in some], 1)
        found.append((some, weighted_sum(own, keys_of(value, heads, len(graph)), graph.graphs[some[0]])))
    return join_heads(found)


def groups(tensors: tuple[Tensor, ...], graph: PerHead, options: Options) -> Iterator[Group]:
    """The groups of heads for `tensors`, query and key or query, key and value, of all heads."""
    query, *keys = tensors
    num_heads = query.size(-2)
    check(graph, num_heads, options)
    given = [getattr(options, name) for name in PER_EDGE]
    rows = zip(graph.graphs, *(x if isinstance(x, (list, tuple)) else [x] * num_heads for x in given))
    members = groups_of_same(rows)
    sees_all = isinstance(as_score(options.score), Custom)  # heads cannot be cut: each group is asked for all of them
    for some in members:
        heads = torch.tensor(some, device=query.device)
        if sees_all:
            yield Group(some, tensors, graph.graphs[some[0]], options_of_heads(options, heads, some[0], are_all=True))
            continue
        own = (query.index_select(-2, heads), *(keys_of(x, heads, num_heads) for x in keys))
        yield Group(some, own, graph.graphs[some[0]], options_of_heads(options, heads, some[0], len(members) == 1))


def options_of_heads(options: Options, heads: Tensor, first: int, are_all: bool) -> Options:
    for name in PER_EDGE:
        given = getattr(options, name)
        if isinstance(given, (list, tuple)):
            options = options._replace(**{name: given[first]})
    if are_all:
        return options
    rule, edge_query = options.bias, options.edge_query
    if isinstance(rule, Tensor):
        bias: BiasLike = of_heads(rule, heads)
    else:
        bias = None if rule is None else lambda graph: of_heads(rule(graph), heads)
    return options._replace(
        bias=bias,
        edge_query=None if edge_query is None else edge_query.index_select(-2, heads),
        score=as_score(options.score).at_heads(heads),
        normalizer=as_normalizer(options.normalizer).of_sink(lambda sink: sink[heads]),
    )


def of_heads(bias: Tensor, heads: Tensor) -> Tensor:
    """[num_edges], or some columns of [num_edges, all heads]; a single column is shared."""
    return bias if bias.dim() == 1 or bias.size(1) == 1 else bias[:, heads]


def keys_of(x: Tensor, heads: Tensor, num_heads: int) -> Tensor:
    """The keys or values of some heads, one for each: head h reads key head h // (heads / kv_heads). Of all, as they are."""
    if len(heads) == num_heads:
        return x
    return x.index_select(-2, heads * x.size(-2) // num_heads)


def check(graph: PerHead, num_heads: int, options: Options) -> None:
    if len(graph) != num_heads:
        raise ValueError(f"a PerHead has one graph for each head (got {len(graph)} graphs and {num_heads} heads)")
    for name in PER_EDGE:
        given = getattr(options, name)
        if isinstance(given, Tensor):
            raise ValueError(f"'{name}' beside a PerHead is a list with one entry for each head (got a tensor)")
        if isinstance(given, (list, tuple)) and len(given) != num_heads:
            raise ValueError(f"'{name}' must have one entry for each of {num_heads} heads (got {len(given)})")
