import pytest
import torch

from graphattn import (
    BandedGraph,
    CompleteGraph,
    EdgeListGraph,
    GlobalGraph,
    GridGraph,
    attend,
    attention_weights,
    batch_graphs,
    causal,
)
from graphattn import choose_kernel as choose
from graphattn.kernels.native import threads
from graphattn.nn import Additive, Relu

GRAPH = EdgeListGraph(torch.tensor([[0, 5, 2, 2], [1, 0, 3, 1]]), 4, 6)  # query 2 is empty


def qkv(num_queries=4, num_keys=6, heads=2, dim=3, dtype=torch.float64):
    torch.manual_seed(0)
    return [torch.randn(n, heads, dim, dtype=dtype) for n in (num_queries, num_keys, num_keys)]


def test_empty_rows_are_zero_with_zero_gradient():
    query, key, value = (x.requires_grad_() for x in qkv())
    out = attend(query, key, value, GRAPH)
    assert torch.equal(out[2], torch.zeros_like(out[2]))
    gradient = torch.autograd.grad(out, query, torch.randn_like(out))[0]
    assert torch.equal(gradient[2], torch.zeros_like(gradient[2]))


@pytest.mark.parametrize("kernel", ["edges_cpu", "edges_torch"])
def test_what_a_query_does_not_see_changes_nothing_bit_for_bit(kernel):
    query, key, value = qkv(dtype=torch.float32)
    out = attend(query, key, value, GRAPH, kernel=kernel)
    key[3], value[3], key[4] = torch.nan, torch.inf, 7.0
    assert torch.equal(attend(query, key, value, GRAPH, kernel=kernel), out)


def test_nan_of_hidden_keys_stays_hidden_in_causal_graphs():
    query, key, value = qkv(5, 5)
    out = attend(query, key, value, causal(5))
    key[4], value[4] = torch.nan, torch.nan
    assert "sdpa" in choose(causal(5), query, key, value).refusals
    again = attend(query, key, value, causal(5))
    torch.testing.assert_close(again[:4], out[:4], rtol=1e-12, atol=1e-12)
    assert again[4].isnan().all()


def test_equal_keys_give_the_mean():
    query, key, value = qkv(7, 7)
    graph = BandedGraph(7, 2, 1)
    out = attend(query, torch.ones_like(key), value, graph)
    for i in range(7):
        seen = value[max(i - 2, 0) : i + 2]
        torch.testing.assert_close(out[i], seen.mean(0))


def test_a_bias_of_minus_infinity_takes_an_edge_away():
    query, key, value = (x.requires_grad_() for x in qkv())
    bias = torch.tensor([0.3, -torch.inf, 0.1, 0.2], dtype=torch.float64, requires_grad=True)
    out = attend(query, key, value, GRAPH, bias=bias)
    kept = EdgeListGraph(GRAPH.edge_index()[:, [0, 2, 3]], 4, 6)
    torch.testing.assert_close(out, attend(query, key, value, kept, bias=bias[[0, 2, 3]]))
    assert torch.autograd.grad(out, bias, torch.randn_like(out))[0][1] == 0


@pytest.mark.parametrize("kernel", [None, "edges", "edges_torch", "reference"])
def test_a_batch_dimension_shares_one_graph(kernel):
    torch.manual_seed(0)
    query, key, value = (torch.randn(3, 6, h, 5, dtype=torch.float64) for h in (4, 2, 2))
    bias = torch.randn(11, 4, dtype=torch.float64)
    graph = BandedGraph(6, 1, 0)
    out = attend(query, key, value, graph, bias=bias, kernel=kernel)
    for b in range(3):
        torch.testing.assert_close(out[b], attend(query[b], key[b], value[b], graph, bias=bias, kernel=kernel))


def test_a_batch_dimension_with_a_learned_score():
    torch.manual_seed(0)
    query, key, value = (torch.randn(3, 6, 2, 5, dtype=torch.float64) for _ in range(3))
    score = Additive(torch.randn(2, 5, dtype=torch.float64))
    out = attend(query, key, value, causal(6), score=score)
    torch.testing.assert_close(out[1], attend(query[1], key[1], value[1], causal(6), score=score))


def test_weights_of_chosen_edges():
    query, key, _ = qkv()
    weights = attention_weights(query, key, GRAPH)
    torch.testing.assert_close(attention_weights(query, key, GRAPH, edges=torch.tensor([3, 0])), weights[[3, 0]])


def test_scale_by_degree_divides():
    query, key, value = qkv()
    plain = attend(query, key, value, GRAPH, normalizer="relu")
    scaled = attend(query, key, value, GRAPH, normalizer=Relu(scale_by_degree=True))
    torch.testing.assert_close(scaled * GRAPH.degrees().clamp(min=1)[:, None, None], plain)


@pytest.mark.parametrize("graph", [causal(6), GRAPH, GlobalGraph(6, [1])], ids=str)
def test_forward_mode_equals_reverse_mode(graph):
    query, key, value = qkv(graph.num_queries, graph.num_keys)
    tangents = [torch.randn_like(x) for x in (query, key, value)]

    def function(query, key, value):
        return attend(query, key, value, graph)

    _, tangent = torch.func.jvp(function, (query, key, value), tuple(tangents))
    cotangent = torch.randn_like(tangent)
    leaves = [x.requires_grad_() for x in (query, key, value)]
    gradients = torch.autograd.grad(function(*leaves), leaves, cotangent)
    by_reverse = sum((g * t).sum() for g, t in zip(gradients, tangents))
    torch.testing.assert_close((tangent * cotangent).sum(), by_reverse)


def test_union_runs_in_parts():
    graph = causal(80) | EdgeListGraph(torch.tensor([[79], [0]]), 80)
    choice = choose(graph, torch.randn(80, 2, 4))
    assert choice.kernel == "banded_cpu + edges_cpu"
    assert "complete and causal" in choice.refusals["sdpa"]


def test_threads_do_not_change_a_bit():
    torch.manual_seed(0)
    graph = EdgeListGraph(torch.randint(0, 300, (2, 9000)), 300)
    tensors = [torch.randn(300, 4, 16).requires_grad_() for _ in range(3)]
    cotangent = torch.randn(300, 4, 16)
    results, threads = [], torch.get_num_threads()
    for count in (1, 2, 3):
        torch.set_num_threads(count)
        out = attend(*tensors, graph)
        results.append([out, *torch.autograd.grad(out, tensors, cotangent)])
    torch.set_num_threads(threads)
    for other in results[1:]:
        assert all(torch.equal(a, b) for a, b in zip(results[0], other))


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("scale", [-1.0, -0.0, 0.0, -1e-3])
@pytest.mark.parametrize("num_nodes", [7, 120])
def test_scales_of_zero_or_less(num_nodes, scale, dtype):
    """Fused kernels hide keys by scores of -inf, which a scale must not turn round."""
    torch.manual_seed(0)
    for graph in (causal(num_nodes), BandedGraph(num_nodes, 3, 2), CompleteGraph(num_nodes)):
        leaves = [torch.randn(num_nodes, 2, 16, dtype=dtype, requires_grad=True) for _ in range(3)]
        found = []
        for kernel in (None, "reference"):
            out = attend(*leaves, graph, scale=scale, kernel=kernel)
            cotangent = torch.linspace(-1, 1, out.numel()).view_as(out).to(dtype)
            found.append([out, *torch.autograd.grad(out, leaves, cotangent)])
        tolerance = {torch.float64: 1e-12, torch.float32: 1e-4}.get(dtype, 6e-2)
        for actual, wanted in zip(*found, strict=True):
            torch.testing.assert_close(actual, wanted, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize(
    "graph",
    [
        GlobalGraph(40, [1]),
        BandedGraph(40, 2, 2) | GlobalGraph(40, [1]),
        CompleteGraph(40) | GlobalGraph(40, [1]),
        causal(40) | EdgeListGraph(torch.tensor([[39, 20], [0, 3]]), 40),
        batch_graphs([CompleteGraph(20), BandedGraph(20, 2, 2)]),
        batch_graphs([GridGraph((4, 5), 1), CompleteGraph(20)]),
    ],
    ids=str,
)
def test_half_precision_over_graphs_in_parts(graph, dtype):
    """Sums over parts are kept in float32."""
    torch.manual_seed(0)
    leaves = [torch.randn(40, 2, 16, dtype=dtype, requires_grad=True) for _ in range(3)]
    exact = [x.detach().double().requires_grad_() for x in leaves]
    for reduce in (torch.sum, torch.mean, lambda x: (x * torch.linspace(-1, 1, 16, dtype=x.dtype)).sum()):
        out, wanted = attend(*leaves, graph), attend(*exact, graph, kernel="reference")
        assert out.dtype == dtype
        torch.testing.assert_close(out.double(), wanted, rtol=2e-2, atol=2e-2)
        gradients = torch.autograd.grad(reduce(out), leaves), torch.autograd.grad(reduce(wanted), exact)
        for actual, right in zip(*gradients, strict=True):
            torch.testing.assert_close(actual.double(), right, rtol=5e-2, atol=5e-2)


@pytest.mark.parametrize("by", ["edge_index", "edges", "band", "causal"])
def test_whatever_the_default_device_and_dtype_are(by):
    """Everything that is made on the way lies with the tensors: sorting, pieces of work, results, gradients."""
    makers = {
        "edge_index": lambda index: index.clone(),
        "edges": lambda index: EdgeListGraph(index, 3000),
        "band": lambda index: BandedGraph(3000, 70, 3),
        "causal": lambda index: causal([1000, 2000]),
    }
    generator = torch.Generator().manual_seed(0)
    index = torch.randint(3000, (2, 80_000), generator=generator)
    query, key, value = (torch.randn(3000, 2, 8, generator=generator).requires_grad_() for _ in range(3))

    def results():
        out = attend(query, key, value, makers[by](index))
        return out, *torch.autograd.grad(out.sum(), (query, key, value))

    wanted, before = results(), torch.get_default_dtype()
    threads.even_bounds.cache_clear()
    try:
        torch.set_default_dtype(torch.float64)
        with torch.device("meta"):
            found = results()
    finally:
        torch.set_default_dtype(before)
    for actual, right in zip(found, wanted):
        assert torch.equal(actual, right)
