"""Halo and balance of orders, before any process is started."""

import pytest
import torch

from graphattn import BandedGraph, CompleteGraph, EdgeListGraph, GridGraph, causal
from graphattn.distributed import balanced_ptr, placing


def by_sets(edges, ptr):
    """Keys of others that each process sees, by Python sets."""
    found = []
    for first, last in zip(ptr, ptr[1:]):  # noqa: RUF007
        seen = {key for key, query in edges if first <= query < last}
        found.append(len({key for key in seen if not first <= key < last}))
    return tuple(found)


@pytest.mark.parametrize(
    "graph",
    [BandedGraph(30, 3, 1), CompleteGraph(30), GridGraph((6, 5), 1), GridGraph((6, 5), 1, border="shift")],
    ids=repr,
)
def test_halo_is_what_rows_see_of_others(graph):
    found = placing(graph, 3)
    assert found.halo == by_sets(graph.edge_index().t().tolist(), [0, 10, 20, 30])
    assert found.rows == (10, 10, 10) and sum(found.edges) == graph.num_edges


def test_balanced_ranges_have_equal_edges():
    star = torch.stack([torch.arange(60), torch.zeros(60, dtype=torch.long)])
    graph = EdgeListGraph(torch.cat([star, star.flip(0)], 1), 60)
    assert placing(graph, 2).imbalance > 1.4
    assert placing(graph, 2, query_ptr=balanced_ptr(graph, 2)).imbalance < 1.1
    assert (
        placing(causal(400), 4, query_ptr=balanced_ptr(causal(400), 4)).imbalance
        < 1.02
        < placing(causal(400), 4).imbalance
    )


def test_orders_and_own_ranges_show():
    edges = torch.tensor([[0, 1, 2, 3, 0, 2], [1, 0, 3, 2, 2, 0]])
    assert placing(EdgeListGraph(edges, 4), 2).halo == (1, 1)
    assert placing(EdgeListGraph(torch.tensor([0, 2, 1, 3])[edges], 4), 2).halo == (2, 2)
    assert placing(EdgeListGraph(edges, 4), 2, query_ptr=[0, 4, 4]).imbalance == 2.0
    assert "halo 0.500 keys a row (most 1)" in str(placing(EdgeListGraph(edges, 4), 2))


def test_what_graphs_are_made_of_does_as_well():
    mask = torch.ones(8, 8, dtype=torch.bool).tril()
    assert balanced_ptr(mask, 2) == balanced_ptr(causal(8), 2) and placing(mask, 2).halo == placing(causal(8), 2).halo
    for function in (placing, balanced_ptr):
        with pytest.raises(ValueError, match="'num_processes' must be at least 1"):
            function(mask, 0)
