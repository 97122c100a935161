import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from graphattn.graphs import (
    BandedGraph,
    ComplementGraph,
    CompleteGraph,
    GlobalGraph,
    GridGraph,
    IntersectionGraph,
    UnionGraph,
    batch_graphs,
    causal,
)
from graphattn.testing.cases import ASYMMETRIC, REPEATED, SQUARE, edge_list

NODES = 6
GRIDS = [GridGraph((2, 3), 1, 0), GridGraph((3, 2), (1, 0)), GridGraph((2, 3), 1, dilation=2)]

leaves = st.one_of(
    st.builds(BandedGraph, st.just(NODES), st.integers(0, 6), st.integers(0, 6), st.integers(1, 2)),
    st.builds(GlobalGraph, st.just(NODES), st.lists(st.integers(0, NODES - 1), max_size=3)),
    st.sampled_from([CompleteGraph(NODES), *GRIDS, edge_list(SQUARE, NODES), GRIDS[0].T, batch_graphs([causal(6)])]),
    st.lists(st.tuples(st.integers(0, 5), st.integers(0, 5)), unique=True, max_size=9).map(
        lambda edges: edge_list(edges, NODES)
    ),
)
graphs = st.recursive(
    leaves,
    lambda inner: st.one_of(
        st.builds(lambda a, b: a | b, inner, inner),
        st.builds(lambda a, b: a & b, inner, inner),
        st.builds(lambda a: ~a, inner),
        st.builds(lambda a: a.T, inner),
    ),
    max_leaves=5,
)


def assert_is(graph, mask):
    """The graph is the set in `mask`, however it is asked."""
    assert torch.equal(graph.mask(), mask)
    assert torch.equal(graph.normal_form().mask(), mask)
    key, query = graph.edge_index()
    listed = torch.zeros_like(mask)
    listed[query, key] = True
    assert torch.equal(listed, mask)
    assert graph.num_edges == key.numel() == int(mask.sum())
    assert torch.equal(graph.degrees(), mask.sum(dim=1))
    assert torch.equal(graph.T.edge_index(), graph.edge_index().flip(0))


@given(graphs, graphs)
def test_union_and_intersection(one, other):
    assert_is(one | other, one.mask() | other.mask())
    assert_is(one & other, one.mask() & other.mask())


@given(graphs, graphs)
def test_de_morgan(one, other):
    assert torch.equal((~(one | other)).mask(), (~one & ~other).mask())
    assert torch.equal((~(one & other)).mask(), (~one | ~other).mask())
    assert (~(one | other)).num_edges == (~one & ~other).num_edges


@given(graphs)
def test_complement(graph):
    assert_is(~graph, ~graph.mask())
    assert_is((~graph).T, ~graph.mask().t())
    assert (graph & ~graph).num_edges == 0
    assert (graph | ~graph).num_edges == NODES**2


@given(graphs)
def test_transposed(graph):
    assert_is(graph.T, graph.mask().t())
    assert torch.equal(graph.T.T.edge_index(), graph.edge_index())


@given(graphs, graphs)
def test_batch_then_split(one, other):
    batch = batch_graphs([one, other])
    expected = torch.block_diag(one.mask().int(), other.mask().int()).bool()
    assert_is(batch, expected)
    assert_is(~batch, torch.block_diag((~one.mask()).int(), (~other.mask()).int()).bool())
    for example, graph in zip(batch.examples(), (one, other)):
        assert torch.equal(example.mask(), graph.mask())


def test_what_stays_symbolic():
    band, star, edges = BandedGraph(5, 1, 0), GlobalGraph(5, [0]), edge_list(SQUARE, 5)
    assert isinstance(band | star, UnionGraph)
    assert isinstance(band & edges, IntersectionGraph)
    assert isinstance(~edges, ComplementGraph)
    assert (band | star | edges).graphs == (band, star, edges) == (band | (star | edges)).graphs
    assert (band & star & edges).graphs == (band, star, edges)


def test_simplifications():
    band, star, edges, complete = BandedGraph(5, 1, 0), GlobalGraph(5, [0]), edge_list(SQUARE, 5), CompleteGraph(5)
    for graph in (band, star, edges, complete, band | star, ~edges, GridGraph((5,), 1, stride=1)):
        assert (complete & graph) is graph and (graph & complete) is graph
        assert (complete | graph) is complete and (graph | complete) is complete
        assert (graph | graph) == graph == (graph & graph)
        assert ~~graph == graph
    assert (band | star | band) == (band | star)
    assert (causal(5) | causal(5).T | star).normal_form() == complete
    assert BandedGraph(5, None, None) & star is star


def test_intersection_of_grids_is_a_grid():
    assert GridGraph((4, 5), 1) & GridGraph((4, 5), (0, 2)) == GridGraph((4, 5), (0, 1))
    assert GridGraph((4, 5), 1, dilation=2) & GridGraph((4, 5), 0) == GridGraph((4, 5), 0)
    assert isinstance(GridGraph((4, 5), 1, dilation=2) & GridGraph((4, 5), 2), IntersectionGraph)
    assert isinstance(GridGraph((4, 5), 1) & GridGraph((5, 4), 1), IntersectionGraph)


def test_complement_in_chunks(monkeypatch):
    expected = (~edge_list(ASYMMETRIC, 6, 8)).edge_index()
    monkeypatch.setattr("graphattn.graphs.algebra.CHUNK", 17)  # two rows at a time
    assert torch.equal((~edge_list(ASYMMETRIC, 6, 8)).edge_index(), expected)


def test_complement_stays_inside_the_examples():
    assert (~CompleteGraph([3, 5])).num_edges == 0
    assert (~GlobalGraph([3, 5], [])).mask().equal(CompleteGraph([3, 5]).mask())


def test_equal_sizes_are_needed():
    with pytest.raises(ValueError, match=r"CompleteGraph\(5\) with 5 queries and 5 keys and .*6 queries and 6 keys"):
        CompleteGraph(5) | causal(6)
    with pytest.raises(ValueError, match="5 queries and 5 keys in 2 examples"):
        CompleteGraph(5) & causal([2, 3])


def test_repeats_are_refused():
    graph = edge_list(REPEATED, 5)
    for combine in (lambda: graph | causal(5), lambda: CompleteGraph(5) & graph, lambda: ~graph):
        with pytest.raises(ValueError, match=r"num_edges=8\) with repeated edges\); coalesce\(\) first"):
            combine()
    assert (graph.coalesce() & causal(5)).num_edges == 3


def test_other_operands():
    for other in (torch.ones(5, 5, dtype=torch.bool), True, None):
        with pytest.raises(TypeError):
            causal(5) | other
        with pytest.raises(TypeError):
            causal(5) & other
    with pytest.raises(TypeError, match="as_graph"):
        UnionGraph([causal(5), 3])
    with pytest.raises(ValueError, match="at least one"):
        UnionGraph([])


def test_mixed_devices():
    graph = edge_list(SQUARE, 5)
    elsewhere = edge_list(SQUARE, 5).to("meta")
    object.__setattr__(elsewhere, "_cache", {"has_repeats": False})
    with pytest.raises(ValueError, match=r"one device \(got \['cpu', 'meta'\]\); use graph.to"):
        graph | elsewhere


def test_repr():
    graph = ~(causal(3) | GlobalGraph(3, [1]))
    assert repr(graph) == "(~(BandedGraph(3, before=2, after=0) | GlobalGraph(3, nodes=[1])))"
    assert repr(graph.T) == repr(graph) + ".T"


@pytest.mark.parametrize("other", [torch.tensor([[0], [1]]), [[0], [1]], None, 3])
def test_what_is_no_graph_is_told_the_way_to_one(other):
    graph = BandedGraph(3, 1, 0)
    for join in (lambda a, b: a | b, lambda a, b: a & b):
        for pair in ((graph, other), (other, graph)):
            with pytest.raises(TypeError, match=rf"got {type(other).__name__}\); .* graphattn.as_graph\(x, 3, 3\)"):
                join(*pair)
