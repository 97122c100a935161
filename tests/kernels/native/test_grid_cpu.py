"""Groups of a grid as complete graphs; small grids of every kind are in test_every_kernel.py."""

import pytest
import torch

from graphattn import GridGraph, attend, choose_kernel
from graphattn.kernels.native import grid_cpu
from graphattn.kernels.native.grid_cpu import GridCpu, cells_of, lengths_of
from graphattn.kernels.native.library import why_not_native
from tests.kernels.fused.test_banded_torch import close, result_and_gradients, tensors_of

pytestmark = pytest.mark.skipif(why_not_native() is not None, reason=str(why_not_native()))

GRAPHS = {
    "image": GridGraph.natten((33, 40), 8, 8),
    "uneven groups": GridGraph((33, 40), 3, border="shift", group=(4, 7)),
    "clipped, dilation": GridGraph((33, 40), 3, dilation=(1, 2), group=(3, 11)),
    "groups longer than an axis": GridGraph((70, 5), (9, 2), group=(64, 17)),
    "causal in time": GridGraph.natten((9, 12, 11), (3, 6, 4), (1, 4, 2), is_causal=(True, False, False)),
    "groups along one axis": GridGraph((30, 9, 2), (3, 1, 0), group=(9, 1, 1)),
    "sizes": GridGraph([(20, 30), (3, 5), (0, 4), (20, 30), (7, 9)], (3, 2), group=(3, 6)),
    "sequence": GridGraph((500,), 9, group=40),
}
every_graph = pytest.mark.parametrize("graph", GRAPHS.values(), ids=GRAPHS)


@every_graph
def test_groups_hold_every_edge_once(graph):
    edges = []
    for cells in cells_of(graph, 50):
        key, query = cells.graph.edge_index()
        edges += zip(cells.query[query].tolist(), cells.key[key].tolist())
    assert sorted(edges) == sorted((query, key) for key, query in graph.edge_index().t().tolist())


@pytest.mark.parametrize("bytes_per_call", [1, 2**14, 2**22], ids=["one group", "some", "all"])
@every_graph
def test_equals_edges(graph, bytes_per_call, monkeypatch):
    monkeypatch.setattr(grid_cpu, "BYTES_PER_CALL", bytes_per_call)
    found = result_and_gradients(graph, "grid_cpu", dtype=torch.float32)
    wanted = result_and_gradients(graph, "edges_torch", dtype=torch.float64)
    close([x.double() for x in found], wanted, 2e-5)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=str)
@every_graph
def test_half_precision(graph, dtype):
    half = result_and_gradients(graph, "grid_cpu", dtype=dtype)
    assert all(x.dtype == dtype for x in half)
    wanted = result_and_gradients(graph, "edges_torch", dtype=dtype)
    close(half, wanted, 4e-2 if dtype == torch.bfloat16 else 6e-3)


def test_results_and_gradients_in_any_layout():
    graph = GRAPHS["uneven groups"]
    leaves, cotangent = tensors_of(graph, kv_heads=4, value_dim=8, dtype=torch.float32)
    wanted = torch.autograd.grad(attend(*leaves, graph, kernel="grid_cpu"), leaves, cotangent)
    wide = [torch.stack([x.detach(), x.detach()], -1).requires_grad_() for x in leaves]
    out = attend(*(x[..., 1] for x in wide), graph, kernel="grid_cpu")
    strided = torch.stack([cotangent, cotangent], 1)[:, 1]
    found = torch.autograd.grad(out, wide, strided)
    close([x[..., 1] for x in found], wanted, 1e-6)
    assert all(x[..., 0].eq(0).all() for x in found)
    of_sum = torch.autograd.grad(attend(*leaves, graph, kernel="grid_cpu").sum(), leaves)
    close(of_sum, torch.autograd.grad(attend(*leaves, graph, kernel="edges_cpu").sum(), leaves), 2e-5)


def test_gradients_of_some_tensors():
    graph = GRAPHS["image"]
    leaves, cotangent = tensors_of(graph, dtype=torch.float32)
    wanted = torch.autograd.grad(attend(*leaves, graph, kernel="grid_cpu"), leaves, cotangent)
    for place in range(3):
        given = [x if number == place else x.detach() for number, x in enumerate(leaves)]
        found = torch.autograd.grad(attend(*given, graph, kernel="grid_cpu"), leaves[place], cotangent)
        close(found, wanted[place : place + 1], 1e-6)


def test_it_is_chosen_where_groups_are_large():
    query = torch.zeros(64 * 64, 4, 32)
    assert choose_kernel(GridGraph.natten((64, 64), 16, 8), query).kernel == "grid_cpu"
    few = choose_kernel(GridGraph.natten((64, 64), 16, 2), query)
    assert few.kernel == "edges_cpu" and "of its tiles" in few.refusals["grid_cpu"]
    with pytest.raises(ValueError, match="'grid_cpu' runs grids whose queries share windows .got group=1"):
        choose_kernel(GridGraph((64, 64), 8), query, kernel="grid_cpu")
    with pytest.raises(ValueError, match="needs queries that share all their keys"):
        choose_kernel(GridGraph.natten((64, 64), 16, 8, is_causal=(True, False)), query, kernel="grid_cpu")


def test_hidden_keys_that_are_not_finite_are_left_to_edges():
    graph = GRAPHS["image"]
    query, key, value = (x.detach() for x in tensors_of(graph, dtype=torch.float32)[0])
    wanted = attend(query, key, value, graph, kernel="grid_cpu")
    value[0] = torch.inf
    sees = graph.allows(torch.arange(graph.num_queries), torch.tensor(0))
    found = attend(query, key, value, graph)
    assert sees.any() and not found[sees].isfinite().any(1).any(1).all()
    close([found[~sees]], [wanted[~sees]], 2e-5)


def test_area_is_about_what_it_computes():
    for graph in (GRAPHS["image"], GRAPHS["sequence"], GridGraph.natten((64, 64), 16, 4)):
        computed = 0
        for cells in cells_of(graph, 2**20):
            computed += sum(-(-queries // 32) * 32 * keys for queries, keys in cells.graph.sizes)
        assert abs(GridCpu().area_of_tiles(graph) - computed) < 0.3 * computed
    assert lengths_of(GRAPHS["groups longer than an axis"]) == [64, 5]
