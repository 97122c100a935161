import multiprocessing
import os
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch

from graphattn import EdgeListGraph, attend, choose_kernel
from graphattn.formulas.scores import Additive
from graphattn.graphs import CSR
from graphattn.graphs.csr import transpose
from graphattn.kernels.native import build, edges_cpu, library, rows, threads
from graphattn.testing.cases import STAR


@pytest.fixture
def problem():
    torch.manual_seed(0)
    graph = EdgeListGraph(torch.randint(0, 400, (2, 8000)), 400)
    return graph, [torch.randn(400, 4, 16) for _ in range(3)]


WEIGHTS = torch.ones(4, 16), torch.ones(4, 16, 5)


@pytest.mark.parametrize(
    "score", ["dot", Additive(*WEIGHTS), Additive(*WEIGHTS, "leaky_relu")], ids=["dot", "tanh", "leaky"]
)
def test_wide_indices_give_the_same(problem, score, monkeypatch):
    graph, tensors = problem
    rows.transposition(graph)
    wide = EdgeListGraph(graph.edge_index(), 400)
    wide.remember_on("csr", "cpu", lambda _: CSR(*(x.long() for x in graph.by_query())))
    monkeypatch.setattr(rows, "transpose", lambda *arguments: CSR(*(x.long() for x in transpose(*arguments))))
    features, bias = torch.randn(8000, 5), torch.randn(8000, 4)
    edge_query = torch.randn(400, 4, 5) if score == "dot" else None
    cotangents, results = None, []
    for each in (graph, wide):
        leaves = [x.clone().requires_grad_() for x in (*tensors, features, bias)]
        options = dict(edge_features=leaves[3], bias=leaves[4], edge_query=edge_query, score=score, kernel="edges_cpu")
        outputs = attend(*leaves[:3], each, **options)
        cotangents = cotangents or [torch.randn_like(x) for x in outputs]
        results.append([*outputs, *torch.autograd.grad(outputs, leaves, cotangents)])
    assert rows.arrangement(wide).edge_id.dtype == rows.transposition(wide).place.dtype == torch.int64
    assert all(torch.equal(one, other) for one, other in zip(*results, strict=True))


@pytest.mark.parametrize("normalizer", ["softmax", "relu"])
def test_heavy_rows_are_cut_without_changing_the_result(monkeypatch, normalizer):
    torch.manual_seed(0)
    edge_index = torch.tensor(STAR).t()
    features, cotangents = torch.randn(78, 3, dtype=torch.float64), None
    tensors = [torch.randn(40, 2, 5, dtype=torch.float64).requires_grad_() for _ in range(3)]
    edge_query = torch.randn(40, 2, 3, dtype=torch.float64).requires_grad_()
    results = []
    for heavy in (rows.HEAVY, 7):
        monkeypatch.setattr(rows, "HEAVY", heavy)
        graph = EdgeListGraph(edge_index, 40)
        options = {"edge_features": features, "edge_query": edge_query, "normalizer": normalizer, "kernel": "edges_cpu"}
        outputs = attend(*tensors, graph, **options)
        cotangents = cotangents or [torch.randn_like(x) for x in outputs]
        results.append([*outputs, *torch.autograd.grad(outputs, [*tensors, edge_query], cotangents)])
        assert rows.arrangement(graph).by_query.num_rows == (40 if heavy > 39 else 45)
    for whole, cut in zip(*results):
        torch.testing.assert_close(cut, whole, rtol=1e-12, atol=1e-12)


def test_large_scores_do_not_overflow():
    query = torch.tensor([100.0, -100.0]).view(2, 1, 1)
    key = torch.tensor([100.0, 99.0]).view(2, 1, 1)
    graph = EdgeListGraph(torch.tensor([[0, 1, 0, 1], [0, 0, 1, 1]]), 2)
    out = attend(query, key, torch.tensor([1.0, 2.0]).view(2, 1, 1), graph, kernel="edges_cpu")
    assert torch.equal(out.flatten(), torch.tensor([1.0, 2.0]))


def test_rows_longer_than_a_block_keep_a_running_maximum():
    torch.manual_seed(0)
    count = 5 * 64 + 3
    graph = EdgeListGraph(torch.stack([torch.arange(count), torch.zeros(count, dtype=torch.long)]), 1, count)
    query, value = torch.ones(1, 2, 1, dtype=torch.float64), torch.randn(count, 2, 3, dtype=torch.float64)
    rising = torch.linspace(-30, 40, count, dtype=torch.float64)  # the maximum grows in every block
    key = torch.stack([rising, rising.flip(0) / 2], 1)[..., None]  # and in none of the second head
    wanted = torch.einsum("kh,khc->hc", torch.softmax(key[..., 0], 0), value)
    out = attend(query, key, value, graph, scale=1.0, kernel="edges_cpu")
    torch.testing.assert_close(out[0], wanted, rtol=1e-12, atol=1e-12)


def run_in_child(problem, connection):
    graph, tensors = problem
    connection.send(attend(*tensors, graph, kernel="edges_cpu").numpy())


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
def test_runs_in_a_forked_process(problem):
    graph, tensors = problem
    torch.set_num_threads(2)
    wanted = attend(*tensors, graph, kernel="edges_cpu")  # the parent has a pool by now
    context = multiprocessing.get_context("fork")
    receiver, sender = context.Pipe(duplex=False)
    torch.set_num_threads(1)  # torch's own threads do not survive a fork either
    child = context.Process(target=run_in_child, args=(problem, sender))
    child.start()
    assert receiver.poll(60), "the forked process does not answer"
    assert (receiver.recv() == wanted.numpy()).all()
    child.join()


def test_runs_in_several_threads_at_once(problem):
    graph, tensors = problem
    wanted = attend(*tensors, graph, kernel="edges_cpu")
    with ThreadPoolExecutor(4) as executor:
        results = list(executor.map(lambda _: attend(*tensors, graph, kernel="edges_cpu"), range(16)))
    assert all(torch.equal(result, wanted) for result in results)


def test_without_the_library_torch_operations_run(problem, monkeypatch):
    graph, tensors = problem
    wanted = attend(*tensors, graph, kernel="edges_cpu")
    graph = graph.clone()  # which has seen no call
    graph.by_query()
    monkeypatch.setattr(build, "library_name", lambda: "no_such_library.so")
    library.library.cache_clear()
    library.why_not_native.cache_clear()
    try:
        choice = choose_kernel(graph, *tensors)
        assert choice.kernel == "edges_torch"
        assert (
            "no_such_library.so' is missing" in choice.refusals["edges_cpu"]
            and "build.py" in choice.refusals["edges_cpu"]
        )
        torch.testing.assert_close(attend(*tensors, graph), wanted, rtol=1e-5, atol=1e-5)
        with pytest.raises(ValueError, match="no_such_library.so' is missing"):
            attend(*tensors, graph, kernel="edges_cpu")
    finally:
        library.library.cache_clear()
        library.why_not_native.cache_clear()


@pytest.mark.parametrize("options", ["plain", "edges", "gatv2", "gat", "tanh"])
def test_the_number_of_threads_changes_no_bit(monkeypatch, options):
    """Rows of every length, so many that threads finish in another order each time; parameters are summed over pieces."""
    torch.manual_seed(0)
    monkeypatch.setattr(threads, "PIECE", 2**12)
    edge_index = (torch.rand(2, 9000) ** 2 * 300).long()
    dim, features = 1 if options == "gat" else 8, torch.randn(9000, 3)
    leaves = [torch.randn(300, 4, width) for width in (dim, dim, 8)]
    given = {"edges": {"edge_features": features, "edge_query": torch.randn(300, 4, 3)}}.get(options, {})
    if options in ("gatv2", "gat", "tanh"):
        parameters = [torch.randn(4, dim), torch.randn(4, dim, 3)]
        activation = "tanh" if options == "tanh" else "leaky_relu"
        given = {"score": Additive(*parameters, activation), "edge_features": features}
        leaves += parameters
    leaves = [x.requires_grad_() for x in (*leaves, *given.values()) if isinstance(x, torch.Tensor)]
    results, before = [], torch.get_num_threads()
    try:
        for count in (1, 2, 2, 3):
            torch.set_num_threads(count)
            graph = EdgeListGraph(edge_index, 300)  # nothing is remembered from the run before
            outputs = attend(*leaves[:3], graph, kernel="edges_cpu", **given)
            outputs = [outputs] if isinstance(outputs, torch.Tensor) else list(outputs)
            results.append([*outputs, *torch.autograd.grad(sum(x.square().sum() for x in outputs), leaves)])
    finally:
        torch.set_num_threads(before)
    assert all(torch.equal(x, y) for other in results[1:] for x, y in zip(results[0], other, strict=True))


@pytest.mark.parametrize("score", ["dot", "additive"])
@pytest.mark.parametrize("seen", [180, 200])  # of 200 keys
def test_keys_of_one_query_at_most(monkeypatch, seen, score):
    monkeypatch.setattr(rows, "HEAVY", 50)
    monkeypatch.setattr(edges_cpu, "empty", lambda shape, dtype: torch.full(shape, torch.nan, dtype=dtype))
    torch.manual_seed(0)
    query = torch.randint(0, 3, (seen,)).sort().values
    graph = EdgeListGraph(torch.stack([torch.randperm(200)[:seen], query]), 3, 200)
    assert rows.keys_have_one_query(graph)
    tensors = [torch.randn(n, h, 5, dtype=torch.float64).requires_grad_() for n, h in ((3, 4), (200, 2), (200, 2))]
    parameters = [torch.randn(*shape, dtype=torch.float64).requires_grad_() for shape in ((4, 5), (4, 5, 3))]
    options = {"edge_features": torch.randn(seen, 3, dtype=torch.float64).requires_grad_(), "dropout": 0.3}
    wanted = [*tensors, options["edge_features"]]
    if score == "additive":
        score, wanted = Additive(*parameters), [*wanted, *parameters]
    results = []
    for kernel in ("edges_cpu", "reference"):
        torch.manual_seed(1)
        out, edge_out = attend(*tensors, graph, score=score, kernel=kernel, **options)
        cotangents = [torch.randn_like(x) for x in (out, edge_out)]
        results.append([out, edge_out, *torch.autograd.grad((out, edge_out), wanted, cotangents)])
    for found, right in zip(*results, strict=True):
        torch.testing.assert_close(found, right, rtol=1e-10, atol=1e-10)


def test_gradients_are_made_only_for_what_needs_one(problem, monkeypatch):
    graph, tensors = problem
    made = []
    backward = edges_cpu.EdgesCpu.backward
    monkeypatch.setattr(edges_cpu.EdgesCpu, "backward", lambda *args: made.append(backward(*args)) or made[-1])
    features = torch.randn(8000, 3)
    weight = torch.randn(4, 16, 3, requires_grad=True)
    query, key, value = tensors
    value.requires_grad_()
    score = Additive(torch.randn(4, 16), weight)
    out, _ = attend(query, key, value, graph, score=score, edge_features=features, kernel="edges_cpu")
    out.backward(torch.randn_like(out))
    (grads,) = made
    assert (grads.key, grads.edge_features) == (None, None)
    assert value.grad.abs().sum() > 0
    assert weight.grad.abs().sum() > 0


@pytest.mark.parametrize("score", ["dot", "leaky_relu", "tanh"])
@pytest.mark.parametrize("heavy", [20, 2**14])
def test_keys_that_need_no_gradient_are_not_sorted_by(score, heavy, monkeypatch):
    monkeypatch.setattr(rows, "HEAVY", heavy)
    torch.manual_seed(0)
    edge_index = torch.randint(0, 15, (2, 400))
    leaves = [torch.randn(*shape, dtype=torch.float64) for shape in ((15, 4, 5), (15, 2, 5), (15, 2, 5), (400, 4))]
    cotangent, found = torch.randn(15, 4, 5, dtype=torch.float64), []
    for wanted in ((0, 3), (0, 1, 2, 3)):
        graph = EdgeListGraph(edge_index, 15)
        given = [x.clone().requires_grad_(number in wanted) for number, x in enumerate(leaves)]
        vector = torch.full((4, 5), 0.3, dtype=torch.float64, requires_grad=True)
        options = {} if score == "dot" else {"score": Additive(vector, None, score)}
        out = attend(*given[:3], graph, bias=given[3], kernel="edges_cpu", **options)
        asked = [given[0], given[3], *([] if score == "dot" else [vector])]
        found.append(torch.autograd.grad(out, asked, cotangent))
        knows = graph.known(("edges_cpu transposition", torch.device("cpu"))) is not None
        assert knows == (1 in wanted)
    for one, other in zip(*found, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-12, atol=1e-12)


def test_slope_at_zero_is_that_of_torch():
    graph = EdgeListGraph(torch.tensor([[0, 1, 2, 0], [0, 0, 1, 1]]), 2, 3)
    target = torch.tensor([[[1.0, -2.0]], [[0.5, 0.0]]], dtype=torch.float64)
    # Sums of 0 in both channels.
    source = torch.tensor([[[-1.0, 2.0]], [[-1.0, 1.0]], [[3.0, 0.0]]], dtype=torch.float64)
    vector, features = torch.tensor([[1.0, -0.7]], dtype=torch.float64), torch.zeros(4, 2, dtype=torch.float64)
    for weight in (None, torch.ones(1, 2, 2, dtype=torch.float64)):
        results = []
        for kernel in ("edges_cpu", "edges_torch"):
            leaves = [x.clone().requires_grad_() for x in (target, source, vector)]
            score = Additive(leaves[2], weight, "leaky_relu")
            options = {} if weight is None else {"edge_features": features}
            out = attend(leaves[0], leaves[1], leaves[1].exp(), graph, score=score, kernel=kernel, **options)
            out = out if weight is None else out[0]
            results.append(torch.autograd.grad(out, leaves, torch.tensor([1.0, -3.0]).double().expand(2, 1, 2)))
        for found, wanted in zip(*results, strict=True):
            torch.testing.assert_close(found, wanted, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("score", ["dot", "additive"])
def test_edge_features_of_no_width(score):
    graph, query = EdgeListGraph(torch.tensor([[0, 1, 2], [1, 2, 2]]), 5), torch.randn(5, 2, 4, requires_grad=True)
    features = torch.randn(3, 0, requires_grad=True)
    options = {"score": Additive(torch.randn(2, 4))} if score == "additive" else {"edge_query": torch.randn(5, 2, 0)}
    found = []
    for kernel in ("edges_cpu", "edges_torch"):
        outputs = attend(query, query, query, graph, edge_features=features, kernel=kernel, **options)
        assert [x.shape for x in outputs] == [(5, 2, 4), (5, 2, 0)]
        found.append([outputs[0], *torch.autograd.grad(outputs[0].sum(), (query, features), allow_unused=True)])
    for actual, wanted in zip(*found):
        assert actual is wanted or torch.allclose(actual, wanted, atol=1e-6)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.float16])
@pytest.mark.parametrize("normalizer", ["softmax", "relu", "sigmoid"])
@pytest.mark.parametrize("place", range(3))
def test_infinity_is_infinity_wherever_its_edge_stands(place, normalizer, dtype):
    """Lanes without an edge read no other edge's numbers: 0 times infinity would be NaN."""
    nodes, edges = torch.ones(3, 1, 1, dtype=dtype), torch.tensor([[0, 1, 2], [0, 0, 0]])
    value, features = nodes.clone(), torch.ones(3, 1, dtype=dtype)
    value[place] = features[place] = torch.inf
    options = {"normalizer": normalizer, "kernel": "edges_cpu"}
    out, edge_out = attend(nodes, nodes, value, EdgeListGraph(edges, 3), edge_features=features, **options)
    assert out.flatten().tolist() == edge_out.flatten().tolist() == [torch.inf, 0, 0]
