"""GAT as one step: the map of nodes, what they add to scores, and sums of what sources say."""

from typing import Any

import torch
from torch import Tensor

from graphattn.formulas.scores import Additive
from graphattn.graphs import Graph
from graphattn.kernels.kernel import Inputs, Needed, Partial, Plan
from graphattn.kernels.native import dots
from graphattn.kernels.plain.differentiable import attend_differentiably
from graphattn.nn.step import LOOPS, Passed, Step, learned_by, run, run_loops
from graphattn.nn.tables import Tables, Tensors
from graphattn.running.arguments import Draw, Options, prepare


def attend_gat(
    x: Tensor, graph: Graph, map: Any, of_source: Tensor, of_target: Tensor, dropout: float
) -> Tensor | None:
    """Sum of w_ij map(x_j), w_i = softmax(LeakyReLU(of_target · map(x_i) + of_source · map(x_j))), slope 0.2.

    Args:
        x: [num_nodes, in_channels].
        map: A linear module, in_channels -> heads * out_channels.
        of_source, of_target: [1, heads, out_channels].

    Returns:
        [num_nodes, heads, out_channels]; None as `step.run` says.
    """
    heads = of_source.size(1)
    one = graph.remember(("GAT's vector", heads, x.dtype), lambda: torch.ones(heads, 1, dtype=x.dtype, device="cpu"))
    step = GATStep(graph, heads, dropout)
    return run(step, [map], (x, one, of_source, of_target, *learned_by([map])))


class GATStep(Step):
    """Given are nodes, ones [heads, 1] that scores are multiplied by, the vectors of sources and targets, a weight and a bias."""

    NODES_AND_EDGES = 2
    NUM_TABLES = 1
    keeps_result = True

    def __init__(self, graph: Graph, heads: int, dropout: float):
        self.graph, self.heads, self.dropout = graph, heads, dropout

    def key(self):
        return "gat", self.heads

    def tables(self, given: Tensors) -> Tables:
        x, *_, weight, bias = given
        assert x is not None
        return Tables([(x, slice(None))], [weight], [bias])

    def takes(self, given):
        x, one, of_source, of_target, weight, _ = given
        fits = of_source.shape == of_target.shape and of_source.dim() == 3 and of_source.numel() == weight.size(0)
        if not fits or not self.tables(given).fit():
            return False
        number = x.new_empty(()).expand(x.size(0), self.heads, 1)
        return run_loops(*self.problem(number, number[:], number.expand(x.size(0), *of_source.shape[1:]), one))

    def problem(self, query: Tensor, key: Tensor, value: Tensor, one: Tensor, seed: int = 0) -> tuple[Plan, Inputs]:
        """Of one channel: the sum of two numbers, through LeakyReLU."""
        options = Options(score=Additive(one, None, "leaky_relu"), dropout=self.dropout, draw=Draw(seed))
        plan, inputs, _ = prepare(query, key, value, self.graph, options)
        return plan, inputs

    def forward(self, given, seed):
        _, one, of_source, of_target, *_ = given
        (value,) = map(self.by_head, self.tables(given).mapped())
        key, query = products(value).forward(value, of_source[0], of_target[0])
        out, lse, _ = LOOPS.forward(*self.problem(query, key, value, one, seed))
        return Passed(out, lse, [query, key, value])

    def backward(self, grad, given, passed, needed, seed):
        by_x, _, by_source, by_target, by_weight, by_bias = needed
        _, one, of_source, of_target, *_ = given
        query, key, value = passed.kept
        plan, inputs = self.problem(query, key, value, one, seed)
        of_out = Partial.gradient(grad, None)
        asked = plan._replace(needed=Needed(parameters=(False,)))
        found = LOOPS.backward(asked, inputs, Partial(passed.result, passed.lse), of_out)
        of_value = found.value
        vectors = products(value).backward(value, of_source[0], of_target[0], found.key, found.query, of_value)
        by_maps = [by_weight], [by_bias]
        (of_x,), (of_weight,), (of_bias,) = self.tables(given).gradients([of_value.flatten(1)], [by_x], *by_maps)
        by_source, by_target = (v[None] if needs else None for v, needs in zip(vectors, (by_source, by_target)))
        return [of_x, None, by_source, by_target, of_weight, of_bias]

    def by_torch(self, passed, before, seed, *given):
        _, one, of_source, of_target, *_ = given
        (value,) = map(self.by_head, self.tables(given).mapped_by_torch(passed.kept[2:]))
        key, query = by_torch.forward(value, of_source[0], of_target[0])
        plan, _ = self.problem(query.detach(), key.detach(), value.detach(), one, seed)
        return attend_differentiably(plan, Inputs(query, key, value, parameters=(one,))).out


def products(x: Tensor) -> Any:
    """Where dot products of nodes come from."""
    return dots if x.dtype is dots.REAL else by_torch


class by_torch:
    """What `dots` does, from plain operations."""

    @staticmethod
    def forward(x: Tensor, source: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
        return (x * source).sum(-1, keepdim=True), (x * target).sum(-1, keepdim=True)

    @staticmethod
    def backward(
        x: Tensor, source: Tensor, target: Tensor, of_source: Tensor, of_target: Tensor, grad_x: Tensor
    ) -> tuple[Tensor, Tensor]:
        grad_x += of_source * source + of_target * target
        return (of_source * x).sum(0), (of_target * x).sum(0)
