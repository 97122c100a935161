import pytest

from graphattn import CompleteGraph, batch_graphs, causal
from graphattn.graphs import BatchedGraph, PrefixGraph
from graphattn.testing.cases import prefix_edges, side_by_side


@pytest.mark.parametrize("num_nodes", range(6))
@pytest.mark.parametrize("prefix", range(7))
def test_any_prefix(num_nodes, prefix):
    graph, edges = PrefixGraph(num_nodes, prefix), prefix_edges(num_nodes, prefix)
    for form in (graph, graph.normal_form(), graph.T.T):
        assert [tuple(edge) for edge in form.edge_index().t().tolist()] == edges
        assert form.num_edges == len(edges)
    assert graph.is_symmetric == (sorted(edges) == sorted((query, key) for key, query in edges))


def test_nodes_that_see_the_next():
    graph = PrefixGraph([5, 3, 1, 0], [3, 0, 9, 2])
    mask = graph.mask()
    wanted = [bool(mask[node, node + 1]) for node in range(8)] + [False]
    assert graph.sees_next().tolist() == wanted == [True, True] + [False] * 7


def test_plainer_spellings():
    assert PrefixGraph([5, 3], 1).normal_form() == PrefixGraph([5, 3], 0).normal_form() == causal([5, 3])
    assert PrefixGraph([5, 3], 9).normal_form() == PrefixGraph([5, 3], [5, 3]).normal_form() == CompleteGraph([5, 3])
    assert PrefixGraph([5, 3], [5, 0]).normal_form() == PrefixGraph([5, 3], [7, 0])


def test_batches():
    graph = batch_graphs([PrefixGraph(4, 2), PrefixGraph([5, 2], [3, 0])])
    assert graph == PrefixGraph([4, 5, 2], [2, 3, 0])
    edges = side_by_side(*((n, n, prefix_edges(n, p)) for n, p in ((4, 2), (5, 3), (2, 0))))
    assert [tuple(edge) for edge in graph.edge_index().t().tolist()] == edges
    assert graph.examples()[1] == PrefixGraph(5, 3)
    assert isinstance(batch_graphs([PrefixGraph(4, 2), causal(3)]), BatchedGraph)


def test_repr():
    assert repr(PrefixGraph([4, 5], 2)) == "PrefixGraph([4, 5], prefix=[2, 2])"
    assert repr(PrefixGraph(1_000_000, 1000)) == "PrefixGraph(1000000, prefix=1000)"


def test_bad_input():
    with pytest.raises(ValueError, match="one per example .got 3 for 2 examples"):
        PrefixGraph([4, 5], [1, 2, 3])
    with pytest.raises(ValueError, match="'prefix' must be at least 0 .got -1"):
        PrefixGraph(4, -1)
    with pytest.raises(TypeError, match="'prefix' must be an integer .got True"):
        PrefixGraph(4, True)
