"""Scores so large that the logarithm of a sum is rounded away beside them: behind a mask of -1e9 over a whole row, say."""

import math

import pytest
import torch

from graphattn import BandedGraph, CompleteGraph, EdgeListGraph, GlobalGraph, attend, attention_weights, causal
from graphattn.nn import Softmax

STAR = EdgeListGraph(torch.tensor([[0, 1, 2, 3, 1], [0, 0, 0, 0, 2]]), 4)


@pytest.mark.parametrize("kernel", [None, "edges_cpu", "edges_torch", "reference"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("size", [-1e9, 1e5, 1e9])
def test_rows_behind_one_large_bias(size, dtype, kernel):
    """A number that all edges of a row share changes nothing."""
    torch.manual_seed(0)
    leaves = [torch.zeros(4, 1, 2, dtype=dtype), torch.zeros(4, 1, 2, dtype=dtype), torch.randn(4, 1, 3, dtype=dtype)]
    cotangent, found = torch.randn(4, 1, 3, dtype=dtype), []
    for added in (0.0, size):
        leaves = [x.detach().clone().requires_grad_() for x in leaves]
        bias = torch.full((5,), added, dtype=dtype).requires_grad_()
        out = attend(*leaves, STAR, bias=bias, kernel=kernel)
        weights = attention_weights(*leaves[:2], STAR, bias=bias)
        found.append([out, weights, *torch.autograd.grad(out, [*leaves, bias], cotangent)])
    for actual, wanted in zip(*found, strict=True):
        torch.testing.assert_close(actual, wanted)


@pytest.mark.parametrize(
    "graph", [BandedGraph(8, 1, 1) | GlobalGraph(8, [3]), causal(8), CompleteGraph(8), BandedGraph(8, 2, 1)], ids=str
)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_equal_large_scores(graph, dtype):
    x = torch.full((8, 1, 4), 1e4, dtype=dtype)
    value = torch.ones(8, 1, 2, dtype=dtype, requires_grad=True)
    out = attend(x, x, value, graph)
    torch.testing.assert_close(out, torch.ones_like(out))
    (gradient,) = torch.autograd.grad(out.sum(), value)
    key, query = graph.edge_index()
    wanted = torch.zeros(8).index_add(0, key, 1 / graph.degrees()[query])
    torch.testing.assert_close(gradient[:, 0, 0].float(), wanted, rtol=1e-2, atol=1e-2)


def test_a_sink_that_changes_between_the_passes_is_refused():
    sink = torch.zeros(1, requires_grad=True)
    x = torch.randn(4, 1, 4)
    out = attend(x, x, x, causal(4), normalizer=Softmax(sink))
    with torch.no_grad():
        sink.add_(3.0)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        out.sum().backward()


class DroppingScore(torch.nn.Module):
    def forward(self, query, key):
        return torch.nn.functional.dropout(query * key, 0.5).sum(-1)


@pytest.mark.parametrize("normalizer", ["softmax", "sigmoid", "sparsemax"])
def test_a_score_that_draws_numbers_is_differentiated_as_it_was_drawn(normalizer):
    torch.manual_seed(0)
    edges, x = torch.randint(8, (2, 20)), torch.randn(8, 2, 3, dtype=torch.float64)
    value, direction = torch.randn_like(x), torch.randn_like(x)

    def loss(x):
        torch.manual_seed(5)
        out = attend(x, x, value, edges, score=DroppingScore(), normalizer=normalizer).square().sum()
        torch.rand(3)  # what is drawn in between changes nothing
        return out

    x.requires_grad_()
    (gradient,) = torch.autograd.grad(loss(x), x)
    slope = (loss(x + 1e-6 * direction) - loss(x - 1e-6 * direction)) / 2e-6
    assert math.isclose((gradient * direction).sum().item(), slope.item(), rel_tol=1e-5)
