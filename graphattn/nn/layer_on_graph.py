"""What a layer of dot-product attention computes on a graph from its input: maps, attention and the skip connection, both ways."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch.nn.functional as F
from torch import Tensor

from graphattn.graphs import Graph
from graphattn.kernels.choose import select
from graphattn.kernels.kernel import Inputs, Needed, Partial, Plan
from graphattn.kernels.native.edges_cpu import EdgesCpu
from graphattn.kernels.plain.differentiable import attend_differentiably
from graphattn.nn.linear_maps import gradients_of_maps, products_of
from graphattn.running import mapped_edges
from graphattn.running.arguments import Draw, Options, prepare

LOOPS = EdgesCpu()
Tensors = Sequence[Tensor | None]


class Given(NamedTuple):
    """The tensors of a layer."""

    target: Tensor
    other_source: Tensor | None  # where sources are other nodes than targets
    edge_features: Tensor | None
    edge_weight: Tensor | None  # W of the features; as loops read it, [edge_dim, heads, out_channels]
    weights: Sequence[Tensor]  # of queries, keys, values and root
    biases: Tensors

    @classmethod
    def of(cls, flat: Tensors) -> "Given":
        """Of what `flat` gives."""
        maps: Any = flat[4:]
        target: Any = flat[0]
        count = len(maps) // 2
        return cls(target, flat[1], flat[2], flat[3], maps[:count], maps[count:])

    def flat(self) -> tuple[Tensor | None, ...]:
        return (*self[:4], *self.weights, *self.biases)

    @property
    def source(self) -> Tensor:
        return self.target if self.other_source is None else self.other_source

    def by_table(self) -> list[tuple[Tensor, slice]]:
        """Each table, and which of the maps are maps of it."""
        if self.other_source is None:
            return [(self.target, slice(None))]
        return [(self.target, slice(0, None, 3)), (self.other_source, slice(1, 3))]


class Attended(NamedTuple):
    """What maps make of nodes, and attention of that: [num_nodes, heads, out_channels] each."""

    query: Tensor
    key: Tensor
    value: Tensor
    out: Tensor
    lse: Tensor  # [num_queries, heads]


class Layer(NamedTuple):
    """All but the tensors of a layer."""

    graph: Graph
    heads: int
    dropout: float
    has_root: bool

    def runs_loops(self, given: Given) -> bool:
        """Whether the loops over edges are what runs."""
        x, shape = given.target, (self.heads, given.weights[0].size(0) // self.heads)
        query, key = (x.new_empty(()).expand(nodes.size(0), *shape) for nodes in (given.target, given.source))
        plan, inputs = self.problem(query, key, key[:], given.edge_features)
        return type(select(plan, inputs, None, is_finite=True)) is EdgesCpu

    def problem(
        self, query: Tensor, key: Tensor, value: Tensor, edge_features: Tensor | None, seed: int = 0
    ) -> tuple[Plan, Inputs]:
        """The checked plan, without W, of which no check depends."""
        edge_query = None
        if edge_features is not None:
            edge_query = query.new_empty(()).expand(*query.shape[:2], edge_features.size(-1))
        options = Options(None, edge_features, edge_query, dropout=self.dropout, edge_sum=False, draw=Draw(seed))
        plan, inputs, _ = prepare(query, key, value, self.graph, options)
        return plan, inputs

    def by_head(self, x: Tensor) -> Tensor:
        return x.view(-1, self.heads, x.size(1) // self.heads)

    def forward(self, given: Given, seed: int) -> tuple[Tensor, Attended]:
        """The result, [num_queries, heads * out_channels], without a root [num_queries, heads, out_channels], and its parts."""
        mapped: list[Any] = [None] * len(given.weights)
        for x, which in given.by_table():
            products = products_of(x, [weight.size(0) for weight in given.weights[which]])
            mapped[which] = products.forward(x, given.weights[which], given.biases[which])
        query, key, value = [self.by_head(x) for x in mapped[:3]]
        root = mapped[3] if self.has_root else None
        plan, inputs = self.problem(query, key, value, given.edge_features, seed)
        out, lse, _ = LOOPS.forward(plan, with_weight(inputs, given.edge_weight), root)
        return out if root is None else root, Attended(query, key, value, out, lse)

    def backward(
        self, grad: Tensor, given: Given, attended: Attended, needed: Sequence[bool], seed: int
    ) -> list[Tensor | None]:
        """The gradients of what is given, `flat`, that are needed. Weights need not be there whose tables need no gradient."""
        by_target, by_source, by_features, by_edge_weight, *by_maps = needed
        query, key, value, out, lse = attended
        plan, inputs = self.problem(query, key, value, given.edge_features, seed)
        inputs = with_weight(inputs, given.edge_weight)
        asked = Needed(edge_features=by_features, parameters=(by_edge_weight,) * len(inputs.parameters))
        of_out = Partial.gradient(grad.view(out.shape), None)
        found = LOOPS.backward(plan._replace(needed=asked), inputs, Partial(out, lse), of_out)
        of_results = [x.flatten(1) for x in found[:3]] + [grad] * self.has_root

        of_tables: list[Tensor | None] = []
        count = len(given.weights)
        of_weights: list[Tensor | None] = [None] * count
        of_biases: list[Tensor | None] = [None] * count
        for (x, which), needs_x in zip(given.by_table(), (by_target, by_source)):
            needs = by_maps[:count][which], by_maps[count:][which]
            products = products_of(x, [result.size(1) for result in of_results[which]])
            of_x, *of_maps = gradients_of_maps(products, of_results[which], x, given.weights[which], needs_x, *needs)
            of_tables.append(of_x)
            half = len(of_maps) // 2
            of_weights[which], of_biases[which] = of_maps[:half], of_maps[half:]
        of_target, of_source = (*of_tables, None)[:2]
        of_edges = found.edge_features if by_features else None, found.parameters[0] if by_edge_weight else None
        return [of_target, of_source, *of_edges, *of_weights, *of_biases]

    def by_torch(self, attended: Attended, old_weight: Tensor | None, seed: int, *flat: Tensor | None) -> Tensor:
        """`forward` from plain operations, with the numbers that it had: whoever wrote a map since is not seen.

        Args:
            old_weight: W then, as loops read it; in `flat` it is [heads, out_channels, edge_dim].
        """
        given = Given.of(flat)
        of_nodes = [given.target, given.source, given.source, given.target]
        mapped = [F.linear(x, weight, bias) for x, weight, bias in zip(of_nodes, given.weights, given.biases)]
        query, key, value = (numbers + (x - x.detach()) for numbers, x in zip(attended[:3], map(self.by_head, mapped)))
        plan, _ = self.problem(query.detach(), key.detach(), value.detach(), given.edge_features, seed)
        if given.edge_features is None:
            out = attend_differentiably(plan, Inputs(query, key, value)).out
        else:
            assert old_weight is not None and given.edge_weight is not None
            weight = edge_dim_behind(old_weight) + (given.edge_weight - given.edge_weight.detach())
            out = mapped_edges.by_torch(plan, query, key, value, given.edge_features, weight)
        return mapped[3] + out.flatten(1) if self.has_root else out


def with_weight(inputs: Inputs, edge_weight: Tensor | None) -> Inputs:
    """As loops take W of the features of edges."""
    return (
        inputs if edge_weight is None else inputs._replace(edge_query=None, parameters=(edge_dim_behind(edge_weight),))
    )


def edge_dim_in_front(edge_weight: Tensor) -> Tensor:
    """[heads, out_channels, edge_dim] -> [edge_dim, heads, out_channels], as loops read it."""
    return edge_weight.permute(2, 0, 1)


def edge_dim_behind(edge_weight: Tensor) -> Tensor:
    """The way back."""
    return edge_weight.permute(1, 2, 0)
