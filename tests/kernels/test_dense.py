"""Blocks of all pairs, and when they are worth it; results stand in test_every_kernel."""

import pytest
import torch

from graphattn import attend, choose_kernel
from graphattn.graphs import CompleteGraph, EdgeListGraph
from graphattn.kernels import dense
from graphattn.kernels.dense import blocks_of, complete_blocks
from tests.kernels.test_banded import close, random_rule, result_and_gradients


def random_edges(num_queries, num_keys, share=0.5):
    """Edges of a ragged batch, at random, in no order."""
    torch.manual_seed(0)
    examples = [torch.rand(*size) < share for size in zip(num_keys, num_queries, strict=True)]
    edges = torch.block_diag(*examples).nonzero().T
    return EdgeListGraph(edges[:, torch.randperm(edges.size(1))], num_queries, num_keys)


@pytest.mark.parametrize("area", [1, 20, 60, 10**6])
@pytest.mark.parametrize(
    ("num_queries", "num_keys"), [([7], [7]), ([4, 4, 4], [5, 5, 5]), ([3, 6, 0, 3, 6, 2], [4, 2, 5, 4, 2, 0])]
)
def test_every_edge_is_in_one_block(num_queries, num_keys, area, monkeypatch):
    monkeypatch.setattr(dense, "AREA_OF_A_MASK", area)
    graph = random_edges(num_queries, num_keys)
    query, key = torch.arange(graph.num_queries), torch.arange(graph.num_keys)
    found = []
    for block in blocks_of(graph):
        queries, keys = query[block.queries].view(block.examples, -1), key[block.keys].view(block.examples, -1)
        assert block.mask.shape == (block.examples, queries.size(1), keys.size(1))
        assert block.mask.numel() <= max(area, keys.size(1))
        example, i, j = block.mask.nonzero().unbind(1)
        found += zip(keys[example, j].tolist(), queries[example, i].tolist(), strict=True)
    assert sorted(found) == sorted(zip(*graph.edge_index().tolist(), strict=True))


@pytest.mark.parametrize("area", [20, 60])
def test_a_graph_in_several_blocks(area, monkeypatch):
    monkeypatch.setattr(dense, "AREA_OF_A_MASK", area)
    graph = random_edges([9, 3, 9, 3], [9, 3, 9, 3])
    leaves = [torch.randn(24, 2, 5, dtype=torch.float64, requires_grad=True) for _ in range(3)]
    grad_out = torch.randn(24, 2, 5, dtype=torch.float64)
    found, wanted = (attend(*leaves, graph, kernel=kernel) for kernel in ("dense", "reference"))
    torch.testing.assert_close(found, wanted)
    torch.testing.assert_close(*(torch.autograd.grad(out, leaves, grad_out) for out in (found, wanted)))


@pytest.mark.parametrize("area", [20, 200, 10**6])
@pytest.mark.parametrize("graph", [CompleteGraph(9), CompleteGraph([5, 1, 5, 0, 9], [8, 3, 8, 2, 4])], ids=repr)
def test_complete_graphs_with_a_bias_by_offset(graph, area, monkeypatch):
    monkeypatch.setattr(dense, "AREA_OF_A_MASK", area)
    rule = random_rule()
    wanted = result_and_gradients(graph, "edges_torch", rule, is_tensor=True)
    close(result_and_gradients(graph, "dense", rule), wanted)
    assert all(4 * block.mask.numel() <= max(area, 4 * 9) for block in complete_blocks(graph, 4))
    query, key = torch.zeros(graph.num_queries, 1, 2), torch.zeros(graph.num_keys, 1, 2)
    with pytest.raises(ValueError, match="with a bias by offset only"):
        choose_kernel(graph, query, key, bias=rule(graph)[:, :1], kernel="dense")


def test_it_runs_where_edges_are_many():
    x = torch.randn(600, 2, 8)
    assert choose_kernel(random_edges([600], [600], 0.5), x).kernel == "dense"
    assert choose_kernel(random_edges([600], [600], 0.1), x).kernel == "edges_cpu"
    assert choose_kernel(random_edges([5] * 20, [5] * 20, 0.5), x[:100]).kernel == "edges_cpu"  # a call is not worth it
    assert (
        choose_kernel(random_edges([1], [9000], 1.1), x[:1], x[:1].expand(9000, 2, 8)).kernel == "edges_cpu"
    )  # a star


def test_repeated_edges_are_refused():
    twice = EdgeListGraph(torch.tensor([[0, 1, 0], [1, 0, 1]]), 2)
    with pytest.raises(ValueError, match="'dense' counts an edge once"):
        choose_kernel(twice, torch.randn(2, 1, 4), kernel="dense")
