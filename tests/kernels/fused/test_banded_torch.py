"""Bands with many tiles; small ones of every kind are in test_every_kernel.py."""

import subprocess
import sys
from functools import cache

import pytest
import torch

from graphattn import BandedGraph, CompleteGraph, EdgeListGraph, attend, causal, choose_kernel
from graphattn.formulas.offsets import offsets_of
from graphattn.kernels.fused import tiled, tiles
from graphattn.nn import RelativeBias

SHORT_AND_LONG = [3, 700, 1, 0, 12, 5, 5, 2, 301, 40, 7, 1, 90]

GRAPHS = {
    "many tiles": BandedGraph(1000, 16, 16),
    "no multiple of a block": BandedGraph(1003, 20, 3),
    "causal window": BandedGraph(517, 50, 0),
    "after alone": BandedGraph(517, 0, 50),
    "wider than a block": BandedGraph(900, 150, 90),
    "nearly complete": BandedGraph(300, 250, 299),
    "one tile": BandedGraph(20, 4, 5),
    "diagonal": BandedGraph(100, 0, 0),
    "dilation": BandedGraph(1001, 9, 5, dilation=3),
    "dilation, offset, rectangular": BandedGraph(403, 9, 5, dilation=7, num_keys=611, offset=101),
    "dilation, one residue": BandedGraph(1, 3, 3, dilation=8, num_keys=50, offset=25),
    "dilation, fewer keys than residues": BandedGraph(90, 5, 5, dilation=8, num_keys=5),
    "offset": BandedGraph(600, 12, 9, offset=5),
    "window without its own key": BandedGraph(600, 9, 0, offset=-4),
    "rectangular": BandedGraph(300, 30, 10, num_keys=900, offset=400),
    "more queries than keys": BandedGraph(900, 30, 10, num_keys=200, offset=-150),
    "cache of keys": BandedGraph(5, None, 0, num_keys=500, offset=495),
    "short and long examples": BandedGraph(SHORT_AND_LONG, 16, 8),
    "short and long examples, dilation": BandedGraph(SHORT_AND_LONG, 10, 3, dilation=3),
    "one query each": BandedGraph([1] * 9, 90, 0, num_keys=range(100, 190, 10), offset=range(99, 189, 10)),
    # The second example has no edge: its rows lie where the first one's keys go on.
    "examples without edges between": BandedGraph([80, 40, 80], 20, 20, num_keys=[120, 0, 80]),
    "example out of reach": BandedGraph([80, 40, 80], 9, 9, offset=[0, 500, -3]),
    "rectangular examples": BandedGraph([80, 7, 200, 9], 9, 20, num_keys=[50, 90, 300, 1], offset=[-20, 40, 50, 0]),
    "transposed": BandedGraph([80, 200], 9, 20, num_keys=[50, 300], offset=[-20, 50]).T,
}


@pytest.fixture(autouse=True)
def tiles_inside_strips_are_always_apart(monkeypatch):
    monkeypatch.setattr(tiles, "LEAST_AREA_INSIDE", 1)


def tensors_of(graph, heads=4, kv_heads=2, dim=8, value_dim=6, dtype=torch.float64):
    generator = torch.Generator().manual_seed(0)
    shapes = (
        (graph.num_queries, heads, dim),
        (graph.num_keys, kv_heads, dim),
        (graph.num_keys, kv_heads, value_dim),
        (graph.num_queries, heads, value_dim),
    )
    *leaves, cotangent = (torch.randn(shape, generator=generator, dtype=torch.float64).to(dtype) for shape in shapes)
    return [x.requires_grad_() for x in leaves], cotangent


def result_and_gradients(graph, kernel, rule=None, is_tensor=False, **options):
    leaves, cotangent = tensors_of(graph, **options)
    out = attend(*leaves, graph, bias=rule(graph) if is_tensor else rule, kernel=kernel)
    leaves += [] if rule is None else [*rule.parameters()]
    return [out, *torch.autograd.grad(out, leaves, cotangent)]


def random_rule(axes=1, heads=4):
    """A number for each head and each offset, -inf for some."""
    rule = RelativeBias(heads, 6, axes).double()
    torch.nn.init.normal_(rule.table, generator=torch.Generator().manual_seed(1))
    rule.table.data[::5, 1] = -torch.inf
    rule.table.data[len(rule.table) // 2, :] = 1.0  # an edge to every query that sees itself
    return rule


@cache
def by_edges(name):
    return result_and_gradients(GRAPHS[name], "edges_torch")


def close(actual, wanted, tolerance=1e-12):
    for a, w in zip(actual, wanted, strict=True):
        torch.testing.assert_close(a, w, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("bytes_per_call", [1, 2**14, 2**22], ids=["one tile", "some", "all"])
@pytest.mark.parametrize("name", GRAPHS)
def test_equals_edges(name, bytes_per_call, monkeypatch):
    monkeypatch.setattr(tiled, "BYTES_PER_CALL", bytes_per_call)
    assert isinstance(GRAPHS[name].normal_form(), BandedGraph)
    close(result_and_gradients(GRAPHS[name], "banded"), by_edges(name))


@pytest.mark.parametrize("bytes_per_call", [2**12, 2**22], ids=["few tiles", "all"])
@pytest.mark.parametrize("name", [name for name, graph in GRAPHS.items() if offsets_of(graph) is not None])
def test_a_bias_by_offset_equals_one_by_edge(name, bytes_per_call, monkeypatch):
    monkeypatch.setattr(tiled, "BYTES_PER_CALL", bytes_per_call)
    rule = random_rule()
    wanted = result_and_gradients(GRAPHS[name], "edges_torch", rule, is_tensor=True)
    close(result_and_gradients(GRAPHS[name], "banded", rule), wanted)


def test_a_bias_without_a_gradient():
    graph, rule = GRAPHS["wider than a block"], random_rule()
    wanted = result_and_gradients(graph, "edges_torch", rule, is_tensor=True)[:-1]
    rule.requires_grad_(False)
    leaves, cotangent = tensors_of(graph)
    out = attend(*leaves, graph, bias=rule, kernel="banded")
    close([out, *torch.autograd.grad(out, leaves, cotangent)], wanted)


def test_a_bias_that_takes_every_edge_of_some_queries():
    rule = RelativeBias(4, 6).double()
    rule.table.data.fill_(-torch.inf)[9:12] = 0.5  # the keys 3 ... 5 further on
    out, *gradients = result_and_gradients(BandedGraph(100, 4, 8), "banded", rule)
    assert out[:97].ne(0).all() and out[97:].eq(0).all()
    assert gradients[0][97:].eq(0).all() and all(x.isfinite().all() for x in gradients)
    close([out, *gradients], result_and_gradients(BandedGraph(100, 4, 8), "edges_torch", rule, is_tensor=True))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=str)
@pytest.mark.parametrize("name", ["many tiles", "short and long examples"])
def test_half_precision_with_a_bias(name, dtype):
    """The bias stays in float32: far distances are apart."""
    rule = random_rule().float()
    half = result_and_gradients(GRAPHS[name], "banded", rule, dtype=dtype)
    wanted = result_and_gradients(GRAPHS[name], "edges_torch", rule, is_tensor=True, dtype=dtype)
    assert [x.dtype for x in half] == [x.dtype for x in wanted]
    close(half[:-1], wanted[:-1], 4e-2 if dtype == torch.bfloat16 else 6e-3)
    scale = wanted[-1].abs().max()  # a sum over many edges
    close([half[-1] / scale], [wanted[-1] / scale], 1e-2)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=str)
@pytest.mark.parametrize("name", ["many tiles", "wider than a block", "short and long examples"])
def test_half_precision(name, dtype):
    half = result_and_gradients(GRAPHS[name], "banded", dtype=dtype)
    assert all(x.dtype == dtype for x in half)
    wanted = result_and_gradients(GRAPHS[name], "edges_torch", dtype=dtype)
    close(half, wanted, 4e-2 if dtype == torch.bfloat16 else 6e-3)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=str)
def test_half_precision_adds_up_in_float32(dtype, monkeypatch):
    """Each key is in some twenty tiles, added up one by one: in half precision the error is 0.67 eps, not 0.44."""
    monkeypatch.setattr(tiled, "BYTES_PER_CALL", 1)
    graph = BandedGraph(1500, 700, 700)
    leaves, cotangent = tensors_of(graph, dtype=dtype)
    exact = [x.detach().double().requires_grad_() for x in leaves]
    wanted = torch.autograd.grad(attend(*exact, graph), exact, cotangent.double())
    found = torch.autograd.grad(attend(*leaves, graph), leaves, cotangent)
    for actual, exactly in zip(found, wanted, strict=True):
        assert (actual - exactly).norm() < 0.55 * torch.finfo(dtype).eps * exactly.norm()


@pytest.mark.parametrize("graph", [BandedGraph(300, 16, 16), CompleteGraph(300), causal(300)], ids=str)
@pytest.mark.parametrize("kv_heads", [1, 2])
def test_tensors_that_are_views(kv_heads, graph, monkeypatch):
    """Query, key and value as pieces of one projection, and with channels that do not lie side by side."""
    monkeypatch.setattr(tiled, "BYTES_PER_CALL", 1)
    query, key, value = torch.randn(300, 2 + 2 * kv_heads, 8, dtype=torch.float64).split([2, kv_heads, kv_heads], 1)
    wanted = attend(query, key, value, graph, kernel="edges_torch")
    close([attend(query, key, value, graph)], [wanted])
    strided = [x.transpose(0, 2).contiguous().transpose(0, 2) for x in (query, key, value)]
    assert strided[0].stride(-1) != 1
    close([attend(*strided, graph)], [wanted])


def test_one_example_alone_and_in_a_batch():
    whole = BandedGraph(SHORT_AND_LONG, 16, 8)
    leaves, cotangent = tensors_of(whole, kv_heads=4)
    out = attend(*leaves, whole, kernel="banded")
    gradients = torch.autograd.grad(out, leaves, cotangent)
    for place, size in enumerate(SHORT_AND_LONG):
        rows = slice(whole.query_ptr[place], whole.query_ptr[place + 1])
        alone = [x[rows].detach().requires_grad_() for x in leaves]
        graph = BandedGraph(size, min(16, max(size - 1, 0)), min(8, max(size - 1, 0)))
        out_alone = attend(*alone, graph, kernel="banded" if size > 9 else "edges")  # short ones are complete
        gradients_alone = torch.autograd.grad(out_alone, alone, cotangent[rows])
        close([out_alone, *gradients_alone], [x[rows] for x in (out, *gradients)])


def test_hidden_keys_that_are_not_finite_are_left_to_edges():
    graph = BandedGraph(400, 60, 60)
    leaves, _ = tensors_of(graph)
    query, key, value = (x.detach() for x in leaves)
    wanted = attend(query, key, value, graph)
    for x in (key, value):
        kept, x[200] = x[200].clone(), torch.nan
        choice = choose_kernel(graph, query, key, value)
        assert choice.kernel == "edges_cpu" and "hidden keys" in choice.refusals["banded_torch"]
        out = attend(query, key, value, graph)
        close([out[:140], out[261:]], [wanted[:140], wanted[261:]])
        assert out[140:261].isnan().any((1, 2)).all()
        x[200] = kept


def test_finite_values_whose_sum_overflows_run():
    graph = BandedGraph(400, 60, 60)
    value = torch.full((400, 1, 4), 3e38)
    query = torch.zeros(400, 1, 4)
    assert choose_kernel(graph, query, query, value).kernel == "banded_cpu"


def test_empty_rows_are_zero_with_zero_gradient():
    graph = BandedGraph(200, 20, 20, num_keys=80)  # query 99 sees one key, those after it none
    out, *gradients = result_and_gradients(graph, "banded")
    assert out[:100].ne(0).all() and out[100:].eq(0).all()
    assert gradients[0][:99].ne(0).all() and gradients[0][100:].eq(0).all()


def test_union_with_a_band_runs_in_parts():
    torch.manual_seed(0)
    graph = BandedGraph(300, 60, 60) | EdgeListGraph(torch.randint(0, 300, (2, 40)), 300).coalesce()
    leaves, cotangent = tensors_of(graph)
    assert choose_kernel(graph, *leaves).kernel == "banded_torch + edges_cpu"
    out = attend(*leaves, graph)
    close([out, *torch.autograd.grad(out, leaves, cotangent)], result_and_gradients(graph, "edges_torch"))


def test_queries_whose_only_edges_are_outside_the_band():
    band = BandedGraph(600, 100, 100, num_keys=450)  # queries from 550 on see nothing
    graph = band | EdgeListGraph(torch.tensor([[3, 7, 90], [560, 560, 599]]), 600, 450)
    leaves, cotangent = tensors_of(graph)
    assert choose_kernel(graph, *leaves).kernel == "banded_torch + edges_cpu"
    out = attend(*leaves, graph)
    close([out, *torch.autograd.grad(out, leaves, cotangent)], result_and_gradients(graph, "edges_torch"))


def test_narrow_and_tiny_bands_and_short_examples_run_by_edges_unless_asked():
    query = torch.randn(2000, 2, 8, dtype=torch.float64)
    for graph in (BandedGraph(2000, 1, 1), BandedGraph([4] * 500, 2, 2)):
        choice = choose_kernel(graph, query)
        assert choice.kernel == "edges_cpu" and "slower than edges" in choice.refusals["banded_torch"]
        assert choose_kernel(graph, query, kernel="banded_torch") == ("banded_torch", {})
    assert choose_kernel(BandedGraph(2000, 32, 32), query).kernel == "banded_torch"
    assert choose_kernel(BandedGraph(50, 16, 16), query[:50]).kernel == "edges_cpu"


MEMORY = """
import resource, torch
from graphattn import BandedGraph, attend
torch.set_num_threads(1)
def run(num_nodes):
    tensors = [torch.randn(num_nodes, 4, 32).requires_grad_() for _ in range(3)]
    out = attend(*tensors, BandedGraph(num_nodes, 64, 64), kernel="banded")
    gradients = torch.autograd.grad(out, tensors, torch.randn_like(out))
run(1000)
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
run(200_000)
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""


def test_memory_is_little_more_than_the_tensors():
    done = subprocess.run([sys.executable, "-c", MEMORY], capture_output=True, text=True, check=True)
    kibibytes = int(done.stdout)
    tensors = 8 * 200_000 * 4 * 32 * 4 / 1024  # query, key, value, out and their gradients
    assert kibibytes < 1.2 * tensors
