"""Neighbourhoods on a grid against their definition; sides from the data or the argument."""

import itertools

import pytest
import torch
from torch_geometric.data import Batch, Data

from graphattn.graphs import GridGraph
from graphattn.inputs import from_image
from graphattn.transforms import Grid


def loop_mask(sides, before, after):
    places = list(itertools.product(*map(range, sides)))
    return [
        [all(-low <= k - q <= high for q, k, low, high in zip(query, key, before, after)) for key in places]
        for query in places
    ]


@pytest.mark.parametrize(
    "sides, before, after", [((3, 4), (1, 1), (1, 1)), ((2, 5), (0, 2), (1, 0)), ((2, 3, 2), (1, 1, 0), (0, 1, 1))]
)
def test_grid(sides, before, after):
    data = Data(x=torch.rand(len(list(itertools.product(*map(range, sides)))), 1))
    assert Grid(sides, before, after)(data).graph.mask().tolist() == loop_mask(sides, before, after)


def test_video():
    """A border and causality of each axis, and groups."""
    data = Data(x=torch.rand(4 * 6 * 5, 1))
    window = {"border": ["clip", "shift", "shift"], "group": (1, 2, 3), "is_causal": [True, False, False]}
    made = Grid((4, 6, 5), (3, 1, 2), **window)
    assert made(data).graph == GridGraph((4, 6, 5), (3, 1, 2), **window)
    assert repr(made) == (
        "Grid(sides=(4, 6, 5), before=(3, 1, 2), after=None, dilation=1, border=('clip', 'shift', 'shift'), "
        "group=(1, 2, 3), is_causal=(True, False, False))"
    )


def test_sides_of_the_data():
    graph = Grid(before=2)(from_image(torch.rand(3, 5))).graph
    assert graph.mask().tolist() == loop_mask((3, 5), (2, 2), (2, 2))


def test_one_pair_of_sides_for_a_whole_batch():
    batch = Batch.from_data_list([Data(x=torch.rand(6, 1)), Data(x=torch.rand(6, 1))])
    graph = Grid(sides=(2, 3))(batch).graph
    one = torch.tensor(loop_mask((2, 3), (1, 1), (1, 1)))
    assert graph.sizes == ((6, 6), (6, 6)) and torch.equal(graph.mask(), torch.block_diag(one.int(), one.int()).bool())


def test_bad_sides():
    with pytest.raises(ValueError, match=r"'sides' \(2, 2\) make \[4\] nodes, the data has \[6\]"):
        Grid(sides=(2, 2))(Data(x=torch.rand(6, 1)))
    with pytest.raises(ValueError, match=r"the sides of the grid are unknown; pass 'sides' or set data.sides"):
        Grid()(Data(x=torch.rand(6, 1)))
    batch = Batch.from_data_list([Data(x=torch.rand(6, 1)), Data(x=torch.rand(4, 1))])
    with pytest.raises(ValueError, match=r"make \[6, 6\] nodes, the data has \[6, 4\]"):
        Grid(sides=(2, 3))(batch)
    swapped = Batch.from_data_list([Data(x=torch.rand(6, 1), sides=(2, 2)), Data(x=torch.rand(4, 1), sides=(2, 3))])
    with pytest.raises(ValueError, match=r"'sides' .* make \[4, 6\] nodes, the data has \[6, 4\]"):
        Grid()(swapped)
