import pytest
import torch
from torch.autograd import forward_ad

from graphattn import BandedGraph, EdgeListGraph, GlobalGraph, attend, causal
from graphattn.running.arguments import Options, prepare
from graphattn.running.execution import compute, pieces


def problem(graph, **options):
    torch.manual_seed(0)
    tensors = [torch.randn(n, 2, 4, dtype=torch.float64) for n in (graph.num_queries, graph.num_keys, graph.num_keys)]
    return prepare(*tensors, graph, Options(**options))


def parts_of(graph, kernel=None, **options):
    plan, inputs, _ = problem(graph, **options)
    return [part.graph for part, _, _ in pieces(plan, inputs, kernel)]


def test_a_union_is_cut_only_where_nothing_asks_for_the_whole():
    extra = EdgeListGraph(torch.tensor([[7, 7], [0, 2]]), 8)
    union = causal(8) | extra
    assert [type(graph).__name__ for graph in parts_of(union)] == ["BandedGraph", "EdgeListGraph"]
    for options in ({"kernel": "edges"}, {"dropout": 0.1}, {"bias": torch.zeros(union.num_edges)}):
        assert parts_of(union, **options) == [union]


def test_parts_merge_to_the_whole_in_the_value_and_its_log_sum_exp():
    graph = BandedGraph(9, 2, 0) | GlobalGraph(9, [4])
    plan, inputs, _ = problem(graph)
    merged, _ = compute(plan, inputs, None)
    whole, _ = compute(plan, inputs, "reference")
    torch.testing.assert_close(merged.out, whole.out, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(merged.lse, whole.lse, rtol=1e-12, atol=1e-12)


def test_nothing_is_recorded_where_no_gradient_is_asked():
    query = torch.randn(4, 1, 2, requires_grad=True)
    with torch.no_grad():
        assert attend(query, query, query, causal(4)).grad_fn is None
    assert attend(*(query.detach(),) * 3, causal(4)).grad_fn is None
    assert attend(query, query.detach(), query.detach(), causal(4)).grad_fn is not None


def test_only_what_needs_a_gradient_gets_one():
    tensors = [torch.randn(4, 1, 2), torch.randn(4, 1, 2, requires_grad=True), torch.randn(4, 1, 2)]
    out = attend(*tensors, causal(4))
    out.backward(torch.randn_like(out))
    assert [x.grad is not None for x in tensors] == [False, True, False]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
@pytest.mark.parametrize("kernel", ["edges", "edges_torch", "reference", None])
@pytest.mark.parametrize("records", [True, False], ids=["with gradients", "without"])
def test_both_results_are_in_the_dtype_of_the_query(dtype, kernel, records):
    torch.manual_seed(0)
    graph = EdgeListGraph(torch.randint(9, (2, 40)), 9)
    query, key, value, features = (torch.randn(*shape, dtype=dtype) for shape in ((9, 2, 4),) * 3 + ((40, 3),))
    results = attend(query.requires_grad_(records), key, value, graph, edge_features=features, kernel=kernel)
    assert [result.dtype for result in results] == [dtype, dtype]


@pytest.mark.parametrize("score", ["dot", "cosine"])
def test_a_cotangent_alone_is_differentiated_in_forward_mode(score):
    torch.manual_seed(0)
    graph = EdgeListGraph(torch.randint(9, (2, 40)), 9)
    tensors = [torch.randn(9, 2, 4, dtype=torch.float64).requires_grad_() for _ in range(3)]
    out = attend(*tensors, graph, score=score)
    cotangent, tangent = torch.randn(2, *out.shape, dtype=torch.float64)
    with forward_ad.dual_level():
        given = forward_ad.make_dual(cotangent, tangent)
        found = torch.autograd.grad(out, tensors, given, retain_graph=True)
        found = [forward_ad.unpack_dual(gradient).tangent for gradient in found]
    for own, right in zip(found, torch.autograd.grad(out, tensors, tangent)):  # gradients are linear in cotangents
        torch.testing.assert_close(own, right)
