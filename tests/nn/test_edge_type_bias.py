import pytest
import torch

from graphattn import BandedGraph, CompleteGraph, EdgeListGraph, attend, causal
from graphattn.graphs import hops
from graphattn.nn import ALiBi, EdgeTypeBias, HopBias, RelativeBias


def random(*shape):
    return torch.randn(*shape, dtype=torch.float64)


def test_types_read_the_table_and_teach_it():
    bias = EdgeTypeBias(2, 3).double()
    edge_type = torch.tensor([2, 0, 2, 1])
    assert torch.equal(bias(edge_type), bias.table[edge_type])
    cotangent = random(4, 2)
    (grad,) = torch.autograd.grad(bias(edge_type), bias.table, cotangent)
    torch.testing.assert_close(grad, torch.stack([cotangent[1], cotangent[3], cotangent[0] + cotangent[2]]))
    with pytest.raises(ValueError, match=r"0 .. 2 .got 0 .. 3"):
        bias(torch.tensor([0, 3]))
    assert bias(torch.empty(0, dtype=torch.long)).shape == (0, 2)


def test_on_a_path_hops_are_distances():
    torch.manual_seed(0)
    path, graph = BandedGraph(7, 1, 1), causal(7)
    hop, relative, alibi = HopBias(2, 7), RelativeBias(2, 7), ALiBi(2)
    with torch.no_grad():
        relative.table[:7] = relative.table[8:].flip(0)  # offsets to both sides alike
        hop.by_hops.table[:8] = relative.table[7:]
        torch.testing.assert_close(hop.along(path)(graph), relative(graph))
        hop.by_hops.table[:8] = -torch.arange(8)[:, None] * alibi.slopes
        torch.testing.assert_close(hop.along(path)(graph), alibi(graph))


def test_renumbered_nodes_have_their_own_bias():
    torch.manual_seed(0)
    hop, order = HopBias(2, 3).double(), torch.randperm(6)
    bonds = torch.tensor([[0, 1, 1, 2, 3, 4], [1, 0, 2, 1, 4, 5]])
    x = random(6, 2, 4)
    out = attend(x, x, x, CompleteGraph(6), bias=hop.along(EdgeListGraph(bonds, 6)))
    there = torch.empty_like(x).index_copy(0, order, x)  # node i is node order[i] now
    moved = attend(there, there, there, CompleteGraph(6), bias=hop.along(EdgeListGraph(order[bonds], 6)))
    torch.testing.assert_close(moved[order], out)
    assert not torch.allclose(out, attend(x, x, x, CompleteGraph(6)), atol=1e-4)


def test_hops_are_found_once_for_each_pair_of_graphs(monkeypatch):
    calls = []
    found = hops.hop_distances
    monkeypatch.setattr("graphattn.nn.edge_type_bias.hop_distances", lambda *args: calls.append(1) or found(*args))
    graph, bonds, bias = CompleteGraph(5), BandedGraph(5, 1, 1), HopBias(2, 3)
    first = bias.along(bonds)(graph)
    assert torch.equal(bias.along(bonds)(graph), first) and len(calls) == 1
    assert not torch.equal(bias.along(BandedGraph(5, 2, 2))(graph), first) and len(calls) == 2
    bias.along(graph)(graph)
    assert torch.equal(bias(found(graph, bonds, 3)), first)


def test_graphs_instead_of_numbers_are_refused():
    with pytest.raises(TypeError, match=r"'edge_type' must be a tensor of integers \[num_edges\].*got CompleteGraph"):
        EdgeTypeBias(4, 3)(CompleteGraph(5))
    with pytest.raises(TypeError, match=r"'hops' must be .*got CompleteGraph.*give 'bias.along\(graph\)'"):
        HopBias(4, 3)(CompleteGraph(5))


def test_paths_along_every_form_of_a_graph():
    bias, edge_index = HopBias(2, 3), torch.tensor([[0, 1, 1, 2], [1, 0, 2, 1]])
    wanted = bias.along(EdgeListGraph(edge_index, 3))(CompleteGraph(3))
    assert torch.equal(bias.along(edge_index)(CompleteGraph(3)), wanted)
    assert torch.equal(bias.along(edge_index)(torch.ones(3, 3).bool()), wanted)
    pair = [EdgeListGraph(edge_index, 3), BandedGraph(2, 1, 1)]
    found = bias.along(pair)([CompleteGraph(3), CompleteGraph(2)])
    assert torch.equal(found, torch.cat([wanted, bias.along(pair[1])(CompleteGraph(2))]))
    with pytest.raises(TypeError, match="no graph can be made of NoneType"):
        bias.along(None)(CompleteGraph(3))
