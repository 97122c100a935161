import pytest
import torch

from graphattn.graphs import BandedGraph, CompleteGraph, GlobalGraph, GridGraph, causal
from graphattn.graphs.subgraph import _edges_among_all, _edges_among_pairs
from graphattn.testing.cases import REPEATED, edge_list


@pytest.mark.parametrize(
    "graph", [causal(9), GridGraph((3, 3), 1), GlobalGraph(9, [2]), BandedGraph(9, 1, 3), ~causal(9)]
)
def test_both_ways_agree(graph, monkeypatch):
    monkeypatch.setattr("graphattn.graphs.subgraph.CHUNK", 7)  # several chunks of rows
    for nodes in ([5, 0, 7, 1], [], [8], range(9)):
        nodes = torch.tensor(list(nodes), dtype=torch.int64)
        assert torch.equal(_edges_among_all(graph, nodes), _edges_among_pairs(graph, nodes))


def test_repeats_are_kept():
    assert edge_list(REPEATED, 5).subgraph([2, 0]).edge_index().tolist() == [[1, 1, 1, 0], [0, 0, 0, 0]]


def test_mask_of_nodes():
    kept = torch.tensor([True, False, True, True])
    assert causal(4).subgraph(kept).edge_index().tolist() == causal(3).edge_index().tolist()


def test_symmetry_is_kept():
    assert CompleteGraph(5).subgraph([3, 1]).is_symmetric
    assert not causal(5).subgraph([3, 1]).is_symmetric


@pytest.mark.parametrize(
    "nodes, error, message",
    [
        ([5], ValueError, "names node 5, but there are 5 nodes"),
        ([-1], ValueError, "names node -1"),
        ([1, 1], ValueError, "at most once"),
        ([1.0], TypeError, "must be integers"),
        (3, TypeError, "a list or a tensor"),
        (torch.tensor([True, False]), ValueError, "got 2 for 5"),
    ],
)
def test_bad_nodes(nodes, error, message):
    with pytest.raises(error, match=message):
        causal(5).subgraph(nodes)


def test_nodes_of_a_batch_in_another_order():
    with pytest.raises(ValueError, match="example after example"):
        causal([2, 3]).subgraph([3, 0])
