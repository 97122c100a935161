"""Grids with many tiles; small ones of every kind are in test_every_kernel.py."""

from functools import cache

import pytest
import torch

from graphattn import GlobalGraph, GridGraph, attend, choose_kernel
from graphattn.kernels.fused import tiled
from tests.kernels.fused.test_banded_torch import close, random_rule, result_and_gradients, tensors_of

GRAPHS = {
    "image": GridGraph((40, 37), 3),
    "wide windows": GridGraph((40, 37), (9, 12)),
    "uneven windows": GridGraph((31, 33), (4, 0), (1, 5)),
    "one long axis": GridGraph((2, 300), (1, 6)),
    "volume": GridGraph((9, 10, 11), (1, 2, 1)),
    "four axes": GridGraph((4, 3, 5, 4), 1),
    "dilation": GridGraph((41, 30), 3, dilation=(3, 2)),
    "stride": GridGraph((17, 20), 2, stride=(2, 1)),
    "stride and dilation": GridGraph((17, 20), 2, dilation=(2, 3), stride=(3, 2), key_sides=(40, 41)),
    "transposed": GridGraph((30, 20), (2, 3), (3, 1)).T,
    "windows that shift": GridGraph((40, 37), 3, border="shift"),
    "windows that shift, dilation": GridGraph((40, 37), 2, dilation=(3, 2), border="shift"),
    "sequence that shifts": GridGraph((500,), 9, border="shift"),
    "video": GridGraph((7, 12, 11), (2, 3, 1), border="shift", is_causal=(True, False, False)),
    "a border of each kind": GridGraph((31, 20), (3, 2), (1, 4), dilation=(2, 1), border=("clip", "shift")),
    "groups": GridGraph((33, 40), 3, border="shift", group=(4, 8)),
    "groups of odd size that clip, dilation": GridGraph((33, 40), 3, dilation=(1, 2), group=(3, 11)),
    "groups larger than tiles": GridGraph((70, 40), 9, group=(64, 17)),
    "causal groups": GridGraph((33, 12, 9), (5, 1, 1), group=(4, 2, 1), border="shift", is_causal=(True, False, False)),
    "as wide as an axis": GridGraph((24, 20), (23, 1)),
    "sizes, groups": GridGraph([(20, 30), (3, 5), (20, 30), (7, 9)], (3, 2), group=(3, 6)),
    "sequence with groups": GridGraph((500,), 9, group=40),
    "sizes": GridGraph([(20, 30), (3, 2), (1, 1), (20, 30), (7, 40), (0, 5)], (3, 2)),
    "sizes, dilation": GridGraph([(20, 30), (3, 2), (1, 9), (20, 30)], (3, 2), dilation=(2, 3)),
}


@cache
def by_edges(name):
    return result_and_gradients(GRAPHS[name], "edges_torch")


@pytest.mark.parametrize("bytes_per_call", [1, 2**22], ids=["one tile", "all"])
@pytest.mark.parametrize("name", GRAPHS)
def test_equals_edges(name, bytes_per_call, monkeypatch):
    monkeypatch.setattr(tiled, "BYTES_PER_CALL", bytes_per_call)
    assert type(GRAPHS[name].normal_form()) is GridGraph
    close(result_and_gradients(GRAPHS[name], "grid"), by_edges(name))


@pytest.mark.parametrize("bytes_per_call", [2**12, 2**22], ids=["few tiles", "all"])
@pytest.mark.parametrize("name", [name for name, graph in GRAPHS.items() if isinstance(graph, GridGraph)])
def test_a_bias_by_offset_equals_one_by_edge(name, bytes_per_call, monkeypatch):
    monkeypatch.setattr(tiled, "BYTES_PER_CALL", bytes_per_call)
    rule = random_rule(GRAPHS[name].num_axes)
    wanted = result_and_gradients(GRAPHS[name], "edges_torch", rule, is_tensor=True)
    close(result_and_gradients(GRAPHS[name], "grid", rule), wanted)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=str)
def test_half_precision(dtype):
    half = result_and_gradients(GRAPHS["image"], "grid", dtype=dtype)
    assert all(x.dtype == dtype for x in half)
    wanted = result_and_gradients(GRAPHS["image"], "edges_torch", dtype=dtype)
    close(half, wanted, 4e-2 if dtype == torch.bfloat16 else 6e-3)


def test_union_with_a_grid_runs_in_parts():
    graph = GridGraph((20, 20), 15) | GlobalGraph(400, [7])
    leaves, cotangent = tensors_of(graph)
    assert choose_kernel(graph, *leaves).kernel == "grid + edges_cpu"
    out = attend(*leaves, graph)
    close([out, *torch.autograd.grad(out, leaves, cotangent)], result_and_gradients(graph, "edges_torch"))


def test_hidden_keys_that_are_not_finite_are_left_to_edges():
    graph = GridGraph((20, 20), 15)
    leaves, _ = tensors_of(graph)
    query, key, value = (x.detach() for x in leaves)
    wanted = attend(query, key, value, graph, kernel="grid")
    value[0] = torch.inf
    choice = choose_kernel(graph, query, key, value)
    assert choice.kernel == "edges_cpu" and "hidden keys" in choice.refusals["grid"]
    sees = graph.allows(torch.arange(400), torch.tensor(0))
    close([attend(query, key, value, graph)[~sees]], [wanted[~sees]])
