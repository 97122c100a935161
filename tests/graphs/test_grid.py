import copy
import pickle
from itertools import product
from math import prod

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from graphattn.graphs import BandedGraph, CompleteGraph, GridGraph, TransposedGraph, batch_graphs
from graphattn.testing.cases import grid_edges, neighborhood_edges, shifted_grid_edges


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


@st.composite
def neighborhoods(draw):
    """The arguments of neighborhood_edges: one entry per axis."""
    num_axes = draw(st.integers(1, 3))

    def axes(values):
        return tuple(draw(st.lists(values, min_size=num_axes, max_size=num_axes)))

    sides, before, after = axes(st.integers(0, 6)), axes(st.integers(0, 3)), axes(st.integers(0, 3))
    is_causal = axes(st.booleans())
    after = tuple(0 if causal else steps for steps, causal in zip(after, is_causal))
    dilation = axes(st.integers(1, 3))
    has_room = [side // step >= low + high + 1 for side, step, low, high in zip(sides, dilation, before, after)]
    border = tuple(
        draw(st.sampled_from(["clip", "shift"])) if room and not causal else "clip"
        for room, causal in zip(has_room, is_causal)
    )
    return sides, before, after, dilation, border, axes(st.integers(1, 8)), is_causal


@given(neighborhoods())
def test_any_neighborhood(arguments):
    sides, before, after, dilation, border, group, is_causal = arguments
    graph = GridGraph(sides, before, after, dilation, border=border, group=group, is_causal=is_causal)
    edges = neighborhood_edges(*arguments)
    assert edges_of(graph) == edges == edges_of(graph.normal_form())
    assert graph.num_edges == len(edges)
    assert graph.degrees().tolist() == [sum(query == i for _, query in edges) for i in range(prod(sides))]
    query, key = torch.arange(graph.num_queries)[:, None], torch.arange(graph.num_keys)
    assert torch.equal(graph.allows(query, key), graph.mask())
    assert edges_of(graph.T) == [(query, key) for key, query in edges]
    assert torch.equal(graph.T.mask(), graph.mask().T)
    assert not graph.is_symmetric or torch.equal(graph.mask(), graph.mask().T)
    for twin in (pickle.loads(pickle.dumps(graph)), copy.deepcopy(graph), *graph.examples()):
        assert twin == graph and repr(twin) == repr(graph)
    batch = batch_graphs([graph, graph])
    assert edges_of(batch) == edges + [(key + graph.num_keys, query + graph.num_queries) for key, query in edges]
    assert isinstance(batch, GridGraph)
    # What the object says, as its user would write it, makes it again.
    fields = {name: getattr(graph, name) for name in ("before", "after", "dilation", "border", "group", "is_causal")}
    assert GridGraph(sides, **fields) == graph


@given(neighborhoods(), neighborhoods())
def test_intersection_of_neighborhoods(arguments, others):
    sides, *_ = arguments
    num_axes = len(sides)

    def graph_of(before, after, dilation, border, group, is_causal):
        after = [0 if causal else steps for steps, causal in zip(after, is_causal)]
        room = [side // step > low + high for side, step, low, high in zip(sides, dilation, before, after)]
        border = ["clip" if causal or not enough else name for name, causal, enough in zip(border, is_causal, room)]
        return GridGraph(sides, before, after, dilation, border=border, group=group, is_causal=is_causal)

    one, other = graph_of(*arguments[1:]), graph_of(*((values * 3)[:num_axes] for values in others[1:]))
    assert torch.equal((one & other).mask(), one.mask() & other.mask())
    assert torch.equal((one | other).mask(), one.mask() | other.mask())


def natten_edges(sides, kernel_size, stride, dilation, is_causal):
    """The definition of generalized neighborhood attention, pair by pair."""
    edges = []
    nodes = list(product(*map(range, sides)))
    for (query, i), (key, j) in product(enumerate(nodes), repeat=2):
        for a, b, side, window, step, gap, causal in zip(i, j, sides, kernel_size, stride, dilation, is_causal):
            if a % gap != b % gap:
                break
            length, place, other = len(range(a % gap, side, gap)), a // gap, b // gap
            if causal:
                leader = min(place // step * step + step - 1, length - 1)
                if not (leader - window < other <= place):
                    break
            else:
                leader = min(place // step * step + step // 2, length - 1)
                centre = min(max(leader, window // 2), length - 1 - (window - 1) // 2)
                if not (centre - window // 2 <= other <= centre + (window - 1) // 2):
                    break
        else:
            edges.append((key, query))
    return edges


@given(st.data())
def test_the_words_of_natten(data):
    num_axes = data.draw(st.integers(1, 3))

    def axes(values):
        return tuple(data.draw(st.lists(values, min_size=num_axes, max_size=num_axes)))

    sides = axes(st.integers(1, 8 if num_axes < 3 else 5))
    dilation = tuple(data.draw(st.integers(1, side)) for side in sides)
    kernel_size = tuple(data.draw(st.integers(1, side // gap)) for side, gap in zip(sides, dilation))
    stride = tuple(data.draw(st.integers(1, window)) for window in kernel_size)
    is_causal = axes(st.booleans())
    graph = GridGraph.natten(sides, kernel_size, stride, dilation, is_causal)
    assert edges_of(graph) == natten_edges(sides, kernel_size, stride, dilation, is_causal)


def test_one_word_of_natten_is_for_all_axes():
    assert GridGraph.natten((8, 9), 4) == GridGraph((8, 9), 2, 1, border="shift")
    assert GridGraph.natten([(8, 9), (5, 6)], 3, 2, 1, True) == GridGraph(
        [(8, 9), (5, 6)], 2, group=2, is_causal=True
    )  # fmt: skip


def test_one_graph_has_one_spelling():
    video = GridGraph((4, 6, 7), 2, border="shift", is_causal=(True, False, False))
    assert video == GridGraph((4, 6, 7), 2, (0, 2, 2), border=("clip", "shift", "shift"))
    assert video == GridGraph((4, 6, 7), (2, 5, 6), (0, 5, 6)) & GridGraph(
        (4, 6, 7), (3, 2, 2), border=("clip", "shift", "shift")
    )
    assert GridGraph((4, 5), (1, 0), border=("shift", "clip")) == GridGraph((4, 5), (1, 0), border="shift")
    assert GridGraph((4, 5), 1, border=["clip", "clip"]) == GridGraph((4, 5), 1)
    assert GridGraph((4, 5), 2, 0) == GridGraph((4, 5), 2, is_causal=True)
    assert GridGraph((4, 5), 2, is_causal=torch.tensor([True, False])).after == (0, 2)
    # Nobody to share a window with, or nothing that a group changes.
    assert GridGraph((1, 5), 1, group=(3, 1)) == GridGraph((1, 5), 1)
    assert GridGraph((4, 5), 1, dilation=(4, 1), group=(3, 1)) == GridGraph((4, 5), 1, dilation=(4, 1))
    assert GridGraph((4, 5), (3, 1), group=(2, 1)) == GridGraph((4, 5), (3, 1))
    assert GridGraph((5,), 1, group=100) == GridGraph((5,), 1, group=8)  # the last node leads
    assert GridGraph((5,), 9, group=3, is_causal=True).normal_form() == BandedGraph(5, 9, 0)
    assert isinstance(GridGraph((9,), 2, 1, group=2).normal_form(), GridGraph)
    assert GridGraph((6,), 5, group=2).normal_form() == CompleteGraph(6)


def test_files_from_before_there_were_groups():
    graph = GridGraph((4, 5), 1, (0, 1), border="shift")
    state = {name: x for name, x in graph.__getstate__().items() if name not in ("group", "is_causal")}
    read = GridGraph.__new__(GridGraph)
    read.__setstate__(state)
    assert read == graph


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
    assert not isinstance(batch_graphs([GridGraph((5, 6), 2), GridGraph((5, 6), 2, group=2)]), GridGraph)
    assert not isinstance(batch_graphs([GridGraph((5, 6), 2, stride=2), GridGraph((5, 6), 2, group=2)]), GridGraph)
    assert not isinstance(batch_graphs([GridGraph((5, 6), 1), GridGraph((5, 6), 1, border="shift")]), GridGraph)
    grouped = [GridGraph(sides, 2, group=3, is_causal=True) for sides in ((5, 6), (1, 1), (2, 9))]
    assert batch_graphs(grouped) == GridGraph([(5, 6), (1, 1), (2, 9)], 2, group=3, is_causal=True)
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
        (dict(sides=(3, 4), before=1, border=("clip",)), ValueError, "'border' must be .* one per axis .got 1 for 2"),
        (dict(sides=(3, 4), before=1, border=("clip", "no")), ValueError, "'border' must be one of .*got 'no'"),
        (dict(sides=(3, 4), before=1, border=None), ValueError, "'border' must be one of .*got None"),
        (dict(sides=(3, 4), before=1, group=0), ValueError, "'group' must be at least 1"),
        (dict(sides=(3, 4), before=1, group=(2, 2, 2)), ValueError, "'group' must be .*got 3 for 2 axes"),
        (dict(sides=(3, 4), before=1, group=2, stride=2), ValueError, "group=2 needs stride 1"),
        (dict(sides=(3, 4), before=1, group=2, key_sides=(3, 5)), ValueError, "group=2 needs .*(4, 5).* along axis 1"),
        (dict(sides=(3, 4), before=1, is_causal=1), TypeError, "'is_causal' must be a bool"),
        (dict(sides=(3, 4), before=1, is_causal=(True,)), ValueError, "'is_causal' must be .*got 1 for 2 axes"),
        (dict(sides=(3, 4), before=1, after=1, is_causal=(False, True)), ValueError, "got after=1 along axis 1"),
    ],
)
def test_bad_input(arguments, error, message):
    with pytest.raises(error, match=message):
        GridGraph(**arguments)


@pytest.mark.parametrize(
    "arguments, message",
    [
        (
            dict(sides=(8, 9), kernel_size=3, stride=(2, 4)),
            "'stride' must be at most 'kernel_size' .got 4 and 3 along axis 1",
        ),
        (dict(sides=(8, 9), kernel_size=5, dilation=2), "needs 5 keys along axis 0"),
        (dict(sides=(8, 9), kernel_size=0), "'kernel_size' must be at least 1"),
    ],
)
def test_bad_words_of_natten(arguments, message):
    with pytest.raises(ValueError, match=message):
        GridGraph.natten(**arguments)
