import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from graphattn.graphs import CompleteGraph, GlobalGraph, batch_graphs
from graphattn.testing.cases import global_edges, side_by_side


@given(st.lists(st.integers(0, 6), min_size=1, max_size=4), st.lists(st.integers(0, 20)))
def test_any_globals(counts, nodes):
    nodes = [node for node in nodes if node < sum(counts)]
    graph, examples, start = GlobalGraph(counts, nodes), [], 0
    for count in counts:
        own = [node - start for node in nodes if start <= node < start + count]
        examples.append((count, count, global_edges(count, own)))
        start += count
    expected = side_by_side(*examples)
    assert [tuple(edge) for edge in graph.edge_index().t().tolist()] == expected
    assert graph.num_edges == len(expected)
    assert graph.mask().sum() == len(expected)
    assert batch_graphs(graph.examples()) == graph


def test_nodes_are_a_set():
    assert GlobalGraph(5, [3, 1, 3]) == GlobalGraph(5, torch.tensor([1, 3])) == GlobalGraph(5, (1, 3))
    assert GlobalGraph(5, [3, 1]).nodes == (1, 3)


def test_all_nodes_global_is_complete():
    assert GlobalGraph([2, 3], range(5)).normal_form() == CompleteGraph([2, 3])


def test_batch_renumbers_nodes():
    assert batch_graphs([GlobalGraph(3, [0]), GlobalGraph(4, [0, 2])]) == GlobalGraph([3, 4], [0, 3, 5])


def test_big():
    graph = GlobalGraph(10**9, [0, 7])
    assert graph.num_edges == 4 * 10**9 - 4
    assert graph.allows(torch.tensor([5, 7]), torch.tensor([10**8, 10**8])).tolist() == [False, True]


def test_repr():
    assert repr(GlobalGraph(5, [1])) == "GlobalGraph(5, nodes=[1])"
    assert repr(GlobalGraph(500, range(100))) == "GlobalGraph(500, nodes=[0, ..., 99])"


@pytest.mark.parametrize(
    "num_nodes, nodes, error, message",
    [
        (3, [3], ValueError, r"names node 3, but there are 3 nodes"),
        (3, [-1, 2], ValueError, "names node -1"),
        (3, 1, TypeError, r"wrap a single node"),
        (3, [True], TypeError, "'nodes' must be an integer"),
        (3, [0.0], TypeError, "'nodes' must be an integer"),
        (-1, [], ValueError, "'num_nodes' must be at least 0"),
    ],
)
def test_bad_input(num_nodes, nodes, error, message):
    with pytest.raises(error, match=message):
        GlobalGraph(num_nodes, nodes)
