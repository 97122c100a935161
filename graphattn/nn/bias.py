"""Biases of the scores that depend on where query and key are."""

import math
from abc import abstractmethod
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar

import torch
from torch import Tensor
from torch.nn import Parameter
from typing_extensions import Self

from graphattn.formulas.offsets import OffsetRule, offsets_of
from graphattn.graphs import Graph, as_graph
from graphattn.graphs.sizes import parse_integer
from graphattn.graphs.spread import SpreadGraph
from graphattn.nn.positions.coordinates import difference, positions_of
from graphattn.running.arguments import bias_of


class Bias(torch.nn.Module, OffsetRule):
    """A rule (position of the query, position of the key) -> a number for each head, added to the scaled scores.

    It is given as `bias=` to `attend` or as `edge_bias=` to `GraphAttention`. Nothing is computed but the edges:
    num_edges * heads numbers; by `attend` on complete graphs, bands and grids one for each offset and head, where the rule is
    one of key - query alone (`is_relative`). Positions are indices inside the example (coordinates on a grid); `at(pos)`
    takes others.

    Args:
        heads: Number of attention heads.

    Shapes:
        - graph: a Graph, or what `as_graph` takes and tells its numbers of nodes, such as a list of graphs
        - pos: [num_nodes] or [num_nodes, axes], or a pair (of keys, of queries)
        - output: [num_edges, heads], in the order of `graph.edge_index()`
    """

    is_relative: ClassVar[bool] = False  # rule(query, key) = rule(0, key - query)

    def __init__(self, heads: int):
        super().__init__()
        self.heads = parse_integer("heads", heads, minimum=1)

    @property
    @abstractmethod
    def device(self) -> torch.device: ...

    @abstractmethod
    def rule(self, query: Tensor, key: Tensor) -> Tensor:
        """[..., axes] and [..., axes] -> [..., heads]."""

    def forward(self, graph: Graph, pos: Tensor | tuple[Tensor, Tensor] | None = None) -> Tensor:
        graph = as_graph(graph)
        key, query = graph.edge_index(self.device)
        key_pos, query_pos = positions_of(graph, pos, self.device)
        return self.rule(query_pos[query], key_pos[key])

    if TYPE_CHECKING:
        __call__ = forward

    def by_offset(self, offsets: Tensor) -> Tensor | None:
        offsets = offsets.to(self.device)
        return self.rule(torch.zeros_like(offsets), offsets) if self.is_relative else None

    def at(self, pos: Tensor | tuple[Tensor, Tensor]) -> Callable[[Graph], Tensor]:
        """The bias for nodes at `pos`, as a rule graph -> [num_edges, heads]."""
        return partial(self, pos=pos)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.heads})"


def bias_of_layer(own: Bias | None, given: Any, graph: Graph, pos: Any = None) -> Tensor | OffsetRule | None:
    """`total_bias`, or the one rule there is, for `attend` to take as a few numbers on a graph of few offsets."""
    if isinstance(graph, SpreadGraph):
        return bias_of_parts(own, given, graph, pos)
    rule = given if own is None else own
    is_only = own is None or (given is None and pos is None)
    if is_only and isinstance(rule, OffsetRule) and offsets_of(graph) is not None:
        return rule
    return total_bias(own, given, graph, pos)


def bias_of_parts(own: Bias | None, given: Any, graph: SpreadGraph, pos: Any) -> Any:
    """The same on a graph whose keys lie with other processes: a rule that is asked of the edges of each part, or one number for
    each own edge where positions or a tensor are given."""
    if own is None and pos is None:
        return given
    if own is not None and given is None and pos is None:
        return own
    if own is not None and pos is not None:
        key_pos, query_pos = positions_of(graph, pos, own.device)
        local, key_pos = graph.local(), graph.fetch(key_pos)[0]
        return total_bias(own, given, local, (key_pos, query_pos))
    return total_bias(own, given, graph.local()) if isinstance(given, Tensor) else partial(total_bias, own, given)


def total_bias(own: Bias | None, given: Any, graph: Graph, pos: Any = None) -> Tensor | None:
    """The sum of a module's own bias and the given one (a tensor or a rule): [num_edges, heads or 1], or None."""
    both = (None if own is None else own(graph, pos), bias_of(given, graph))
    terms: list[Any] = [bias[:, None] if bias.dim() == 1 else bias for bias in both if bias is not None]
    return sum(terms) if terms else None


class ALiBi(Bias):
    """Minus the distance of query and key times a fixed slope for each head (Press et al. 2022).

    The slopes are 2^(-8 h / heads) for h = 1 .. heads; where heads is no power of two, those of the next lower power,
    then every other one of the next higher (as in the authors' code). On several axes the distance is Euclidean.

    Example:
        >>> from graphattn import causal
        >>> ALiBi(2)(causal(100)).shape
        torch.Size([5050, 2])
        >>> ALiBi(2).rule(torch.tensor([5]), torch.tensor([[1], [4]]))  # a query at 5, keys at 1 and 4
        tensor([[-0.2500, -0.0156],
                [-0.0625, -0.0039]])
    """

    is_relative = True
    slopes: Tensor  # [heads]

    def __init__(self, heads: int):
        super().__init__(heads)
        dtype = torch.promote_types(torch.get_default_dtype(), torch.float32)
        self.register_buffer("slopes", torch.tensor(alibi_slopes(heads), dtype=dtype), persistent=False)

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Self:
        """Half precision, which cannot tell distance 300 from 301, stops before the slopes."""
        before = self.slopes.dtype
        super()._apply(fn, recurse)
        if self.slopes.dtype != before:
            dtype = torch.promote_types(self.slopes.dtype, torch.float32)
            self.slopes = torch.tensor(alibi_slopes(self.heads), dtype=dtype, device=self.slopes.device)
        return self

    @property
    def device(self) -> torch.device:
        return self.slopes.device

    def rule(self, query: Tensor, key: Tensor) -> Tensor:
        apart = difference(key, query)
        apart = apart if apart.is_floating_point() else apart.to(self.slopes.dtype)
        return -torch.linalg.vector_norm(apart, dim=-1, keepdim=True).to(self.slopes.dtype) * self.slopes


def alibi_slopes(heads: int) -> list[float]:
    """
    >>> alibi_slopes(3)
    [0.0625, 0.00390625, 0.25]
    """
    lower = 2 ** int(math.log2(heads))
    slopes = [2 ** (-8 * h / lower) for h in range(1, lower + 1)]
    return slopes + [2 ** (-4 * h / lower) for h in range(1, 2 * (heads - lower), 2)]


class RelativeBias(Bias):
    """One learned number for each head and each offset key - query (Shaw et al. 2018 clip it so; Liu et al. 2021, Swin).

    On several axes there is one number for each tuple of offsets: (2 * max_distance + 1)^axes of them.

    Args:
        heads: Number of attention heads.
        max_distance: Offsets are clipped to -max_distance .. max_distance on each axis, an int or one per axis.
        axes: Number of axes, if `max_distance` is an int.

    Raises:
        ValueError: if positions have another number of axes.

    Example:
        >>> from graphattn import BandedGraph, GridGraph
        >>> RelativeBias(4, 8)(BandedGraph(100, 8, 8)).shape
        torch.Size([1628, 4])
        >>> RelativeBias(4, 3, axes=2)(GridGraph((5, 6), 3)).shape
        torch.Size([690, 4])
    """

    is_relative = True

    def __init__(self, heads: int, max_distance: int | tuple[int, ...], axes: int = 1):
        super().__init__(heads)
        distances = max_distance if isinstance(max_distance, (tuple, list)) else (max_distance,) * axes
        self.max_distance = tuple(parse_integer("max_distance", distance) for distance in distances)
        self.table = Parameter(torch.empty(math.prod(2 * d + 1 for d in self.max_distance), heads))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        torch.nn.init.normal_(self.table, std=0.02)

    @property
    def device(self) -> torch.device:
        return self.table.device

    def rule(self, query: Tensor, key: Tensor) -> Tensor:
        if query.size(-1) != len(self.max_distance):
            raise ValueError(f"positions must have {len(self.max_distance)} axes (got {query.size(-1)})")
        apart = difference(key, query)
        apart = apart.round().long() if apart.is_floating_point() else apart
        steps = [
            apart[..., axis].clamp(-furthest, furthest) + furthest for axis, furthest in enumerate(self.max_distance)
        ]
        place = steps[0]
        for step, furthest in zip(steps[1:], self.max_distance[1:]):
            place = place * (2 * furthest + 1) + step
        return torch.nn.functional.embedding(place, self.table)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.heads}, max_distance={self.max_distance})"


class T5Bias(Bias):
    """One learned number for each head and each bucket of offsets: near ones alone, far ones together (Raffel et al. 2020).

    Half of the buckets (of each direction) hold one offset each, the other half grow logarithmically up to
    `max_distance`; everything beyond is in the last one. Numbers and buckets are those of the published T5 models.

    Args:
        heads: Number of attention heads.
        num_buckets: Number of buckets.
        max_distance: Offsets from here on share the last bucket.
        bidirectional: Half of the buckets for keys after the query; else all of them share bucket 0 (decoders).

    Example:
        >>> from graphattn import CompleteGraph
        >>> bias = T5Bias(4)
        >>> bias(CompleteGraph(10)).shape
        torch.Size([100, 4])
        >>> bias.bucket(torch.tensor([-200, -9, -1, 0, 1, 9])).tolist()
        [15, 8, 1, 0, 17, 24]
    """

    is_relative = True

    def __init__(self, heads: int, num_buckets: int = 32, max_distance: int = 128, bidirectional: bool = True):
        super().__init__(heads)
        self.num_buckets, self.max_distance, self.bidirectional = num_buckets, max_distance, bidirectional
        self.per_direction = num_buckets // 2 if bidirectional else num_buckets
        if num_buckets % 4 or num_buckets < 4 or max_distance <= self.per_direction // 2:
            raise ValueError(
                f"'num_buckets' must be a multiple of 4 and 'max_distance' above {self.per_direction // 2} (got"
                f" {num_buckets} and {max_distance})"
            )
        self.table = Parameter(torch.empty(num_buckets, heads))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        torch.nn.init.normal_(self.table, std=0.02)

    @property
    def device(self) -> torch.device:
        return self.table.device

    def bucket(self, offset: Tensor) -> Tensor:
        """The bucket of each offset key - query, in 0 .. num_buckets - 1."""
        distance = offset.abs() if self.bidirectional else (-offset).clamp(min=0)
        exact = self.per_direction // 2
        # In float32, as the published models do: where the logarithm is a whole number, rounding decides.
        ratio = torch.log(distance.float().clamp(min=1) / exact) / math.log(self.max_distance / exact)
        far = exact + (ratio * (self.per_direction - exact)).long()
        bucket = torch.where(distance < exact, distance.long(), far.clamp(max=self.per_direction - 1))
        return bucket + self.per_direction * (offset > 0) if self.bidirectional else bucket

    def rule(self, query: Tensor, key: Tensor) -> Tensor:
        if query.size(-1) != 1:
            raise ValueError(f"positions must have 1 axis (got {query.size(-1)})")
        return torch.nn.functional.embedding(self.bucket(difference(key, query)[..., 0]), self.table)

    def __repr__(self) -> str:
        return (
            f"{type(self).__name__}({self.heads}, num_buckets={self.num_buckets}, max_distance={self.max_distance},"
            f" bidirectional={self.bidirectional})"
        )
