"""Options of `attend` in any mixture: every way to compute gives the numbers of the dense definition."""

import re
from contextlib import nullcontext

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from graphattn import BandedGraph, EdgeListGraph, GlobalGraph, attend, memory_budget
from graphattn.formulas.normalizers import NORMALIZERS
from graphattn.nn import Bilinear, Cosine, Gat, Gaussian, Relu, Softmax, TopK
from graphattn.running import execution
from tests.fuzz import failures

fuzz = settings(deadline=None, derandomize=True, max_examples=40)
ANY_NORMALIZER = st.sampled_from([*NORMALIZERS, TopK(1), TopK(3), Softmax(sink=-0.5), Relu(scale_by_degree=True)])
NAMES = st.sampled_from(["dot", "cosine", "gaussian", "bilinear", "gat", "function"])


def random(*shape):
    return torch.randn(*shape, dtype=torch.float64)


def score_of(name, kv_heads):
    """Four heads of five channels."""
    parameters = {
        "cosine": lambda: Cosine(random(4).exp()),
        "gaussian": lambda: Gaussian(random(4).exp()),
        "bilinear": lambda: Bilinear(random(4, 5, 5)),
        "gat": lambda: Gat(random(kv_heads, 5), random(4, 5), 0.3),
        "function": lambda: lambda query, key: -(query - key).abs().sum(-1),
    }
    return parameters[name]() if name in parameters else name


@st.composite
def graphs(draw):
    num_nodes = draw(st.integers(1, 8))
    node = st.integers(0, num_nodes - 1)
    edges = draw(st.lists(st.tuples(node, node), max_size=20))
    edge_list = EdgeListGraph(torch.tensor(edges, dtype=torch.long).reshape(-1, 2).t(), num_nodes)
    band = BandedGraph(num_nodes, draw(st.integers(0, 3)), draw(st.integers(0, 3)))
    return draw(st.sampled_from([edge_list, band, band | GlobalGraph(num_nodes, [draw(node)])]))


@fuzz
@given(graphs(), NAMES, ANY_NORMALIZER, st.sampled_from([1, 2, 4]), st.sampled_from([None, 1, 2000]), st.data())
def test_any_mixture_of_options_equals_the_dense_definition(graph, name, normalizer, kv_heads, num_bytes, data):
    torch.manual_seed(data.draw(st.integers(0, 1000)))
    num_nodes, num_edges = graph.num_queries, graph.num_edges
    leaves = [random(num_nodes, heads, 5).requires_grad_() for heads in (4, kv_heads, kv_heads)]
    options = {"score": score_of(name, kv_heads), "normalizer": normalizer}
    if data.draw(st.booleans()):
        options["bias"] = random(num_edges, 4).masked_fill(torch.rand(num_edges, 4) < 0.2, -torch.inf)
    if data.draw(st.booleans()):
        options |= {"edge_features": random(num_edges, 2), "edge_query": random(num_nodes, 4, 2)}
    if data.draw(st.booleans()):
        options["dropout"] = 0.3
    found = []
    for kernel, budget in ((None, num_bytes), ("reference", None)):
        torch.manual_seed(1)
        with nullcontext() if budget is None else memory_budget(budget):
            out = attend(*leaves, graph, kernel=kernel, **options)
        outputs = [out] if isinstance(out, torch.Tensor) else list(out)
        cotangents = [torch.linspace(-1, 1, x.numel(), dtype=x.dtype).view_as(x) for x in outputs]
        found.append([*outputs, *torch.autograd.grad(outputs, leaves, cotangents)])
    for actual, wanted in zip(*found, strict=True):
        scale = max(1.0, wanted.detach().abs().max().item())
        torch.testing.assert_close(actual / scale, wanted / scale, rtol=1e-9, atol=1e-9)


@fuzz
@given(graphs(), NAMES, ANY_NORMALIZER, st.sampled_from([torch.nan, torch.inf, -torch.inf]), st.data())
def test_a_broken_node_reaches_only_those_who_see_it(graph, name, normalizer, broken, data):
    torch.manual_seed(0)
    query, key, value = (random(graph.num_queries, 4, 5) for _ in range(3))
    options = {"score": score_of(name, 4), "normalizer": normalizer}
    node = data.draw(st.integers(0, graph.num_keys - 1))
    out = attend(query, key, value, graph, kernel="edges", **options)
    key[node], value[node] = broken, broken
    changed = attend(query, key, value, graph, **options)
    sees = torch.tensor([bool(graph.allows(i, node)) for i in range(graph.num_queries)])
    torch.testing.assert_close(changed[~sees], out[~sees], rtol=1e-12, atol=1e-12)
    if broken != broken and not isinstance(normalizer, TopK):  # NaN is to be seen by whoever sees the node
        assert changed[sees].isnan().any(-1).all()


@pytest.mark.parametrize("seed", range(0, 300, 50))
def test_random_calls_equal_plain_loops(seed):
    """`python -m tests.fuzz` runs more of them."""
    assert "\n".join(failures(50, seed)) == ""


def test_a_fault_is_one_line_that_runs_again(monkeypatch):
    right = execution.sink_gradient
    monkeypatch.setattr(execution, "sink_gradient", lambda *given: None if right(*given) is None else 2 * right(*given))
    lines = list(failures(200, 0))
    assert lines and all(line.count("\n") == 0 for line in lines)
    seed = int(re.search(r"--cases 1 --seed (\d+)  # AssertionError 'gradient of sink", lines[0]).group(1))
    assert list(failures(1, seed)) == lines[:1]
    monkeypatch.undo()
    assert list(failures(1, seed)) == []
