import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from graphattn import (
    BandedGraph,
    CompleteGraph,
    EdgeListGraph,
    GlobalGraph,
    GridGraph,
    PrefixGraph,
    batch_graphs,
    causal,
)
from graphattn.graphs.ahead import prefix_of
from graphattn.testing.cases import GRAPHS

SQUARE = [(name, graph, edges) for name, graph, edges in GRAPHS if all(q == k for q, k in graph.sizes)]


@pytest.mark.parametrize(("name", "graph", "edges"), SQUARE, ids=[name for name, _, _ in SQUARE])
def test_edges_tell(name, graph, edges):
    prefix = prefix_of(graph)
    if any(key > query for key, query in edges):
        assert prefix == (graph.prefix if isinstance(graph, PrefixGraph) else None)
    else:
        assert prefix is not None and not (isinstance(graph, EdgeListGraph) and any(prefix))


examples = st.lists(st.tuples(st.integers(0, 7), st.integers(-9, 9)), min_size=1, max_size=3)


@given(examples, st.integers(0, 8), st.integers(0, 8), st.integers(1, 4))
def test_bands(examples, before, after, dilation):
    counts, offsets = zip(*examples)
    graph = BandedGraph(list(counts), before, after, dilation, offset=list(offsets))
    key, query = graph.edge_index()
    assert (prefix_of(graph) is None) == bool((key > query).any())


LATER = CompleteGraph(5)


@pytest.mark.parametrize(
    ("graph", "prefix"),
    [
        (PrefixGraph([5, 4], [3, 0]), (3, 0)),
        (PrefixGraph(5, 3) | BandedGraph(5, 2, 0, offset=-1), (3,)),
        (PrefixGraph(5, 3) | LATER, None),
        (PrefixGraph(5, 3) & LATER, (3,)),
        (PrefixGraph(5, 3) & causal(5), (0,)),
        (GlobalGraph(5, [0]) & causal(5), (0,)),
        (GlobalGraph(5, [0]) & BandedGraph(5, 1, 1), None),
        (GlobalGraph(5, [4]) & EdgeListGraph(torch.tensor([[0, 1], [4, 4]]), 5), (0,)),
        (batch_graphs([causal(3), PrefixGraph(4, 2), GridGraph((4,), 1, 0)]), (0, 2, 0)),
        (batch_graphs([causal(3), GridGraph((4,), 1, 1)]), None),
        (~causal(4).T, (0,)),
        (~causal(4), None),
        (CompleteGraph([1, 0, 1]), (0, 0, 0)),
        (CompleteGraph([1, 2]), None),
    ],
    ids=repr,
)
def test_whose_prefix_is_stated(graph, prefix):
    assert prefix_of(graph) == prefix


def test_formulas_need_no_edges():
    large = 10**9
    assert prefix_of(causal(large)) == (0,) and prefix_of(BandedGraph(large, 3, 1)) is None
    assert prefix_of(CompleteGraph(large)) is None and prefix_of(PrefixGraph(large, 5)) == (5,)
    assert prefix_of(BandedGraph(large, None, 0) & GlobalGraph(large, [0])) == (0,)
    assert prefix_of(BandedGraph(large, 3, 0) | BandedGraph(large, None, 0, dilation=7)) == (0,)


def test_edges_are_asked_once():
    graph = EdgeListGraph(torch.tensor([[0, 1], [1, 1]]), 2)
    assert prefix_of(graph) == (0,)
    assert graph.remember("prefix", lambda: pytest.fail("asked again")) == (0,)
