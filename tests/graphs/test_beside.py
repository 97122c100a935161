import pytest
import torch

from graphattn import BandedGraph, CompleteGraph, EdgeListGraph
from graphattn.graphs.beside import beside

EDGES = torch.tensor([[5, 0, 2, 2], [1, 3, 1, 1]])


def test_keys_are_laid_end_to_end_and_edges_keep_their_order():
    graphs = [BandedGraph(4, 1, 0), EdgeListGraph(EDGES, 4, 6), CompleteGraph(4, 1)]
    expected = []
    for first, pairs in (
        (0, [(0, 0), (0, 1), (1, 1), (1, 2), (2, 2), (2, 3), (3, 3)]),
        (4, EDGES.t().tolist()),
        (10, [(0, query) for query in range(4)]),
    ):
        expected += [[first + key, query] for key, query in pairs]
    joined = beside(graphs)
    assert joined.edge_index().t().tolist() == expected
    assert joined.shape == (4, 11)


def test_the_same_graphs_are_joined_once_and_one_stays_what_it_is():
    graphs = [CompleteGraph(4, 2), EdgeListGraph(EDGES, 4, 6)]
    assert beside(graphs) is beside(list(graphs))
    assert beside(graphs[:1]) is graphs[0]
    assert beside([graphs[1], graphs[1]]).num_edges == 8


def test_other_queries_are_refused():
    with pytest.raises(ValueError, match=r"got \[4, 3\] queries"):
        beside([CompleteGraph(4), CompleteGraph(3)])
