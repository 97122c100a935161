"""attend(..., return_lse=True) against plain loops, its gradients, and results over disjoint edges merged into one."""

import pytest
import torch

from graphattn import BandedGraph, CompleteGraph, EdgeListGraph, GlobalGraph, PerHead, attend, causal, merge_attention
from graphattn.formulas.normalizers import Softmax
from graphattn.formulas.scores import Additive
from graphattn.nn import ALiBi
from graphattn.testing.cases import GRAPHS

IDS = [case[0] for case in GRAPHS]


def tensors(graph, dtype=torch.float64, heads=4, kv_heads=2, value_dim=6):
    generator = torch.Generator().manual_seed(3)
    shapes = (graph.num_queries, heads, 5), (graph.num_keys, kv_heads, 5), (graph.num_keys, kv_heads, value_dim)
    return [
        torch.randn(*shape, generator=generator, dtype=torch.float64).to(dtype).requires_grad_() for shape in shapes
    ]


def loops(query, key, edges, scale):
    """The log-sum-exp, one query and head after the other."""
    heads, group = query.size(1), query.size(1) // key.size(1)
    rows = []
    for i in range(query.size(0)):
        row = []
        for h in range(heads):
            scores = [scale * query[i, h].dot(key[k, h // group]) for k, q in edges if q == i]
            row.append(torch.stack(scores).logsumexp(0) if scores else query.new_tensor(-torch.inf))
        rows.append(torch.stack(row))
    return torch.stack(rows) if rows else query.new_zeros(0, heads)


@pytest.mark.parametrize("name, graph, edges", GRAPHS, ids=IDS)
def test_lse_and_its_gradients_are_those_of_loops(name, graph, edges):
    query, key, value = tensors(graph)
    cotangent = torch.randn(graph.num_queries, 4, dtype=torch.float64)
    _, lse = attend(query, key, value, graph, scale=0.7, return_lse=True)
    wanted = loops(query, key, edges, 0.7)
    torch.testing.assert_close(lse, wanted)
    finite = wanted > -torch.inf
    if finite.any():
        found = torch.autograd.grad((lse * cotangent)[finite].sum(), (query, key))
        for one, other in zip(found, torch.autograd.grad((wanted * cotangent)[finite].sum(), (query, key))):
            torch.testing.assert_close(one, other)


def gradients(results, inputs):
    generator = torch.Generator().manual_seed(1)
    total = sum((x * torch.randn(x.shape, generator=generator, dtype=torch.float64)).sum() for x in results)
    return torch.autograd.grad(total, inputs)


@pytest.mark.parametrize("kernel", [None, "edges_cpu", "edges_torch", "reference", "sdpa", "dense"])
def test_out_and_lse_are_differentiated_together_on_every_kernel(kernel):
    graph = EdgeListGraph(causal(7).edge_index(), 7) if kernel == "dense" else causal(7)
    inputs = tensors(graph, heads=3, kv_heads=3, value_dim=5)
    found = attend(*inputs, graph, kernel=kernel, return_lse=True)
    query, key, value = inputs
    scores = torch.einsum("qhd,khd->hqk", query, key) / 5**0.5
    scores = scores.masked_fill(~graph.mask(), -torch.inf)
    wanted = torch.einsum("hqk,khc->qhc", scores.softmax(-1), value), scores.logsumexp(-1).t()
    for one, other in zip((*found, *gradients(found, inputs)), (*wanted, *gradients(wanted, inputs))):
        torch.testing.assert_close(one, other)
    with torch.no_grad():
        assert torch.equal(attend(*inputs, graph, kernel=kernel, return_lse=True)[1], found[1])


@pytest.mark.parametrize("kernel", [None, "edges_cpu", "edges_torch", "reference"])
def test_one_tensor_as_key_and_value(kernel):
    graph = EdgeListGraph(causal(7).edge_index(), 7)
    query, key, _ = tensors(graph, heads=3, kv_heads=3, value_dim=5)
    found = attend(query, key, key, graph, kernel=kernel, return_lse=True)
    scores = torch.einsum("qhd,khd->hqk", query, key) / 5**0.5
    scores = scores.masked_fill(~graph.mask(), -torch.inf)
    wanted = torch.einsum("hqk,khc->qhc", scores.softmax(-1), key), scores.logsumexp(-1).t()
    for one, other in zip((*found, *gradients(found, (query, key))), (*wanted, *gradients(wanted, (query, key)))):
        torch.testing.assert_close(one, other)


@pytest.mark.parametrize("kernel", [None, "edges_cpu", "edges_torch", "reference"])
def test_no_sum_of_edges_is_given_where_none_is_wanted(kernel):
    graph = EdgeListGraph(causal(7).edge_index(), 7)
    inputs = tensors(graph)
    features = torch.randn(graph.num_edges, 3, dtype=torch.float64)
    out, edge_out, lse = attend(*inputs, graph, edge_features=features, kernel=kernel, return_lse=True)
    found = attend(*inputs, graph, edge_features=features, edge_sum=False, kernel=kernel, return_lse=True)
    assert edge_out.shape == (7, 4, 3) and len(found) == 2
    torch.testing.assert_close(found, (out, lse))


def test_second_derivatives_without_edges_are_zero():
    graph = EdgeListGraph(torch.empty(2, 0, dtype=torch.long), 4)
    query, key, value = tensors(graph)
    score = Additive(torch.ones(4, 5, dtype=torch.float64))
    options = {"score": score, "edge_features": torch.empty(0, 3, dtype=torch.float64), "return_lse": True}
    out, edge_out, lse = attend(query, key, value, graph, **options)
    total = out.sum() + edge_out.sum() + lse.exp().sum()
    for gradient in torch.autograd.grad(total, [query, key, value], create_graph=True, allow_unused=True):
        assert gradient is None or not gradient.any()


def test_parts_merge_into_the_whole_with_every_option():
    graph = GlobalGraph(12, [3]) | BandedGraph(12, 2, 1)
    edges = graph.edge_index()
    inputs = tensors(graph)
    bias = torch.randn(graph.num_edges, 4, dtype=torch.float64).requires_grad_()
    features = torch.randn(graph.num_edges, 3, dtype=torch.float64).requires_grad_()
    edge_query = torch.randn(12, 4, 3, dtype=torch.float64).requires_grad_()
    leaves = (*inputs, bias, features, edge_query)
    whole = attend(*inputs, graph, bias=bias, edge_features=features, edge_query=edge_query, return_lse=True)
    own = torch.arange(graph.num_edges) % 3
    parts = [
        attend(*inputs, EdgeListGraph(edges[:, own == part], 12), bias=bias[own == part],
               edge_features=features[own == part], edge_query=edge_query, return_lse=True)
        for part in range(3)
    ]  # fmt: skip
    merged = merge_attention(parts)
    for one, other in zip((*merged, *gradients(merged, leaves)), (*whole, *gradients(whole, leaves))):
        torch.testing.assert_close(one, other)


def test_empty_rows_merge_to_nothing_and_have_no_gradient():
    graph = EdgeListGraph(torch.tensor([[0, 1], [0, 2]]), 4)
    inputs = tensors(graph)
    parts = [attend(*inputs, EdgeListGraph(graph.edges[:, [e]], 4), return_lse=True) for e in range(2)]
    out, lse = merge_attention(parts)
    assert lse.isneginf()[[1, 3]].all() and out[[1, 3]].eq(0).all() and lse[[0, 2]].isfinite().all()
    found = torch.autograd.grad(out.sum() + lse[[0, 2]].sum(), inputs)
    assert all(x.isfinite().all() for x in found)


def test_large_scores_merge_without_loss():
    query, key, value = (x.detach() for x in tensors(CompleteGraph(6)))
    parts = [attend(1e6 * query, key, value, g, return_lse=True) for g in (causal(6), ~causal(6))]
    torch.testing.assert_close(merge_attention(parts)[0], attend(1e6 * query, key, value, CompleteGraph(6)))


def test_sinks_batches_heads_and_halves():
    inputs = tensors(causal(5))
    sink = torch.randn(4, dtype=torch.float64).requires_grad_()
    out, lse = attend(*inputs, causal(5), normalizer=Softmax(sink), return_lse=True)
    plain = attend(*inputs, causal(5), return_lse=True)
    alone = torch.zeros_like(out), sink.expand(5, 4)
    merged = merge_attention([plain, alone])
    for one, other in zip((out, lse, *gradients((out, lse), (*inputs, sink))),
                          (*merged, *gradients(merged, (*inputs, sink)))):  # fmt: skip
        torch.testing.assert_close(one, other)
    batch = [torch.stack([x, 2 * x]) for x in inputs]
    assert attend(*batch, causal(5), return_lse=True)[1].shape == (2, 5, 4)
    torch.testing.assert_close(attend(*batch, causal(5), return_lse=True)[1][0], plain[1])
    mixed = attend(*inputs, PerHead([causal(5), CompleteGraph(5)] * 2), return_lse=True)
    torch.testing.assert_close(mixed[1][:, ::2], plain[1][:, ::2])
    assert attend(*(x.bfloat16() for x in inputs), causal(5), return_lse=True)[1].dtype is torch.float32


def test_second_derivatives_and_rules():
    inputs = tensors(causal(4), heads=2, kv_heads=2)

    def both(*given):
        return attend(*given, causal(4), bias=ALiBi(2).double(), return_lse=True)

    assert torch.autograd.gradcheck(both, inputs) and torch.autograd.gradgradcheck(both, inputs)


def test_keys_behind_a_bias_do_not_show():
    query, key, value = (x.detach() for x in tensors(CompleteGraph(4)))
    bias = torch.zeros(16)
    bias[[3, 7, 11, 15]] = -torch.inf
    key[3] = value[3] = torch.nan
    found = attend(query, key, value, CompleteGraph(4), bias=bias.double(), return_lse=True)
    for one, other in zip(found, attend(query, key[:3], value[:3], CompleteGraph(4, 3), return_lse=True)):
        torch.testing.assert_close(one, other)


@pytest.mark.parametrize("normalizer, words", [("relu", "add up: sum them"), ("sparsemax", "do not merge")])
def test_normalizers_without_one_are_refused(normalizer, words):
    with pytest.raises(
        ValueError, match=f"'return_lse' needs the softmax \\(got normalizer '{normalizer}'\\).*{words}"
    ):
        attend(*tensors(causal(3)), causal(3), normalizer=normalizer, return_lse=True)


def test_results_that_do_not_fit_are_refused():
    out, lse = attend(*tensors(causal(3)), causal(3), return_lse=True)
    for wrong in ([], [(out, lse), (out[:2], lse[:2])], [(out, lse.t())], [(out,)]):
        with pytest.raises(ValueError, match="'results'|'lse'"):
            merge_attention(wrong)


def test_a_score_that_draws_is_differentiated_as_it_was_drawn():
    """A score of the caller's own is evaluated again on the way back."""
    graph = causal(6)

    def drops(query, key):
        scores = (query * key).sum(-1)
        return scores * (torch.rand_like(scores) < 0.5)

    found = []
    for return_lse in (False, True):
        leaves = tensors(graph, kv_heads=4)
        torch.manual_seed(0)
        results = attend(*leaves, graph, score=drops, return_lse=return_lse)
        out = results[0] if return_lse else results
        torch.rand(7)  # somebody draws in between
        found.append([out.detach(), *torch.autograd.grad(out.sum(), leaves)])
    for with_lse, alone in zip(found[1], found[0]):
        torch.testing.assert_close(with_lse, alone, rtol=1e-12, atol=1e-12)
