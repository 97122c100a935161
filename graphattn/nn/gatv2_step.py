"""GATv2 as one step: the maps of nodes and of features of edges, scores, and sums of what sources say."""

from typing import Any

from torch import Tensor

from graphattn.formulas.scores import Additive
from graphattn.graphs import Graph
from graphattn.kernels.kernel import Inputs, Needed, Partial, Plan
from graphattn.kernels.plain.differentiable import attend_differentiably
from graphattn.nn.step import LOOPS, Passed, Step, learned_by, run, run_loops
from graphattn.nn.tables import Tables, Tensors
from graphattn.running.arguments import Draw, Options, prepare


def attend_gatv2(
    target: Tensor,
    source: Tensor,
    graph: Graph,
    maps: tuple[Any, Any],
    vector: Tensor,
    dropout: float,
    edge_features: Tensor | None = None,
    edge_map: Any = None,
) -> Tensor | None:
    """Sum of w_ij key(x_j), w_i = softmax(vector · LeakyReLU(query(x_i) + key(x_j) + edge_map(e_ij))), slope 0.2.

    Args:
        target, source: x_i [num_queries, in_channels], x_j [num_keys, in_channels]; one tensor where they are the same nodes.
        maps: Linear modules of queries and keys; one module where they share it.
        vector: [1, heads, out_channels].
        edge_features, edge_map: e, [num_edges, edge_dim], and a linear module without a bias.

    Returns:
        [num_queries, heads, out_channels]; None as `step.run` says.
    """
    is_shared = maps[0] is maps[1] and target is source
    modules = [*(maps[:1] if is_shared else maps), *([] if edge_features is None else [edge_map])]
    other = None if source is target else source
    step = GATv2Step(graph, vector.size(1), dropout, is_shared)
    return run(step, modules, (target, other, edge_features, vector, *learned_by(modules)))


class GATv2Step(Step):
    """Given are nodes, sources, features of edges, the vector, the weights of queries, keys and edges, and their biases; the map
    of keys is that of queries too where it `is_shared`."""

    NUM_TABLES = 3
    keeps_result = True

    def __init__(self, graph: Graph, heads: int, dropout: float, is_shared: bool):
        self.graph, self.heads, self.dropout, self.is_shared = graph, heads, dropout, is_shared

    def key(self):
        return "gatv2", self.heads, self.is_shared

    def tables(self, given: Tensors) -> Tables:
        target, source, edge_features, _, *maps = given
        assert target is not None
        count = len(maps) // 2
        of_nodes = 1 if self.is_shared else 2
        by_table = [(target, slice(0, of_nodes))] if source is None else [(target, slice(0, 1)), (source, slice(1, 2))]
        by_table += [] if edge_features is None else [(edge_features, slice(of_nodes, count))]
        return Tables(by_table, maps[:count], maps[count:])

    def takes(self, given):
        tables, vector = self.tables(given), given[3]
        widths = {weight.size(0) for weight in tables.weights}
        if not tables.fit() or widths != {vector.numel()}:
            return False
        target, source, edge_features, *_ = given
        query, key = (self.unmade(x, vector) for x in (target, target if source is None else source))
        return run_loops(
            *self.problem(query, key, None if edge_features is None else self.unmade(edge_features, vector), vector)
        )

    def unmade(self, x: Tensor, vector: Tensor) -> Tensor:
        """Of the shape of what is made of a table."""
        return x.new_empty(()).expand(x.size(0), *vector.shape[1:])

    def problem(
        self, query: Tensor, key: Tensor, edge_features: Tensor | None, vector: Tensor, seed: int = 0
    ) -> tuple[Plan, Inputs]:
        score = Additive(vector.detach()[0], None, "leaky_relu", adds_features=edge_features is not None)
        options = Options(None, edge_features, score=score, dropout=self.dropout, edge_sum=False, draw=Draw(seed))
        plan, inputs, _ = prepare(query, key, key, self.graph, options)
        return plan, inputs

    def parts(self, mapped: Tensors) -> tuple[Any, Any, Any]:
        """Queries, keys and what edges add, [rows, heads, out_channels] each."""
        by_head = [self.by_head(x) if x.dim() == 2 else x for x in mapped if x is not None]
        query, key, *edges = [by_head[0], *by_head] if self.is_shared else by_head
        return query, key, edges[0] if edges else None

    def forward(self, given, seed):
        query, key, edges = self.parts(self.tables(given).mapped())
        out, lse, _ = LOOPS.forward(*self.problem(query, key, edges, given[3], seed))
        kept = [*([] if self.is_shared else [query]), key, *([] if edges is None else [edges])]
        return Passed(out, lse, kept)

    def backward(self, grad, given, passed, needed, seed):
        of_edges, of_vector, by_maps = needed[2], needed[3], needed[4:]
        query, key, edges = self.parts(passed.kept)
        plan, inputs = self.problem(query, key, edges, given[3], seed)
        half = len(by_maps) // 2
        has_edges = edges is not None and (of_edges or by_maps[half - 1])
        asked = Needed(edge_features=has_edges, parameters=(of_vector,))
        of_out = Partial.gradient(grad, None)
        found = LOOPS.backward(plan._replace(needed=asked), inputs, Partial(passed.result, passed.lse), of_out)
        grads = [found.query + found.key] if self.is_shared else [found.query, found.key]
        grads = [x.flatten(1) for x in grads] + ([] if edges is None else [of_edge_features(found, edges, has_edges)])
        tables = self.tables(given)
        of_tables, *of_maps = tables.gradients(grads, self.by_tables(needed, given), by_maps[:half], by_maps[half:])
        found_tables = iter(of_tables)
        of_given = [None if x is None else next(found_tables) for x in given[:3]]
        return [*of_given, found.parameters[0][None] if of_vector else None, *of_maps[0], *of_maps[1]]

    def by_torch(self, passed, before, seed, *given):
        query, key, edges = self.parts(self.tables(given).mapped_by_torch(passed.kept))
        unedged = None if edges is None else edges.detach()
        plan, _ = self.problem(query.detach(), key.detach(), unedged, given[3], seed)
        return attend_differentiably(plan, Inputs(query, key, key, None, edges, None, (given[3][0],))).out


def of_edge_features(found: Any, edges: Tensor, has_edges: bool) -> Tensor:
    """Their gradient, [num_edges, heads * out_channels]; where nobody asks for one, what has its shape."""
    return (found.edge_features if has_edges else edges).flatten(1)
