import gc
import weakref

import pytest
import torch

from graphattn import EdgeListGraph, attend, causal, memory_budget
from graphattn.kernels import budget
from graphattn.kernels.budget import range_of
from graphattn.kernels.plain.edges_torch import EdgesTorch
from graphattn.nn import Softmax, TopK
from graphattn.running.arguments import prepare
from graphattn.running.execution import pieces
from graphattn.testing.cases import ASYMMETRIC, RAGGED, REPEATED, STAR, edge_list

GRAPHS = {
    "asymmetric": edge_list(ASYMMETRIC, 6, 8),
    "repeated": edge_list(REPEATED, 5),
    "ragged": edge_list(RAGGED, [3, 0, 4]),
    "star": edge_list(STAR, 40),
    "union": causal(9) | EdgeListGraph(torch.tensor([[8, 7, 5, 6], [0, 0, 1, 2]]), 9),
}
OPTIONS = {
    "plain": {},
    "edges": {"bias": True, "edge_features": True},
    "dropout": {"dropout": 0.4},
    "sink": {"normalizer": Softmax(0.5)},
    "relu": {"normalizer": "relu", "edge_features": True},
    "top_k": {"normalizer": TopK(2), "bias": True},
    "sparsemax": {"normalizer": "sparsemax", "edge_features": True, "dropout": 0.3},
}


def results(graph, num_bytes, option, kernel):
    """Outputs and gradients of all leaves, with a budget if there is one."""
    torch.manual_seed(0)
    options = dict(OPTIONS[option])
    leaves = {
        "query": torch.randn(graph.num_queries, 4, 3),
        "key": torch.randn(graph.num_keys, 2, 3),
        "value": torch.randn(graph.num_keys, 2, 5),
    }
    if options.pop("bias", False):
        leaves["bias"] = torch.randn(graph.num_edges, 4)
    if options.pop("edge_features", False):
        leaves |= {"edge_features": torch.randn(graph.num_edges, 3), "edge_query": torch.randn(graph.num_queries, 4, 3)}
    leaves = {name: x.double().requires_grad_() for name, x in leaves.items()}

    def run():
        torch.manual_seed(1)
        out = attend(**leaves, graph=graph, kernel=kernel, **options)
        return [out] if isinstance(out, torch.Tensor) else list(out)

    if num_bytes is None:
        outputs = run()
    else:
        with memory_budget(num_bytes):
            outputs = run()
    # Outside of the context: the backward pass keeps to the budget of its forward pass.
    torch.manual_seed(2)
    return outputs, torch.autograd.grad(outputs, list(leaves.values()), [torch.randn_like(x) for x in outputs])


@pytest.mark.parametrize("kernel", ["edges_cpu", "edges_torch", None])
@pytest.mark.parametrize("option", OPTIONS)
@pytest.mark.parametrize("name", GRAPHS)
def test_a_budget_changes_nothing(name, option, kernel):
    try:
        wanted, wanted_gradients = results(GRAPHS[name], None, option, kernel)
    except ValueError as refusal:
        assert kernel is not None and f"no kernel named {kernel!r} can run this" in str(refusal)
        pytest.skip(str(refusal))
    for num_bytes in (1,) if name == "asymmetric" else (2000,):  # every row alone; several rows together
        outputs, gradients = results(GRAPHS[name], num_bytes, option, kernel)
        for actual, expected in zip(outputs, wanted, strict=True):
            assert torch.equal(actual, expected) or kernel is None
            torch.testing.assert_close(actual, expected, rtol=1e-12, atol=1e-12)
        for actual, expected in zip(gradients, wanted_gradients, strict=True):
            torch.testing.assert_close(actual, expected, rtol=1e-12, atol=1e-12)


def test_ranges_stay_below_the_budget_and_tiles_stay_whole():
    query = torch.randn(1000, 4, 8)
    graph = EdgeListGraph(torch.randint(1000, (2, 20_000)), 1000)
    with memory_budget(2**19):
        plan, inputs, _ = prepare(query, query, query, graph)
        parts = [part.graph for part, _, _ in pieces(plan, inputs, None)]
        tiled, inputs, _ = prepare(query, query, query, causal(1000))
        assert [part.graph for part, _, _ in pieces(tiled, inputs, None)] == [tiled.graph]
    assert sum(part.num_edges for part in parts) == 20_000 and sum(part.num_queries for part in parts) == 1000
    assert max(part.num_edges for part in parts) * (4 * 4 * 2 + 24) <= 2**19 and 4 < len(parts) < 10
    assert prepare(query, query, query, graph).plan.memory_budget is None


@pytest.mark.parametrize("kernel", ["edges_cpu", "edges_torch"])
def test_ranges_are_there_one_after_the_other(kernel, monkeypatch):
    """Forward and backward: all at once would take more memory than no budget at all."""
    ranges, most = [], []

    def watched(*arguments):
        made = range_of(*arguments)
        ranges.append(weakref.ref(made.graph))
        most.append(sum(graph() is not None for graph in ranges))
        return made

    monkeypatch.setattr(budget, "range_of", watched)
    query = torch.randn(200, 4, 8, requires_grad=True)
    graph = EdgeListGraph(torch.randint(200, (2, 5000)), 200)
    gc.disable()  # none may wait for it
    try:
        with memory_budget(2**14):
            attend(query, query, query, graph, kernel=kernel).sum().backward()
    finally:
        gc.enable()
    assert len(ranges) > 20 and max(most) <= 2  # the next is made before the last is let go


@pytest.mark.parametrize("num_bytes", [0, -1, 1.5, True])
def test_a_budget_is_a_positive_int(num_bytes):
    with pytest.raises(ValueError, match="positive int"), memory_budget(num_bytes):
        pass


def test_gradients_of_a_range_are_gone_before_the_next_makes_its_own(monkeypatch):
    torch.manual_seed(0)
    leaves = [torch.randn(300, 2, 4, requires_grad=True) for _ in range(3)]
    graph, alive, backward = EdgeListGraph(torch.randint(300, (2, 6000)), 300), [], EdgesTorch.backward

    def watched(self, *given):
        # The first range's own may be what the others are added to.
        assert not any(gradient() is not None for gradient in alive[1:])
        found = backward(self, *given)
        alive.append(weakref.ref(found.value))
        return found

    monkeypatch.setattr(EdgesTorch, "backward", watched)
    with memory_budget(2**17):
        attend(*leaves, graph, kernel="edges_torch").sum().backward()
    assert len(alive) > 3
