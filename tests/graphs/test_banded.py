import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from graphattn.graphs import BandedGraph, CompleteGraph, IntersectionGraph, UnionGraph, batch_graphs, causal
from graphattn.testing.cases import banded_edges, side_by_side

counts = st.integers(0, 7)
bands = st.builds(
    lambda queries, keys, before, after, dilation, offset: (queries, keys, before, after, dilation, offset),
    counts,
    counts,
    st.integers(0, 8),
    st.integers(0, 8),
    st.integers(1, 4),
    st.integers(-9, 9),
)


def make(queries, keys, before, after, dilation, offset):
    return BandedGraph(queries, before, after, dilation, keys, offset)


def edges_of(graph):
    return [tuple(edge) for edge in graph.edge_index().t().tolist()]


@given(bands)
def test_any_band(band):
    graph, edges = make(*band), banded_edges(*band)
    assert edges_of(graph) == edges
    assert graph.num_edges == len(edges)
    assert [tuple(edge[::-1]) for edge in edges_of(graph.T)] == edges
    assert edges_of(graph.normal_form()) == edges
    if edges:
        assert graph.mask().sum() == len(edges)


@given(bands, bands)
def test_equal_edges_have_one_normal_form(one, other):
    other = one[:2] + other[2:]
    if edges_of(make(*one)) == edges_of(make(*other)):
        one, other = make(*one).normal_form(), make(*other).normal_form()
        assert one == other or one.num_edges <= 2  # two edges that lie far apart fit several dilations


@given(bands, st.integers(0, 8), st.integers(0, 8), st.integers(-3, 3))
def test_aligned_bands_combine_to_bands(band, before, after, steps):
    queries, keys, _, _, dilation, offset = band
    one, other = make(*band), make(queries, keys, before, after, dilation, offset + steps * dilation)
    both, either = one & other, one | other
    assert torch.equal(both.mask(), one.mask() & other.mask())
    assert torch.equal(either.mask(), one.mask() | other.mask())
    if one.dilation == other.dilation and one.num_edges and other.num_edges:
        assert not isinstance(both, IntersectionGraph)


@given(st.lists(st.tuples(counts, counts, st.integers(-4, 4)), min_size=1, max_size=4), bands)
def test_ragged(sizes, band):
    _, _, before, after, dilation, _ = band
    queries, keys, offsets = zip(*sizes)
    graph = BandedGraph(list(queries), before, after, dilation, list(keys), list(offsets))
    expected = side_by_side(*((q, k, banded_edges(q, k, before, after, dilation, o)) for q, k, o in sizes))
    assert edges_of(graph) == expected
    assert graph.num_edges == len(expected)
    assert edges_of(batch_graphs(graph.examples())) == expected
    assert torch.equal(graph.T.mask(), graph.mask().t())


def test_windows_are_clipped():
    assert BandedGraph(5, 100, 0) == BandedGraph(5, None, 0) == causal(5)
    assert (causal(5).before, causal(5).after, causal(5).dilation, causal(5).offsets) == (4, 0, 1, (0,))
    assert BandedGraph(5, 0, 0, dilation=3) == BandedGraph(5, 0, 0)
    assert BandedGraph(5, 1, 1, dilation=9) == BandedGraph(5, 0, 0)


def test_a_band_that_covers_all_is_complete():
    assert BandedGraph(5, None, None).normal_form() == CompleteGraph(5)
    assert BandedGraph([5, 2], 4, 4).normal_form() == CompleteGraph([5, 2])
    assert causal(1).normal_form() == CompleteGraph(1)
    assert causal(2).normal_form() == causal(2)


def test_causal_and_band_is_a_band():
    assert causal(9) & BandedGraph(9, 3, 2) == BandedGraph(9, 3, 0)
    assert BandedGraph(9, 3, 2) & causal(9) == BandedGraph(9, 3, 0)
    assert causal(9).T & BandedGraph(9, 3, 2) == BandedGraph(9, 0, 2)._ordered(True)
    assert (causal([9, 4]) & BandedGraph([9, 4], 3, 2)) == BandedGraph([9, 4], 3, 0)
    assert isinstance(causal(9) & BandedGraph(9, 3, 2, dilation=2), IntersectionGraph)
    assert isinstance(BandedGraph(9, 1, 0) | BandedGraph(9, 0, 1, offset=4), UnionGraph)


def test_equal_windows_batch_to_a_ragged_band():
    assert batch_graphs([causal(3), causal(1), causal(5)]) == causal([3, 1, 5])
    assert batch_graphs([BandedGraph(9, 2, 1, 2), BandedGraph(2, 2, 1, 2)]) == BandedGraph([9, 2], 2, 1, 2)
    assert not isinstance(batch_graphs([BandedGraph(9, 2, 1), BandedGraph(9, 1, 1)]), BandedGraph)


def test_is_symmetric():
    assert BandedGraph(5, 2, 2).is_symmetric
    assert not BandedGraph(5, 2, 1).is_symmetric
    assert not BandedGraph(5, 1, 1, num_keys=6).is_symmetric
    assert not BandedGraph(5, 1, 1, offset=1).is_symmetric


def test_repr():
    assert repr(BandedGraph(10, 2, 0)) == "BandedGraph(10, before=2, after=0)"
    assert (
        repr(BandedGraph(10, 2, 0, dilation=3, num_keys=12, offset=1))
        == "BandedGraph(10, before=2, after=0, dilation=3, num_keys=12, offset=1)"
    )


@pytest.mark.parametrize(
    "arguments, error, message",
    [
        (dict(num_queries=3, before=-1, after=0), ValueError, "'before' must be at least 0"),
        (dict(num_queries=3, before=0, after=1.5), TypeError, "'after' must be an integer"),
        (dict(num_queries=3, before=0, after=True), TypeError, "'after' must be an integer"),
        (dict(num_queries=3, before=0, after=0, dilation=0), ValueError, "'dilation' must be at least 1"),
        (dict(num_queries=3, before=0, after=0, offset=float("nan")), TypeError, "'offset' must be an integer"),
        (dict(num_queries=[3, 4], before=0, after=0, offset=[1, 2, 3]), ValueError, "3 offsets for 2 examples"),
        (dict(num_queries=[3, 4], before=0, after=0, num_keys=[3]), ValueError, "got 2 and 1"),
    ],
)
def test_bad_input(arguments, error, message):
    with pytest.raises(error, match=message):
        BandedGraph(**arguments)
