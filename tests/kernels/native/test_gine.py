"""Sums of GINE's messages by loops, beside plain operations in float64."""

import pytest
import torch

from graphattn import EdgeListGraph
from graphattn.kernels.native import gine, rows, threads
from graphattn.kernels.native.library import why_not_native
from graphattn.testing.layouts import LAYOUTS
from tests.kernels.native.structs import declared_fields, fields_in_c

pytestmark = pytest.mark.skipif(why_not_native() is not None, reason="the loops in C are not there")

SIZES = [(1, 1, 1, 1), (5, 9, 8, 3), (7, 0, 12, 2), (40, 100, 31, 16), (30, 61, 32, 5), (50, 200, 77, 1)]


def problem(num_nodes, num_edges, channels, edge_dim, has_weight=True, seed=0):
    """(graph, x, edge_features, weight, bias, eps, grad) of edges that may be repeated, in any order."""
    generator = torch.Generator().manual_seed(seed)
    graph = EdgeListGraph(torch.randint(num_nodes, (2, num_edges), generator=generator), num_nodes)
    features = num_edges, edge_dim if has_weight else channels
    shapes = (num_nodes, channels), features, (channels, edge_dim), (channels,), (1,), (num_nodes, channels)
    x, edge_features, weight, bias, eps, grad = (torch.randn(shape, generator=generator) for shape in shapes)
    return graph, x, edge_features, *((weight, bias) if has_weight else (None, None)), eps, grad


def by_loops(graph, x, edge_features, weight, bias, eps, grad):
    """out, and the gradients of x, mapped features and eps."""
    out, signs = gine.forward(x, edge_features, weight, bias, eps, graph, keeps_signs=True)
    return out, *gine.backward(grad, x, signs, eps, graph, needs_x=True, needs_messages=True)


def in_float64(graph, x, edge_features, weight, bias, eps, grad):
    source, target = graph.edge_index()
    mapped = edge_features.double()
    mapped = mapped if weight is None else mapped @ weight.double().T
    mapped = mapped if bias is None else mapped + bias.double()
    x, mapped, eps = (tensor.double().requires_grad_() for tensor in (x, mapped, eps))
    out = (1 + eps) * x + torch.zeros_like(x).index_add(0, target, (x[source] + mapped).relu())
    return out, *torch.autograd.grad(out, [x, mapped, eps], grad.double())


def check(found, wanted):
    for own, right in zip(found, wanted, strict=True):
        torch.testing.assert_close(
            own.double(), right, rtol=1e-5, atol=1e-5 * max(float(right.detach().abs().sum()) ** 0.5, 1)
        )


def test_the_struct_has_the_fields_of_that_in_c():
    assert fields_in_c("gine_fields") == declared_fields(gine.Gine)


@pytest.mark.parametrize("has_weight", [True, False])
@pytest.mark.parametrize("sizes", SIZES, ids=str)
def test_as_plain_operations(sizes, has_weight):
    given = problem(*sizes, has_weight)
    check(by_loops(*given), in_float64(*given))
    graph, x, features, weight, _, eps, grad = given
    check(
        by_loops(graph, x, features, weight, None, eps, grad), in_float64(graph, x, features, weight, None, eps, grad)
    )


@pytest.mark.parametrize("layout", LAYOUTS)
def test_tensors_that_lie_in_memory_otherwise(layout):
    graph, *given = problem(20, 50, 12, 4)
    given = [LAYOUTS[layout](tensor) for tensor in given]
    check(by_loops(graph, *given), in_float64(graph, *given))


def test_indices_of_eight_bytes(monkeypatch):
    graph, *given = problem(20, 50, 12, 4)
    wanted, now, turned = by_loops(graph, *given), rows.arrangement(graph), rows.transposition(graph)

    def long(arranged):
        return rows.Rows(arranged.rowptr, None, arranged.col.long())

    by_query = rows.Arrangement(long(now.by_query), now.edge_id.long())
    monkeypatch.setattr(gine, "arrangement", lambda _: by_query)
    monkeypatch.setattr(gine, "transposition", lambda _: rows.Transposition(long(turned.by_key), turned.place.long()))
    assert all(map(torch.equal, by_loops(graph, *given), wanted))


def test_edges_that_are_sorted_already():
    graph, *given = problem(20, 50, 12, 4)
    graph = EdgeListGraph(graph.edge_index()[:, graph.edge_index()[1].argsort(stable=True)].contiguous(), 20)
    check(by_loops(graph, *given), in_float64(graph, *given))


def test_only_what_is_needed():
    graph, x, features, weight, bias, eps, grad = given = problem(20, 50, 12, 4)
    _, *wanted = by_loops(*given)
    _, signs = gine.forward(x, features, weight, bias, eps, graph, keeps_signs=True)
    for needs_x in (True, False):
        for needs_messages in (True, False):
            for of_eps in (x, None):
                found = gine.backward(grad, of_eps, signs, eps, graph, needs_x, needs_messages)
                for own, right, is_needed in zip(found, wanted, (needs_x, needs_messages, of_eps is not None)):
                    assert torch.equal(own, right) if is_needed else own is None
    out, signs = gine.forward(x, features, weight, bias, eps, graph, keeps_signs=False)
    assert signs is None and torch.equal(out, by_loops(*given)[0])


def test_any_number_of_threads_gives_the_same_bits(monkeypatch):
    monkeypatch.setattr(threads, "PIECE", 64)
    given, before, found = problem(60, 300, 40, 3), torch.get_num_threads(), []
    try:
        for count in (1, 2, 5):
            torch.set_num_threads(count)
            found.append(by_loops(*given))
    finally:
        torch.set_num_threads(before)
    for other in found[1:]:
        assert all(map(torch.equal, other, found[0]))
    check(found[0], in_float64(*given))


def test_numbers_that_are_not_finite():
    graph, x, *given = problem(20, 50, 12, 4)
    x[3, 2], x[4, 5], x[6, 7] = torch.nan, torch.inf, -torch.inf
    for own, right in zip(by_loops(graph, x, *given)[:3], in_float64(graph, x, *given)[:3], strict=True):
        torch.testing.assert_close(own.double(), right, rtol=1e-5, atol=1e-4, equal_nan=True)


def test_rows_that_were_cut():
    edges = torch.stack([torch.arange(rows.HEAVY + 1) % 3, torch.zeros(rows.HEAVY + 1, dtype=torch.int64)])
    for goes_back in (True, False):
        assert not gine.has_whole_rows(EdgeListGraph(edges, 3), goes_back)
        assert gine.has_whole_rows(EdgeListGraph(edges.flip(0), 3), goes_back) != goes_back
        assert gine.has_whole_rows(EdgeListGraph(edges[:, :100], 3), goes_back)
