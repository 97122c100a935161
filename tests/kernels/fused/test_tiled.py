"""What kernels of tiles share, by the simplest of them: a graph as one tile."""

import pytest
import torch

from graphattn import BandedGraph, GridGraph
from graphattn.formulas.normalizers import Softmax
from graphattn.formulas.scores import Dot
from graphattn.kernels.fused import tiled
from graphattn.kernels.fused.tiled import Call, Tiled, mask_of, tiles_per_call
from graphattn.kernels.kernel import Inputs, Needed, Plan, spread_to_heads, sum_to_groups


class Whole(Call):
    def queries(self, rows):
        return rows.transpose(0, 1)[None]

    def put(self, rows, values):
        rows.copy_(values[0].transpose(0, 1))

    def keys(self, rows):
        return rows

    def split(self, rows):
        return rows.transpose(0, 1)[None]

    def add(self, rows, values):
        rows += sum_to_groups(values[0].transpose(0, 1), rows.size(1))


class OneTile(Tiled):
    name = "one tile"
    graphs = (BandedGraph,)

    def area_of_tiles(self, graph):
        return graph.num_queries * graph.num_keys

    def has_all_queries(self, graph):
        return bool(graph.mask().any(1).all())

    def calls(self, plan, inputs, is_backward):
        yield Whole(inputs, mask_of(plan.graph.mask()[None, None], inputs))


GRAPH = BandedGraph(9, 2, 1, num_keys=6)  # query 8 sees nothing


def problem(graph=GRAPH):
    torch.manual_seed(0)
    shapes = (graph.num_queries, 4, 5), (graph.num_keys, 2, 5), (graph.num_keys, 2, 3)
    tensors = [torch.randn(shape, dtype=torch.float64).requires_grad_() for shape in shapes]
    return Plan(graph, Dot(), Softmax(), 0.3), Inputs(*tensors)


def test_forward_and_backward():
    plan, inputs = problem()
    query, key, value = inputs[:3]
    scores = torch.einsum("qhc,khc->hqk", query, spread_to_heads(key, 4)) * plan.scale
    scores = scores.masked_fill(~GRAPH.mask(), -torch.inf)
    weights = scores[:, :8].softmax(-1)
    wanted = torch.einsum("hqk,khc->qhc", weights, spread_to_heads(value, 4))
    cotangent = torch.randn(9, 4, 3, dtype=torch.float64)
    wanted_gradients = torch.autograd.grad(wanted, inputs[:3], cotangent[:8])

    inputs = Inputs(*(x.detach() for x in inputs[:3]))
    merged = OneTile().forward(plan, inputs)
    torch.testing.assert_close(merged.out[:8], wanted.detach(), rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(merged.lse.T, scores.detach().logsumexp(-1), rtol=1e-12, atol=1e-12)
    assert merged.out[8].eq(0).all() and merged.lse[8].eq(-torch.inf).all()
    found = OneTile().backward(plan, inputs, merged, merged._replace(out=cotangent))
    torch.testing.assert_close(tuple(found[:3]), wanted_gradients, rtol=1e-12, atol=1e-12)


def test_the_door():
    plan, inputs = problem()
    assert OneTile().why_not(plan, inputs) is None
    other, _ = problem(GridGraph((3, 3), 1))
    assert OneTile().why_not(other, inputs) == "'one tile' runs a BandedGraph (got GridGraph)"
    assert "nothing per edge" in OneTile().why_not(plan, inputs._replace(bias=torch.zeros(GRAPH.num_edges, 1)))


def test_how_many_tiles_at_a_time(monkeypatch):
    monkeypatch.setattr(torch, "get_num_threads", lambda: 2)
    plan, inputs = problem()
    inputs = Inputs(*(torch.zeros(9, 4, dim) for dim in (8, 8, 16)))  # float32
    biased = inputs._replace(bias_by_offset=torch.zeros(5, 4))
    monkeypatch.setattr(tiled, "BYTES_PER_CALL", 2 * 100 * 4 * 16 * 4)
    assert tiles_per_call(plan, inputs, 200, 0, False) == (2, 2)
    assert tiles_per_call(plan, inputs, 100, 100 * 64, False) == (4, 2)
    assert tiles_per_call(plan, biased, 100, 100 * 16, False) == (4, 2)
    assert tiles_per_call(plan, biased, 50, 25 * 16, True) == (3, 2)
    assert tiles_per_call(plan._replace(needed=Needed(*[False] * 6, (), False)), biased, 50, 0, True) == (8, 8)
    assert tiles_per_call(plan, inputs, 10**9, 0, True) == (1, 1)


@pytest.mark.parametrize("has_empty", [False, True])
def test_calls_know_their_empty_rows(has_empty):
    _, inputs = problem()
    allowed = GRAPH.mask() | torch.tensor([not has_empty] * 6)
    call = Whole(inputs, mask_of(allowed[None, None], inputs))
    assert call.query.shape == (1, 4, 9, 5) and call.value.shape == (1, 4, 6, 5)  # of one dim
    is_empty = call.mask.is_empty
    assert is_empty is None if not has_empty else is_empty[0, 0].tolist() == [False] * 8 + [True]
    assert call.mask.added.isinf().equal(~allowed[None, None])


def test_masks_with_a_bias_by_offset():
    _, inputs = problem()
    table = torch.randn(4, 4)
    table[2, 1] = -torch.inf
    places = torch.tensor([[0, 1, 2], [3, 2, 2]])
    allowed = torch.tensor([[True, False, True], [False, False, True]])
    added, is_empty, _ = mask_of(allowed[None, None], inputs._replace(bias_by_offset=table), places[None])
    assert added.dtype == torch.float64 and added.shape == (1, 4, 2, 3)
    for head in range(4):
        for i in range(2):
            for j in range(3):
                wanted = table[places[i, j], head].double() if allowed[i, j] else torch.tensor(-torch.inf)
                assert added[0, head, i, j] == wanted
    assert is_empty[0].tolist() == [[False, False], [False, True], [False, False], [False, False]]
