import torch

from graphattn.graphs import GridGraph, TransposedGraph, batch_graphs


def test_edges_in_both_orders():
    grid = GridGraph((2, 3), 1, 0, stride=2)
    graph = grid.T
    assert isinstance(graph, TransposedGraph) and graph.edges_by_key
    assert torch.equal(graph.edge_index(), grid.edge_index().flip(0))
    by_query = graph._ordered(False)
    assert torch.equal(by_query.mask(), grid.mask().t())
    query, key = by_query.edge_index().flip(0).tolist()
    assert list(zip(query, key)) == sorted(zip(query, key))
    assert torch.equal(by_query.T.edge_index(), by_query.edge_index().flip(0))
    assert by_query.T.T is by_query
    assert repr(by_query) == "TransposedGraph(GridGraph((2, 3), before=1, after=0, stride=2, key_sides=(4, 6)))"


def test_batch():
    small, big = GridGraph((2,), 1, stride=2), GridGraph((5,), 1, stride=2)
    assert batch_graphs([small.T, big.T]) == GridGraph([(2,), (5,)], 1, stride=2).T
    assert batch_graphs([small.T, big.T]).examples() == [small.T, big.T]
