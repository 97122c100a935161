"""Triton's programs: on a GPU where there is one, else interpreted (see conftest.py)."""

import pytest
import torch

from graphattn import EdgeListGraph, attend, choose_kernel
from graphattn.kernels.cuda import edge_layout as edges_cuda_layout
from graphattn.kernels.cuda import edges_cuda
from graphattn.kernels.cuda.edges_cuda import EdgesCuda, why_not_triton
from graphattn.nn import Additive
from graphattn.running.arguments import prepare

pytestmark = pytest.mark.skipif(why_not_triton() is not None, reason=str(why_not_triton()))

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
HEADS, KV_HEADS, DIM, VALUE_DIM, EDGE_DIM = 6, 3, 5, 7, 3


def problem(num_queries=7, num_keys=5, num_edges=30, dtype=torch.float64, seed=0):
    """An edge list with a heavy row, an empty row, repeats, and leaves for every option."""
    generator = torch.Generator().manual_seed(seed)
    edge_index = torch.stack(
        [torch.randint(0, n, (num_edges,), generator=generator) for n in (num_keys, num_queries - 1)]
    )
    edge_index[1, : num_edges // 2] = 2
    shapes = {
        "query": (num_queries, HEADS, DIM),
        "key": (num_keys, KV_HEADS, DIM),
        "value": (num_keys, KV_HEADS, VALUE_DIM),
        "bias": (num_edges, HEADS),
        "edge_features": (num_edges, EDGE_DIM),
        "edge_query": (num_queries, HEADS, EDGE_DIM),
        "vector": (HEADS, DIM),
        "edge_weight": (HEADS, DIM, EDGE_DIM),
    }
    leaves = {k: torch.randn(shape, generator=generator, dtype=torch.float64).to(dtype) for k, shape in shapes.items()}
    leaves["bias"][3] = -torch.inf
    return EdgeListGraph(edge_index, num_queries, num_keys), leaves


def results(graph, leaves, kernel, activation=None, **options):
    """Outputs and all gradients, with the same dropout every time."""
    leaves = {k: v.to(DEVICE, copy=True).requires_grad_() for k, v in leaves.items()}
    arguments = dict(leaves)
    score = [arguments.pop(name, None) for name in ("vector", "edge_weight")]
    if activation is not None:
        options["score"] = Additive(*score, activation=activation)
    torch.manual_seed(3)
    outputs = attend(graph=graph.to(DEVICE), kernel=kernel, **arguments, **options)
    outputs = [outputs] if isinstance(outputs, torch.Tensor) else list(outputs)
    generator = torch.Generator().manual_seed(4)
    cotangents = [torch.randn(x.shape, generator=generator).to(x) for x in outputs]
    used = [v for k, v in leaves.items() if activation is not None or k not in ("vector", "edge_weight")]
    return [*outputs, *torch.autograd.grad(outputs, used, cotangents)]


def check(graph, leaves, tolerance=1e-12, **options):
    expected = results(graph, leaves, "edges_torch", **options)
    for actual, wanted in zip(results(graph, leaves, "edges_cuda", **options), expected, strict=True):
        torch.testing.assert_close(actual, wanted, rtol=tolerance, atol=tolerance)


def without(leaves, *names):
    return {k: v for k, v in leaves.items() if k not in names}


def test_heavy_rows_and_columns_are_cut_and_joined(monkeypatch):
    monkeypatch.setattr(edges_cuda_layout, "HEAVY", 4)
    for normalizer in ("softmax", "sigmoid"):
        check(*problem(), normalizer=normalizer)


def test_pieces_without_any_finite_score_join_to_an_empty_row(monkeypatch):
    monkeypatch.setattr(edges_cuda_layout, "HEAVY", 4)
    graph, leaves = problem()
    leaves["bias"][:] = -torch.inf
    found = results(graph, leaves, "edges_cuda")
    assert all(not x.any() for x in found)


def test_heads_are_shared_among_programs(monkeypatch):
    monkeypatch.setattr(edges_cuda, "WIDEST", 16)
    graph, leaves = problem()
    check(graph, leaves, dropout=0.3)
    check(graph, leaves, activation="tanh")


@pytest.mark.parametrize("activation", ["tanh", "leaky_relu"])
def test_additive_score_with_edges(activation, monkeypatch):
    monkeypatch.setattr(edges_cuda, "PARTIAL_SUMS", 3)
    check(*problem(), activation=activation)


def test_slope_at_zero_is_that_of_torch():
    graph, leaves = problem()
    leaves = {name: leaves[name].round() for name in ("query", "key", "value", "vector")}  # many sums are 0
    check(graph, leaves, activation="leaky_relu")


@pytest.mark.parametrize("dropout", [0.4, 1.0])
@pytest.mark.parametrize("normalizer", ["softmax", "relu"])
def test_dropout_is_that_of_other_kernels(dropout, normalizer):
    graph, leaves = problem()
    assert graph.has_repeats
    check(graph, leaves, dropout=dropout, normalizer=normalizer)


def test_wide_bias_and_odd_sizes():
    graph, leaves = problem(num_edges=50)
    leaves["bias"] = leaves["bias"][:, 0]
    check(graph, without(leaves, "edge_query", "edge_features"), scale=0.3)


def test_long_indices():
    graph, leaves = problem(num_edges=12)
    narrow = graph.csr(DEVICE)
    expected = results(graph, leaves, "edges_cuda")
    graph = EdgeListGraph(graph.edge_index(), 7, 5).to(DEVICE)
    wide = narrow._replace(**{k: v.long() for k, v in narrow._asdict().items() if v is not None})
    graph.remember_on("csr", DEVICE, lambda device: wide)
    assert edges_cuda_layout.arrangement(graph, graph.device).col.dtype == torch.int64
    for actual, wanted in zip(results(graph, leaves, "edges_cuda"), expected, strict=True):
        assert torch.equal(actual, wanted)


def test_bit_for_bit_repeatable():
    graph, leaves = problem(dtype=torch.float32)
    first, second = (results(graph, leaves, "edges_cuda", dropout=0.2) for _ in range(2))
    assert all(torch.equal(a, b) for a, b in zip(first, second, strict=True))


def test_large_scores_stay_finite():
    graph, leaves = problem(dtype=torch.float32)
    leaves["query"] *= 1e4
    found = results(graph, leaves, "edges_cuda")
    assert all(x.isfinite().all() for x in found)


def test_refusals():
    graph, leaves = problem()
    arguments = [leaves[name].to(DEVICE) for name in ("query", "key", "value")]
    assert choose_kernel(graph.to(DEVICE), *arguments, kernel="edges_cuda").kernel == "edges_cuda"
    if DEVICE == "cpu":
        assert choose_kernel(graph, *arguments).kernel == "edges_cpu"


def test_results_that_nobody_adds_to_are_in_the_dtype_of_the_query(monkeypatch):
    graph, leaves = problem(dtype=torch.bfloat16)
    query, key, value = (leaves[name].to(DEVICE) for name in ("query", "key", "value"))
    plan, inputs, _ = prepare(query, key, value, graph.to(DEVICE))
    for is_final, dtype in ((True, torch.bfloat16), (False, torch.float32)):
        out, lse, _ = EdgesCuda().forward(plan._replace(is_final=is_final), inputs)
        assert out.dtype == dtype and lse.dtype == torch.float32
    monkeypatch.setattr(edges_cuda_layout, "HEAVY", 4)
    plan, inputs, _ = prepare(query, key, value, problem()[0].to(DEVICE))
    assert EdgesCuda().forward(plan._replace(is_final=True), inputs).out.dtype == torch.float32  # a row was in pieces
