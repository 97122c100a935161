"""Blocks of all pairs, and when they are worth it; results stand in test_every_kernel."""

import subprocess
import sys

import pytest
import torch

from graphattn import attend, choose_kernel
from graphattn.formulas.normalizers import Softmax
from graphattn.formulas.offsets import offsets_of
from graphattn.formulas.scores import Dot
from graphattn.graphs import CompleteGraph, EdgeListGraph
from graphattn.kernels.fused import dense
from graphattn.kernels.fused.dense import Dense, blocks_of, complete_blocks
from graphattn.kernels.kernel import Inputs, Plan
from tests.kernels.fused.test_banded_torch import close, random_rule, result_and_gradients, tensors_of


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
    for block, mask in blocks_of(graph):
        queries, keys = query[block.queries].view(block.examples, -1), key[block.keys].view(block.examples, -1)
        assert mask.shape == (block.examples, queries.size(1), keys.size(1))
        assert mask.numel() <= max(area, keys.size(1))
        example, i, j = mask.nonzero().unbind(1)
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


COMPLETE = [
    CompleteGraph(9),
    CompleteGraph(5, 12),
    CompleteGraph(12, 5),  # a rule may hide all keys of the last queries
    CompleteGraph([5, 1, 5, 0, 9], [8, 3, 8, 2, 4]),
    CompleteGraph([4, 4, 4, 11], [7, 7, 7, 3]),
]


@pytest.mark.parametrize("area", [20, 60, 10**6])
@pytest.mark.parametrize("graph", COMPLETE, ids=repr)
def test_every_pair_is_in_one_block_with_its_offset(graph, area):
    query, key, offsets = torch.arange(graph.num_queries), torch.arange(graph.num_keys), offsets_of(graph)[:, 0]
    found, wanted = {}, {}
    for block, places, num_keys in complete_blocks(graph, area):
        queries, keys = query[block.queries].view(block.examples, -1), key[block.keys].view(block.examples, -1)
        assert keys.size(1) == num_keys and queries.numel() * num_keys <= max(area, num_keys)
        for example in range(block.examples):
            for i, q in enumerate(queries[example].tolist()):
                for j, k in enumerate(keys[example].tolist()):
                    assert (k, q) not in found
                    found[k, q] = offsets[places][i + j].item()
        assert places.stop - places.start == queries.size(1) + num_keys - 1
    for first_query, first_key, size in zip(graph.query_ptr, graph.key_ptr, graph.sizes):
        for i in range(size[0]):
            wanted |= {(first_key + j, first_query + i): j - i for j in range(size[1])}
    assert found == wanted


@pytest.mark.parametrize("area", [20, 200, 10**6])
@pytest.mark.parametrize("graph", COMPLETE, ids=repr)
def test_complete_graphs_with_a_bias_by_offset(graph, area, monkeypatch):
    monkeypatch.setattr(dense, "AREA_OF_A_MASK", area)
    rule = random_rule()
    wanted = result_and_gradients(graph, "edges_torch", rule, is_tensor=True)
    close(result_and_gradients(graph, "dense", rule), wanted)
    rule.requires_grad_(False)  # the gradients of the others come from another operator
    leaves, cotangent = tensors_of(graph)
    out = attend(*leaves, graph, bias=rule, kernel="dense")
    close([out, *torch.autograd.grad(out, leaves, cotangent)], wanted[:-1])
    query, key = torch.zeros(graph.num_queries, 1, 2), torch.zeros(graph.num_keys, 1, 2)
    with pytest.raises(ValueError, match="nothing per edge but a bias by offset"):
        choose_kernel(graph, query, key, bias=rule(graph)[:, :1], kernel="dense")


def test_queries_whose_keys_are_all_hidden_have_no_sum():
    table = torch.zeros(12 + 5 - 1, 2)
    table[:5, 1] = -torch.inf  # offsets -11 ... -7: all that query 11 has
    inputs = Inputs(torch.randn(12, 2, 3), torch.randn(5, 2, 3), torch.randn(5, 2, 3), bias_by_offset=table)
    found = Dense().forward(
        Plan(
            CompleteGraph(12, 5),
            Dot(),
            Softmax(),
            0.3,
        ),
        inputs,
    )
    is_empty = torch.zeros(12, 2, dtype=torch.bool)
    is_empty[11, 1] = True
    assert (found.lse == -torch.inf).equal(is_empty) and (found.out == 0).all(2).equal(is_empty)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=str)
@pytest.mark.parametrize("graph", [CompleteGraph([70, 300]), CompleteGraph(90, 40)], ids=repr)
def test_half_precision_of_complete_graphs(graph, dtype):
    rule = random_rule().float()
    half = result_and_gradients(graph, "dense", rule, dtype=dtype)
    wanted = result_and_gradients(graph, "edges_torch", rule, is_tensor=True, dtype=dtype)
    assert [x.dtype for x in half] == [x.dtype for x in wanted]
    close(half[:-1], wanted[:-1], 4e-2 if dtype == torch.bfloat16 else 6e-3)
    scale = wanted[-1].abs().max()  # a sum over many edges
    close([half[-1] / scale], [wanted[-1] / scale], 1e-2)


MEMORY = """
import resource, torch
from graphattn import CompleteGraph, attend
from graphattn.nn import T5Bias
torch.set_num_threads(1)
def used(num_nodes):
    rule, tensors = T5Bias(4), [torch.randn(num_nodes, 4, 8).requires_grad_() for _ in range(3)]
    out = attend(*tensors, CompleteGraph(num_nodes), bias=rule, kernel="dense")
    yield resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    torch.autograd.grad(out, [*tensors, rule.table], torch.randn_like(out))
    yield resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
before = max(used(100))
print(*(kibibytes - before for kibibytes in used(3000)))
"""


def test_no_bias_of_all_pairs_is_made():
    """Forward there is none at all; backward there are a few tensors of AREA_OF_A_MASK gradients of scores at a time."""
    done = subprocess.run([sys.executable, "-c", MEMORY], capture_output=True, text=True, check=True)
    forward, backward = (1024 * int(kibibytes) for kibibytes in done.stdout.split())
    assert forward < 3000**2 and backward < 8 * 4 * dense.AREA_OF_A_MASK  # the bias would be 16 * 3000**2


def test_it_runs_where_edges_are_many():
    x = torch.randn(600, 2, 8)
    assert choose_kernel(random_edges([600], [600], 0.7), x).kernel == "dense"
    assert choose_kernel(random_edges([600], [600], 0.5), x).kernel == "edges_cpu"
    assert choose_kernel(random_edges([5] * 20, [5] * 20, 0.5), x[:100]).kernel == "edges_cpu"  # a call is not worth it
    assert (
        choose_kernel(random_edges([1], [9000], 1.1), x[:1], x[:1].expand(9000, 2, 8)).kernel == "edges_cpu"
    )  # a star


def test_repeated_edges_are_refused():
    twice = EdgeListGraph(torch.tensor([[0, 1, 0], [1, 0, 1]]), 2)
    with pytest.raises(ValueError, match="'dense' counts an edge once"):
        choose_kernel(twice, torch.randn(2, 1, 4), kernel="dense")
