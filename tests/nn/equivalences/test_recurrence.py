import networkx
import numpy as np
import pytest
import torch

from graphattn import BandedGraph, CompleteGraph, EdgeListGraph, GridGraph, causal
from graphattn.nn.equivalences import recurrence as module
from graphattn.nn.equivalences.recurrence import path_length, rnn_graph, sequential_steps
from graphattn.testing.cases import ASYMMETRIC, REPEATED, edge_list


@pytest.mark.parametrize(
    "graph, length",
    [
        (CompleteGraph(30), 1),
        (causal(30), 1),
        (rnn_graph(30), 29),
        (BandedGraph(30, 4, 4), 8),  # 29 / 4, rounded up
        (BandedGraph(30, 4, 0), 8),
        (GridGraph((5, 8), 1), 7),
        (rnn_graph([30, 4, 0]), 29),
        (CompleteGraph(0), 0),
        (BandedGraph(5, 0, 0), 0),
    ],
)
def test_path_lengths_that_are_known(graph, length):
    assert path_length(graph) == length


@pytest.mark.parametrize("seed", range(3))
def test_path_length_equals_networkx_in_any_blocks(seed, monkeypatch):
    monkeypatch.setattr(module, "ROWS", 50)
    graph = networkx.gnp_random_graph(25, 0.08, seed=seed, directed=True)
    edges = EdgeListGraph(torch.tensor(list(graph.edges)).t(), 25)
    lengths = dict(networkx.all_pairs_shortest_path_length(graph))
    assert path_length(edges) == max(max(row.values()) for row in lengths.values()) > 3


def test_so_many_layers_reach_everything_and_one_less_does_not():
    graph = BandedGraph(13, 3, 1)
    step = graph.mask().double() + torch.eye(13, dtype=torch.float64)
    reach = [torch.linalg.matrix_power(step, layers) > 0 for layers in range(path_length(graph) + 2)]
    assert torch.equal(reach[-1], reach[-2]) and not torch.equal(reach[-2], reach[-3])


def test_sequential_steps():
    assert sequential_steps(CompleteGraph(50), layers=6) == sequential_steps(rnn_graph(50), layers=6) == 6
    assert sequential_steps(rnn_graph(50), recurrent=True) == 50
    assert sequential_steps(rnn_graph(50), layers=6, recurrent=True) == 55
    assert sequential_steps(rnn_graph([7, 50]), recurrent=True) == 50
    assert sequential_steps(CompleteGraph(0), layers=6) == 0
    tree = edge_list([(0, 4), (1, 4), (4, 6), (2, 5), (5, 6), (3, 5), (0, 6), (0, 6)], 7)
    assert sequential_steps(tree, recurrent=True) == 3


@pytest.mark.parametrize("seed", range(3))
def test_longest_chain_equals_networkx(seed):
    order = np.random.default_rng(seed).permutation(30)
    pairs = [(order[i], order[j]) for i, j in networkx.gnp_random_graph(30, 0.15, seed=seed).edges]
    graph = networkx.DiGraph([(int(a), int(b)) for a, b in pairs])
    edges = EdgeListGraph(torch.tensor(list(graph.edges)).t(), 30)
    assert sequential_steps(edges, recurrent=True) == networkx.dag_longest_path_length(graph) + 1


def test_an_rnn_computes_along_its_graph():
    """A state depends on the nodes that a path leads from, and on no others."""
    rnn = torch.nn.RNN(3, 4).double()
    x = torch.randn(6, 3, dtype=torch.float64)
    jacobian = torch.autograd.functional.jacobian(lambda x: rnn(x)[0], x).abs().sum((1, 3)) > 0
    step = rnn_graph(6).mask().double() + torch.eye(6, dtype=torch.float64)
    assert torch.equal(jacobian, torch.linalg.matrix_power(step, path_length(rnn_graph(6))) > 0)


def test_bad_input():
    with pytest.raises(ValueError, match="no self loop .got 3 nodes"):
        sequential_steps(edge_list([(0, 1), (1, 2), (2, 1), (2, 3)], 4), recurrent=True)
    with pytest.raises(ValueError, match="one set of nodes .got 6 queries, 8 keys"):
        path_length(edge_list(ASYMMETRIC, 6, 8))
    with pytest.raises(ValueError, match="got -1"):
        sequential_steps(edge_list(REPEATED, 5), layers=-1)
