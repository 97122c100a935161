"""What every kernel is given and what it gives back."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Hashable, Iterable, Sequence
from typing import Any, NamedTuple, TypeVar

import torch
from torch import Tensor

from graphattn.formulas.normalizers import Normalizer
from graphattn.formulas.scores import Score
from graphattn.graphs import Graph
from graphattn.graphs.local import Numbers, numbers_at
from graphattn.kernels.facts import Facts, why_not_by_facts

Made = TypeVar("Made")


class Nodes(NamedTuple):
    """What the rows of the tensors are numbered in a larger graph, which dropout is drawn by.

    Of queries and keys each an int from which they go on, or int64 [num_nodes]; and the number of the first head.
    """

    queries: Numbers = 0
    keys: Numbers = 0
    first_head: int = 0


class Plan(NamedTuple):
    """What to compute, apart from the tensors: weights = normalizer(scale * score + bias) over the edges of `graph`."""

    graph: Graph
    score: Score
    normalizer: Normalizer
    scale: float
    dropout: float = 0.0
    seed: Tensor | None = None
    memory_budget: int | None = None  # bytes
    needed: "Needed | None" = None  # the gradients that are asked for; None: all
    has_edge_sum: bool = (
        True  # whether anybody wants the weighted sum of edge features; kernels may give it all the same
    )
    edge_query_is_query: bool = (
        False  # one tensor is both: the gradient of `query` may then be that of both, and the other None
    )
    value_is_key: bool = False  # likewise, in the gradient of `key`
    is_final: bool = False  # the result goes to the caller as it is, with no part to merge and no gradient to come
    memory: dict[Hashable, Any] | None = None  # see `remember`
    nodes: Nodes | None = None  # where they are some of a larger graph

    def remember(self, name: Hashable, build: Callable[[], Made]) -> Made:
        """What `build()` made the first time that this graph was asked for with tensors of these shapes and these options.

        It must hold neither the graph nor a number of the tensors. Where nothing can be remembered it is made each time.
        """
        if self.memory is None:
            return build()
        if name not in self.memory:
            self.memory.setdefault(name, build())
        return self.memory[name]

    def numbered(self, query: Tensor, key: Tensor) -> tuple[Tensor, Tensor]:
        """The numbers of queries and keys that dropout is drawn by."""
        if self.nodes is None:
            return query, key
        return numbers_at(self.nodes.queries, query), numbers_at(self.nodes.keys, key)

    @property
    def first_head(self) -> int:
        """The number of the first head, for dropout."""
        return 0 if self.nodes is None else self.nodes.first_head

    def over(self, graph: Graph) -> "Plan":
        """The same over a part of the graph."""
        return self if graph is self.graph else self.apart()._replace(graph=graph, is_final=False, memory=None)

    def apart(self) -> "Plan":
        """The same where each tensor has a gradient of its own, as parts want it, whose gradients are added up one by one."""
        return self._replace(edge_query_is_query=False, value_is_key=False)


class Inputs(NamedTuple):
    """The differentiable tensors; None where there is none.

    Shapes:
        - query: [num_queries, heads, dim]
        - key: [num_keys, kv_heads, dim]; value: [num_keys, kv_heads, value_dim]
        - bias: [num_edges, heads or 1]
        - edge_features: [num_edges, edge_dim], or [num_edges, heads, edge_dim] for each head its own
        - edge_query: [num_queries, heads, edge_dim]
        - parameters of the score: [heads, ...] each
        - bias_by_offset: [num_offsets, heads], a row for each of `offsets_of(graph)`, in the place of a bias of edges
    """

    query: Tensor
    key: Tensor
    value: Tensor
    bias: Tensor | None = None
    edge_features: Tensor | None = None
    edge_query: Tensor | None = None
    parameters: tuple[Tensor, ...] = ()
    bias_by_offset: Tensor | None = None

    def each(self, change: Callable[[Tensor], Tensor]) -> "Inputs":
        """The same fields, each tensor changed."""

        def changed(x: Tensor | None) -> Tensor | None:
            return None if x is None else change(x)

        nodes = change(self.query), change(self.key), change(self.value)
        per_edge = changed(self.bias), changed(self.edge_features), changed(self.edge_query)
        return Inputs(*nodes, *per_edge, tuple(change(x) for x in self.parameters), changed(self.bias_by_offset))


class Gradients(NamedTuple):
    """Of `Inputs`, field by field; None where nothing is asked for, or where there is no such tensor."""

    query: Tensor | None = None
    key: Tensor | None = None
    value: Tensor | None = None
    bias: Tensor | None = None
    edge_features: Tensor | None = None
    edge_query: Tensor | None = None
    parameters: tuple[Tensor | None, ...] = ()
    bias_by_offset: Tensor | None = None

    @classmethod
    def of(cls, fields: Iterable[Tensor | None], parameters: tuple[Tensor | None, ...] = ()) -> "Gradients":
        """Of the six fields that are no parameters, in their order."""
        query, key, value, bias, edge_features, edge_query = fields
        return cls(query, key, value, bias, edge_features, edge_query, parameters)


class Needed(NamedTuple):
    """Of which of `Inputs` the gradient is asked for."""

    query: bool = True
    key: bool = True
    value: bool = True
    bias: bool = True
    edge_features: bool = True
    edge_query: bool = True
    parameters: tuple[bool, ...] = ()
    bias_by_offset: bool = True


class Partial(NamedTuple):
    """A result over some of a query's edges; two of them merge into one (see parts.py).

    Shapes:
        - out: [num_queries, heads, value_dim], sum of weight * value
        - lse: [num_queries, heads], log of the sum of exp(score); -inf for an empty row
        - edge_out: [num_queries, heads, edge_dim], sum of weight * edge feature; None where there are none

    In the dtype of the query, or in that of sums over it: float32 for half precision, in which parts are merged with less error.
    """

    out: Tensor
    lse: Tensor
    edge_out: Tensor | None = None

    @classmethod
    def gradient(cls, out: Tensor, edge_out: Tensor | None) -> "Partial":
        """Gradients of the results; the log-sum-exp has none."""
        nothing: Any = None
        return cls(out, nothing, edge_out)

    def each(self, change: Callable[[Tensor], Tensor]) -> "Partial":
        """The same fields, each tensor changed."""
        lse = None if self.lse is None else change(self.lse)  # a gradient has none
        return Partial(change(self.out), lse, None if self.edge_out is None else change(self.edge_out))


class Kernel(Facts, ABC):
    """One way to compute attention over a graph, equal to every other way up to rounding. It declares what it supports: `Facts`."""

    def why_not(self, plan: Plan, inputs: Inputs) -> str | None:
        """The sentence that says why this kernel cannot run, or None if it can."""
        return why_not_by_facts(self, plan, inputs) or self.why_not_here(plan, inputs)

    def why_not_here(self, plan: Plan, inputs: Inputs) -> str | None:
        """Such a sentence about what facts do not tell: sizes, a library that is missing. Asked where all facts fit."""
        return None

    def spreads_nan(self, plan: Plan) -> bool:
        """Whether NaN and infinity of hidden keys would reach queries near them, so that all keys must be finite."""
        return False

    @abstractmethod
    def forward(self, plan: Plan, inputs: Inputs) -> Partial:
        """Attention over the edges of `plan.graph`."""

    @abstractmethod
    def backward(self, plan: Plan, inputs: Inputs, merged: Partial, grad: Partial) -> Inputs | Gradients:
        """Gradients of `inputs` over the edges of `plan.graph`, which may be one part of a larger graph.

        Args:
            merged: The result over all parts.
            grad: Gradients of `merged.out` and `merged.edge_out`, in the dtype of the query or that of sums.
        """


def count_edges(graph: Graph) -> int:
    """`graph.num_edges`, counted once: a ragged band takes microseconds for each example."""
    return graph.remember("number of edges", lambda: graph.num_edges)


def delta_of(merged: Partial, grad: Partial) -> Tensor:
    """[num_queries, heads], the sum of grad * merged over channels: delta of Dao et al. 2022 (FlashAttention, algorithm 4)."""

    def sum_of_products(x: Tensor, y: Tensor) -> Tensor:
        dtype = accumulation_dtype(x.dtype)
        return (x.to(dtype) * y.to(dtype)).sum(-1)

    delta = sum_of_products(grad.out, merged.out)
    if merged.edge_out is None or grad.edge_out is None:
        return delta
    return delta + sum_of_products(grad.edge_out, merged.edge_out)


def accumulation_dtype(dtype: torch.dtype) -> torch.dtype:
    """Sums are kept in float32 for half precision, in the input's own precision otherwise."""
    return torch.float32 if dtype in (torch.float16, torch.bfloat16) else dtype


def by_head(features: Tensor) -> Tensor:
    """Edge features as [num_edges, heads or 1, edge_dim]."""
    return features if features.dim() == 3 else features[:, None]


def sum_to_groups(per_head: Tensor, kv_heads: int) -> Tensor:
    """[n, heads, dim] -> [n, kv_heads, dim]: adds the heads that share a key head."""
    return per_head.unflatten(1, (kv_heads, -1)).sum(2) if per_head.size(1) != kv_heads else per_head


def spread_to_heads(per_group: Tensor, heads: int) -> Tensor:
    """[n, kv_heads, dim] -> [n, heads, dim]: head h reads key head h // (heads / kv_heads)."""
    kv_heads = per_group.size(1)
    return per_group.repeat_interleave(heads // kv_heads, 1) if kv_heads != heads else per_group


def edge_dim_first(parameters: Sequence[Tensor]) -> tuple[Tensor, ...]:
    """Parameters of a score with the edge weight as [edge_dim, heads, dim], the order in which loops read it."""
    return (*parameters[:1], *(x.permute(2, 0, 1) for x in parameters[1:]))


def edge_dim_last(parameters: Sequence[Tensor]) -> tuple[Tensor, ...]:
    """The way back: the edge weight as [heads, dim, edge_dim]."""
    return (*parameters[:1], *(x.permute(1, 2, 0) for x in parameters[1:]))
