"""Dot-product attention over edges together with the maps that make its queries, keys and values, as one step."""

from collections.abc import Hashable
from typing import Any, NamedTuple

from torch import Tensor

from graphattn.graphs import Graph
from graphattn.kernels.kernel import Inputs, Needed, Partial, Plan
from graphattn.kernels.plain.differentiable import attend_differentiably
from graphattn.nn.step import LOOPS, Passed, Step, learned_by, run, run_loops
from graphattn.nn.tables import Tables, Tensors
from graphattn.running import mapped_edges
from graphattn.running.arguments import Draw, Options, prepare


class Maps(NamedTuple):
    """Linear modules, in_channels -> heads * out_channels."""

    heads: int
    query: Any
    key: Any
    value: Any
    root: Any = None  # of a skip connection, to whose result attention is added


def attend_projected(
    target: Tensor,
    source: Tensor,
    graph: Graph,
    maps: Maps,
    dropout: float = 0.0,
    edge_features: Tensor | None = None,
    edge_weight: Tensor | None = None,
    refusal: Hashable | None = None,
) -> Tensor | None:
    r"""root(x_i) + sum of w_ij (value(x_j) + W e_ij), w_i = softmax(query(x_i) · (key(x_j) + W e_ij) / sqrt(out_channels)).

    Args:
        target: x_i, [num_queries, in_channels].
        source: x_j, [num_keys, in_channels]; the same tensor where they are the same nodes.
        dropout: Probability of dropping a weight.
        edge_features, edge_weight: e, [num_edges, edge_dim], and W, [heads, out_channels, edge_dim].
        refusal: As a Step has it.

    Returns:
        [num_queries, heads * out_channels], without a root [num_queries, heads, out_channels]; None where another kernel runs, or
        where somebody would see what runs.
    """
    modules = [module for module in maps[1:] if module is not None]
    learned = learned_by(modules)
    nodes = target, None if source is target else source
    step = DotStep(graph, maps.heads, dropout, maps.root is not None)
    step.refusal = refusal
    if edge_features is None or edge_weight is None:
        return run(step, modules, (*nodes, None, None, *learned))
    # As loops read it: memory of its own, so that it may be written before the backward pass.
    turned = edge_weight.detach().permute(2, 0, 1).contiguous()
    return run(step, modules, (*nodes, edge_features, edge_weight, *learned), (*nodes, edge_features, turned, *learned))


class DotStep(Step):
    """Given are nodes, sources, features of edges, W as loops read it, [edge_dim, heads, out_channels], the weights of queries,
    keys, values and root, and their biases."""

    NUM_TABLES = 2

    def __init__(self, graph: Graph, heads: int, dropout: float, has_root: bool):
        self.graph, self.heads, self.dropout, self.has_root = graph, heads, dropout, has_root
        self.keeps_result = not has_root

    def key(self):
        return "dot", self.heads, self.has_root

    def tables(self, given: Tensors) -> Tables:
        target, source, _, _, *maps = given
        assert target is not None
        by_table = [(target, slice(None))] if source is None else [(target, slice(0, None, 3)), (source, slice(1, 3))]
        return Tables(by_table, maps[: len(maps) // 2], maps[len(maps) // 2 :])

    def takes(self, given):
        tables = self.tables(given)
        if not tables.fit() or len({weight.size(0) for weight in tables.weights}) > 1:
            return False
        target, source, edge_features, *_ = given
        query, key = (self.unmade(x, tables.weights[0]) for x in (target, target if source is None else source))
        plan, inputs = self.problem(query, key, key[:], edge_features)
        return run_loops(plan, inputs)

    def unmade(self, x: Tensor, weight: Tensor) -> Tensor:
        """Of the shape of queries or keys."""
        return x.new_empty(()).expand(x.size(0), self.heads, weight.size(0) // self.heads)

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

    def forward(self, given, seed):
        mapped = self.tables(given).mapped()
        query, key, value = [self.by_head(x) for x in mapped[:3]]
        root = mapped[3] if self.has_root else None
        plan, inputs = self.problem(query, key, value, given[2], seed)
        out, lse, _ = LOOPS.forward(plan, with_weight(inputs, given[3]), root)
        return Passed(out, lse, [query, key, value]) if root is None else Passed(root, lse, [query, key, value, out])

    def backward(self, grad, given, passed, needed, seed):
        by_features, by_edge_weight, *by_maps = needed[2:]
        (query, key, value), (out,) = passed.kept[:3], passed.kept[3:] or [passed.result]
        plan, inputs = self.problem(query, key, value, given[2], seed)
        inputs = with_weight(inputs, given[3])
        asked = Needed(edge_features=by_features, parameters=(by_edge_weight,) * len(inputs.parameters))
        of_out = Partial.gradient(grad.view(out.shape), None)
        found = LOOPS.backward(plan._replace(needed=asked), inputs, Partial(out, passed.lse), of_out)
        grads = [x.flatten(1) for x in found[:3]] + [grad] * self.has_root
        half = len(by_maps) // 2
        by_tables = self.by_tables(needed, given)
        (of_target, *of_source), *of_maps = self.tables(given).gradients(
            grads, by_tables, by_maps[:half], by_maps[half:]
        )
        of_edges = found.edge_features if by_features else None, found.parameters[0] if by_edge_weight else None
        return [of_target, *(of_source or [None]), *of_edges, *of_maps[0], *of_maps[1]]

    def by_torch(self, passed, before, seed, *given):
        mapped = self.tables(given).mapped_by_torch(passed.kept[:3])
        query, key, value = [self.by_head(x) for x in mapped[:3]]
        edge_features, weight = given[2:4]
        plan, _ = self.problem(query.detach(), key.detach(), value.detach(), edge_features, seed)
        if edge_features is None:
            out = attend_differentiably(plan, Inputs(query, key, value)).out
        else:
            weight = edge_dim_behind(before[3]) + (weight - weight.detach())
            out = mapped_edges.by_torch(plan, query, key, value, edge_features, weight)
        return out if not self.has_root else mapped[3] + out.flatten(1)


def with_weight(inputs: Inputs, edge_weight: Tensor | None) -> Inputs:
    """As loops take W of the features of edges."""
    return (
        inputs if edge_weight is None else inputs._replace(edge_query=None, parameters=(edge_dim_behind(edge_weight),))
    )


def edge_dim_behind(edge_weight: Tensor) -> Tensor:
    """[edge_dim, heads, out_channels] -> [heads, out_channels, edge_dim]."""
    return edge_weight.permute(1, 2, 0)
