from math import prod

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from graphattn.graphs import BandedGraph, CompleteGraph, GridGraph, TransposedGraph, batch_graphs
from graphattn.testing.cases import grid_edges, shifted_grid_edges


def edges_of(graph):
    return [tuple(edge) for edge in graph.edge_index().t().tolist()]


@st.composite
def grids(draw, largest_stride=3):
    """sides, key_sides, before, after, dilation, stride: one entry per axis."""
    num_axes = draw(st.integers(1, 3))

    def axes(values):
        return tuple(draw(st.lists(values, min_size=num_axes, max_size=num_axes)))

    sides = axes(st.integers(0, 4)) if draw(st.booleans()) else axes(st.integers(1, 4))
    window = axes(st.integers(0, 3)), axes(st.integers(0, 3)), axes(st.integers(1, 3))
    return sides, axes(st.integers(0, 5)), *window, axes(st.integers(1, largest_stride))


@given(grids())
def test_any_grid(grid):
    sides, key_sides, before, after, dilation, stride = grid
    graph = GridGraph(sides, before, after, dilation, stride, key_sides=key_sides)
    edges = grid_edges(sides, key_sides, before, after, dilation, stride)
    assert edges_of(graph) == edges == edges_of(graph.normal_form())
    assert graph.num_edges == len(edges)
    assert graph.degrees().tolist() == [sum(query == i for _, query in edges) for i in range(prod(sides))]
    query, key = torch.arange(graph.num_queries)[:, None], torch.arange(graph.num_keys)
    assert torch.equal(graph.allows(query, key), graph.mask())
    assert graph.mask().sum() == len(edges)
    assert edges_of(graph.T) == [(query, key) for key, query in edges]


@given(grids(largest_stride=1))
def test_any_shifted_grid(grid):
    sides, _, before, after, dilation, _ = grid
    needed = [low + high + 1 for low, high in zip(before, after)]
    available = [side // step if side >= step else 1 for side, step in zip(sides, dilation)]
    if prod(sides) and any(window > keys for window, keys in zip(needed, available)):
        with pytest.raises(ValueError, match="border='shift' needs"):
            GridGraph(sides, before, after, dilation, border="shift")
        return
    graph = GridGraph(sides, before, after, dilation, border="shift")
    edges = shifted_grid_edges(sides, before, after, dilation)
    assert edges_of(graph) == edges
    assert graph.num_edges == len(edges) == prod(sides) * prod(needed)
    assert torch.equal(graph.T.mask(), graph.mask().t())


@given(grids(), grids())
def test_intersection(one, other):
    one = GridGraph(one[0], *one[2:6], key_sides=one[1])
    sides, key_sides, stride = one.query_sides[0], one.key_sides[0], one.stride
    num_axes = len(sides)
    before, after, dilation = ((values * 3)[:num_axes] for values in other[2:5])
    other = GridGraph(sides, before, after, dilation, stride, key_sides=key_sides)
    assert torch.equal((one & other).mask(), one.mask() & other.mask())
    if one.dilation == other.dilation and one.stride == other.stride:
        assert isinstance(one & other, (GridGraph, CompleteGraph))


def test_rows_and_columns_are_not_exchanged():
    # A window along the height only: key and query differ by whole rows.
    assert GridGraph((3, 5), (1, 0)).mask()[7].nonzero().flatten().tolist() == [2, 7, 12]
    assert GridGraph((3, 5), (0, 1)).mask()[9].nonzero().flatten().tolist() == [8, 9]


def test_a_convolution():
    # The receptive fields of a 3 x 2 kernel with stride 2, padding (1, 0): where the gradient of an output is not 0.
    image = torch.rand(1, 1, 5, 6, requires_grad=True)
    weight = torch.rand(1, 1, 3, 2) + 1
    output = torch.nn.functional.conv2d(image, weight, stride=2, padding=(1, 0))
    graph = GridGraph(output.shape[2:], before=(1, 0), after=1, stride=2, key_sides=(5, 6))
    for query, entry in enumerate(output.flatten()):
        (gradient,) = torch.autograd.grad(entry, image, retain_graph=True)
        assert torch.equal(graph.mask()[query], gradient.flatten() != 0)


def test_windows_are_clipped():
    assert GridGraph((3, 4), 9) == GridGraph((3, 4), (2, 3))
    assert GridGraph((3, 4), 9).normal_form() == CompleteGraph(12)
    assert GridGraph((3, 4), 0, dilation=5) == GridGraph((3, 4), 0)
    assert GridGraph((3, 4), 0, border="shift") == GridGraph((3, 4), 0)


def test_one_long_axis_is_a_band():
    assert GridGraph((9,), 2, 1).normal_form() == BandedGraph(9, 2, 1)
    assert GridGraph((1, 9, 1), 2, 1, dilation=2).normal_form() == BandedGraph(9, 2, 1, dilation=2)
    assert GridGraph([(1, 9), (1, 4)], 2, 1).normal_form() == BandedGraph([9, 4], 2, 1)
    assert isinstance(GridGraph((9,), 2, 1, stride=2).normal_form(), GridGraph)


def test_transposed():
    assert GridGraph((3, 4), (2, 1), (1, 0))._ordered(True) == GridGraph((3, 4), (1, 0), (2, 1)).T
    assert isinstance(GridGraph((3, 4), 1, stride=2).T, TransposedGraph)
    assert isinstance(GridGraph((3, 4), 1, border="shift").T, TransposedGraph)


def test_is_symmetric():
    assert GridGraph((3, 4), 1).is_symmetric
    assert not GridGraph((3, 4), 1, 0).is_symmetric
    assert not GridGraph((3, 4), 1, border="shift").is_symmetric
    assert not GridGraph((3, 4), 1, stride=2).is_symmetric


def test_equal_windows_batch_to_a_ragged_grid():
    graphs = [GridGraph((5, 6), 2), GridGraph((1, 1), 2), GridGraph((2, 9), 2)]
    assert batch_graphs(graphs) == GridGraph([(5, 6), (1, 1), (2, 9)], 2)
    assert not isinstance(batch_graphs([GridGraph((5, 6), 2), GridGraph((5, 6), 1)]), GridGraph)
    assert not isinstance(batch_graphs([GridGraph((5, 6), 1), GridGraph((5,), 1)]), GridGraph)
    shifted = [GridGraph((5, 6), 1, border="shift"), GridGraph((3, 3), 1, border="shift")]
    assert batch_graphs(shifted) == GridGraph([(5, 6), (3, 3)], 1, border="shift")


def test_key_sides_follow_the_stride():
    assert GridGraph((2, 3), 1, stride=2).key_sides == ((4, 6),)
    assert GridGraph([(2, 3), (1, 1)], 1, stride=(1, 2)).key_sides == ((2, 6), (1, 2))


def test_big_grids_stay_symbolic():
    graph = GridGraph((1024, 1024, 1024), 1, (2, 1, 1), dilation=2, stride=2)
    assert graph.num_edges > 10**10
    assert repr(graph).startswith("GridGraph((1024, 1024, 1024), before=1, after=(2, 1, 1), dilation=2, stride=2, ")


@pytest.mark.parametrize(
    "arguments, error, message",
    [
        (dict(sides=5, before=1), TypeError, "'sides' must be a tuple"),
        (dict(sides=(), before=1), ValueError, "'sides' is empty"),
        (dict(sides=(3, -1), before=1), ValueError, "'sides' must be at least 0"),
        (dict(sides=(3, 2.0), before=1), TypeError, "'sides' must be an integer"),
        (dict(sides=[(3, 2), (3,)], before=1), ValueError, "equally many axes"),
        (dict(sides=(3, 4), before=(1, 1, 1)), ValueError, "got 3 for 2 axes"),
        (dict(sides=(3, 4), before=-1), ValueError, "'before' must be at least 0"),
        (dict(sides=(3, 4), before=None), TypeError, "'before' must be an integer"),
        (dict(sides=(3, 4), before=1, dilation=0), ValueError, "'dilation' must be at least 1"),
        (dict(sides=(3, 4), before=1, stride=0), ValueError, "'stride' must be at least 1"),
        (dict(sides=(3, 4), before=1, border="wrap"), ValueError, "'border' must be one of .*got 'wrap'"),
        (dict(sides=(3, 4), before=1, key_sides=(3,)), ValueError, "'key_sides' must have the axes"),
        (dict(sides=(3, 4), before=1, key_sides=[(3, 4), (3, 4)]), ValueError, "'key_sides' must have the axes"),
        (dict(sides=(3, 4), before=1, border="shift", stride=2), ValueError, "needs stride 1"),
        (dict(sides=(3, 4), before=1, border="shift", key_sides=(3, 5)), ValueError, "as many keys as queries"),
        (dict(sides=(2, 4), before=1, border="shift"), ValueError, "needs 3 keys along axis 0 .*got 2 in side 2"),
        (dict(sides=(6, 5), before=1, border="shift", dilation=2), ValueError, "along axis 1"),
    ],
)
def test_bad_input(arguments, error, message):
    with pytest.raises(error, match=message):
        GridGraph(**arguments)
