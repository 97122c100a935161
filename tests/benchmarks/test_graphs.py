"""Random graphs have the sizes asked for; stars have one centre."""

import pytest

from benchmarks import graphs
from benchmarks.graphs import random_graph, star, two_way_star


@pytest.mark.parametrize("num_nodes, num_edges", [(10, 50), (300, 1000), (1000, 7)])
def test_random_graph_has_that_many_different_edges(num_nodes, num_edges):
    graph = random_graph(num_nodes, num_edges)
    assert graph.edge_index().unique(dim=1).shape == (2, num_edges)
    assert graph.edge_index().max() < num_nodes


def test_many_edges_are_drawn_in_shares(monkeypatch):
    monkeypatch.setattr(graphs, "BLOCK", 300)
    graph = graphs.random_graph(100, 1000)
    assert graph.edge_index().unique(dim=1).shape == (2, 1000)
    assert [int(part.sum()) for part in graph.degrees().split(25)] == [250] * 4
    assert graph.edge_index()[0].bincount(minlength=100).min() > 0


def test_too_many_edges_are_refused():
    with pytest.raises(ValueError, match="at most half"):
        random_graph(10, 51)


def test_stars():
    assert star(3).edge_index().tolist() == [[0, 1, 2], [0, 0, 0]]
    assert two_way_star(2).degrees().tolist() == [2, 1, 1]
