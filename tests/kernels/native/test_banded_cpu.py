"""Bands of several runs, chunks and blocks in float32; small ones of every kind are in test_every_kernel.py."""

import subprocess
import sys

import pytest
import torch

from graphattn import BandedGraph, CompleteGraph, attend, causal, choose_kernel
from graphattn.formulas.offsets import offsets_of
from graphattn.kernels.native import banded_cpu, build
from graphattn.kernels.native.bands import lanes
from graphattn.kernels.native.library import level, why_not_native
from graphattn.nn import ALiBi, RelativeBias, T5Bias
from tests.kernels.fused.test_banded_torch import GRAPHS as BANDS

pytestmark = pytest.mark.skipif(why_not_native() is not None, reason="no compiled loops here")

TILE = 32  # lanes of a tile where registers are widest
GRAPHS = {
    **BANDS,
    "key 0 is hidden from the last lane of a tile alone": BandedGraph(2 * TILE, TILE - 2, 3),
    "the last key is hidden from the first lane of a tile alone": BandedGraph(2 * TILE, 3, 2 * TILE - 2),
    "complete": CompleteGraph(300),
    "complete, rectangular": CompleteGraph(70, 600),
    "complete, the longest example without keys": CompleteGraph([1, 6, 7], [4, 6, 0]),
    "complete, the longest example without queries": CompleteGraph([3, 0, 4], [2, 9, 5]),
    "complete, ragged": CompleteGraph([40, 3, 0, 310, 5], [50, 9, 4, 280, 0]),
}
# heads, kv_heads, dim, value_dim
SHAPES = [(1, 1, 1, 1), (4, 2, 8, 6), (3, 3, 16, 40), (4, 1, 33, 20)]
TOLERANCE = 2e-6


def problem(graph, heads, kv_heads, dim, value_dim, rule=None):
    """Leaves and a cotangent in float32, and the result and gradients by edges in float64."""
    generator = torch.Generator().manual_seed(0)
    leaves = [
        torch.randn(graph.num_queries, heads, dim, generator=generator),
        torch.randn(graph.num_keys, kv_heads, dim, generator=generator),
        torch.randn(graph.num_keys, kv_heads, value_dim, generator=generator),
    ]
    cotangent = torch.randn(graph.num_queries, heads, value_dim, generator=generator)
    exact = None if rule is None else rule.double()
    return leaves, cotangent, derivatives([x.double() for x in leaves], graph, cotangent.double(), exact, "edges_torch")


def derivatives(leaves, graph, cotangent, rule=None, kernel="banded_cpu"):
    leaves = [x.detach().requires_grad_() for x in leaves]
    out = attend(*leaves, graph, bias=rule(graph) if rule and kernel == "edges_torch" else rule, kernel=kernel)
    leaves += [] if rule is None else [x for x in rule.parameters() if x.requires_grad]
    return [out, *torch.autograd.grad(out, leaves, cotangent)]


def close(found, wanted):
    for x, exactly in zip(found, wanted, strict=True):
        # Gradients are differences of numbers that grow with the channels; some are wholly 0.
        scale = max(1.0, exactly.abs().max().item()) if exactly.numel() else 1.0
        torch.testing.assert_close(x.double() / scale, exactly / scale, rtol=TOLERANCE, atol=5 * TOLERANCE)


@pytest.fixture(params=[0, 10**9], ids=["in turns", "queries apart"])
def way(request, monkeypatch):
    """Both ways to the gradient of the query."""
    monkeypatch.setattr(banded_cpu, "LEAST_ITEMS", request.param)


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("name", GRAPHS)
def test_equals_edges(name, shape, way):
    check(name, shape)


def check(name, shape):
    leaves, cotangent, wanted = problem(GRAPHS[name], *shape)
    close(derivatives(leaves, GRAPHS[name], cotangent), wanted)


def random_rule(heads, taken=True):
    """A number for each head and each offset, -inf for some."""
    rule = RelativeBias(heads, 6)
    torch.nn.init.normal_(rule.table, generator=torch.Generator().manual_seed(1))
    if taken:
        rule.table.data[::5, 0] = -torch.inf
        rule.table.data[len(rule.table) // 2, :] = 1.0  # an edge to every query that sees itself
    return rule


@pytest.mark.parametrize("name", [name for name, graph in GRAPHS.items() if offsets_of(graph) is not None])
def test_a_bias_by_offset_equals_one_by_edge(name, way):
    check_bias(name)


def check_bias(name):
    graph, rule = GRAPHS[name], random_rule(4)
    leaves, cotangent, wanted = problem(graph, 4, 2, 8, 6, rule)
    close(derivatives(leaves, graph, cotangent, rule.float()), wanted)
    rule.requires_grad_(False)
    close(derivatives(leaves, graph, cotangent, rule), wanted[:-1])


def test_a_causal_graph_with_a_bias():
    graph, rule = causal(400), ALiBi(4)
    leaves, cotangent, wanted = problem(graph, 4, 4, 8, 8, rule)
    assert choose_kernel(graph, *leaves, bias=rule.float()).kernel == "banded_cpu"
    close(derivatives(leaves, graph, cotangent, rule), wanted)


def test_a_bias_that_takes_every_edge_of_some_queries():
    graph, rule = BandedGraph(100, 4, 8), random_rule(4)
    rule.table.data.fill_(-torch.inf)[9:12] = 0.5  # the keys 3 ... 5 further on
    leaves, cotangent, wanted = problem(graph, 4, 2, 8, 6, rule)
    out, *gradients = found = derivatives(leaves, graph, cotangent, rule.float())
    assert out[:97].ne(0).all() and out[97:].eq(0).all() and gradients[0][97:].eq(0).all()
    close(found, wanted)


@pytest.mark.parametrize("scale", [0.0, -0.7, 30.0])
def test_scales(scale):
    graph = BandedGraph(500, 20, 9)
    query, key, value = torch.randn(3, 500, 2, 8)
    wanted = attend(query.double(), key.double(), value.double(), graph, scale=scale, kernel="edges_torch")
    found = attend(query, key, value, graph, scale=scale, kernel="banded_cpu")
    torch.testing.assert_close(found.double(), wanted, rtol=1e-4, atol=1e-4)


def test_scores_that_exp_alone_could_not_take():
    """exp(300) is no float32; a first block of scores far below those of the next must not leave its weights."""
    graph = BandedGraph(300, 299, 299 - 1)
    key = torch.linspace(-300, 300, 300).view(300, 1, 1)
    query, value = torch.ones(300, 1, 1), torch.randn(300, 1, 3)
    exact = attend(query.double(), key.double(), value.double(), graph, scale=1.0, kernel="edges_torch")
    found = attend(query, key, value, graph, scale=1.0, kernel="banded_cpu")
    torch.testing.assert_close(found.double(), exact, rtol=1e-5, atol=1e-5)


def test_weights_are_those_of_before_in_the_backward_pass(way):
    """Scores of some thousands are rounded by as many 1e-7: the same way each time, or the weight of a lonely edge is not 1."""
    graph = BandedGraph(100, 0, 0)
    leaves, cotangent, _ = problem(graph, 1, 1, 15, 8)  # a scale that is no power of two
    *_, of_value = derivatives([leaves[0] * 40, leaves[1] * 40, leaves[2]], graph, cotangent)
    torch.testing.assert_close(of_value, cotangent, rtol=1e-6, atol=0)


def test_scores_that_are_all_very_low():
    graph, value = BandedGraph(100, 7, 2), torch.randn(100, 1, 3)
    query, key = torch.ones(100, 1, 1), torch.full((100, 1, 1), -1e30)
    wanted = attend(query, torch.zeros_like(key), value, graph, scale=1.0, kernel="edges_torch")
    torch.testing.assert_close(attend(query, key, value, graph, scale=1.0, kernel="banded_cpu"), wanted)


def test_the_same_whatever_the_number_of_threads(way):
    graph, rule = BandedGraph(3000, 30, 30), random_rule(4, taken=False)
    leaves, cotangent, _ = problem(graph, 4, 2, 16, 16)
    threads, found = torch.get_num_threads(), []
    try:
        for count in (1, 2, 5):
            torch.set_num_threads(count)
            found.append(derivatives(leaves, graph, cotangent, rule))
    finally:
        torch.set_num_threads(threads)
    for others in found[1:]:
        assert all(torch.equal(x, y) for x, y in zip(found[0], others))


@pytest.mark.parametrize("broken", [1, 2], ids=["key", "value"])
@pytest.mark.parametrize("number", [torch.nan, torch.inf, -torch.inf])
def test_hidden_keys_that_are_not_finite_are_left_to_edges(broken, number):
    graph = BandedGraph(400, 60, 60)
    leaves, cotangent, _ = problem(graph, 2, 1, 8, 8)
    wanted = derivatives(leaves, graph, cotangent)
    leaves[broken][200, 0, 3] = number
    assert choose_kernel(graph, *leaves).kernel == "edges_cpu"
    found = [attend(*leaves, graph), *derivatives(leaves, graph, cotangent, kernel=None)]
    for x in found[:3]:  # the result, twice, and the gradient of the query
        right = wanted[0] if x is not found[2] else wanted[1]
        torch.testing.assert_close(x[:140], right[:140])
        torch.testing.assert_close(x[261:], right[261:])
    with pytest.raises(ValueError, match="would spread NaN"):
        attend(*leaves, graph, kernel="banded_cpu")


def test_a_query_that_is_not_finite_reaches_itself_alone():
    graph = BandedGraph(400, 60, 60)
    query, key, value = torch.randn(3, 400, 2, 8)
    wanted = attend(query, key, value, graph, kernel="banded_cpu")
    query[7] = torch.nan
    out = attend(query, key, value, graph, kernel="banded_cpu")
    assert out[7].isnan().all()
    assert torch.equal(out[:7], wanted[:7]) and torch.equal(out[8:], wanted[8:])


def test_neighbours_alone_matter_bit_for_bit():
    graph = BandedGraph(700, 40, 3)
    query, key, value = torch.randn(3, 700, 2, 8)
    wanted = attend(query, key, value, graph, kernel="banded_cpu")
    for x in (key, value):
        x[350] = torch.randn(2, 8) * 100
    out = attend(query, key, value, graph, kernel="banded_cpu")
    is_near = torch.zeros(700, dtype=torch.bool)
    is_near[347:391] = True
    assert torch.equal(out[~is_near], wanted[~is_near])
    assert (out[is_near] != wanted[is_near]).any(2).all()


NARROW = """
import sys
from graphattn.kernels.native import bands, library
library.level = bands.level = lambda: sys.argv[1]
from tests.kernels.native import test_banded_cpu as tests
for name in ("many tiles", "dilation, offset, rectangular", "short and long examples", "complete, rectangular"):
    for least in (0, 10**9):
        tests.banded_cpu.LEAST_ITEMS = least
        tests.check(name, (4, 2, 8, 6))
        tests.check(name, (3, 3, 16, 40))
        tests.check(name, (4, 1, 33, 20))
        if name != "short and long examples":
            tests.check_bias(name)
print(*bands.lanes())
"""


@pytest.mark.parametrize("narrow", build.X86_LEVELS)
def test_narrow_registers(narrow):
    if narrow >= level():
        pytest.skip("the processor's own registers, or wider ones")
    found = subprocess.run([sys.executable, "-c", NARROW, narrow], check=True, capture_output=True, text=True)
    assert tuple(map(int, found.stdout.split())) != lanes()


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("where", ["query", "grad_out"])
@pytest.mark.parametrize("rule", [None, "table"])
def test_nan_of_a_query_reaches_only_the_keys_that_it_sees(where, rule, dtype):
    torch.manual_seed(0)
    graph, row = BandedGraph(70, 3, 1), 40
    tensors = [torch.randn(70, 2, 16).to(dtype) for _ in range(3)]
    cotangent = torch.randn(70, 2, 16).to(dtype)
    (tensors[0] if where == "query" else cotangent)[row, 0] = torch.nan
    table = ALiBi(2) if rule else None
    found, wanted = [], []
    for kernel, gradients in (("banded_cpu", found), ("edges_cpu", wanted)):
        leaves = [x.clone().requires_grad_() for x in tensors]
        out = attend(*leaves, graph, bias=table, kernel=kernel)
        gradients += torch.autograd.grad(out, leaves, cotangent)
    for own, other in zip(found, wanted, strict=True):
        assert own.isnan().equal(other.isnan())
        torch.testing.assert_close(own, other, equal_nan=True, rtol=2e-2, atol=2e-2)
    assert found[1].isnan().any(2).any(1).nonzero().flatten().tolist() == [37, 38, 39, 40, 41]


def test_a_learned_bias_by_offset_beside_nan_has_the_gradient_of_edges():
    torch.manual_seed(0)
    graph, rule = CompleteGraph(40), T5Bias(2)
    tensors = [torch.randn(40, 2, 16) for _ in range(3)]
    cotangent = torch.randn(40, 2, 16)
    cotangent[7, 1] = torch.inf
    of_rule = []
    for kernel in ("banded_cpu", "edges_cpu"):
        leaves = [x.clone().requires_grad_() for x in tensors]
        out = attend(*leaves, graph, bias=rule, kernel=kernel)
        of_rule.append(torch.autograd.grad(out, [*leaves, *rule.parameters()], cotangent))
    torch.testing.assert_close(*of_rule, equal_nan=True, rtol=1e-4, atol=1e-4)
