import pytest
import torch

from graphattn import CompleteGraph, GridGraph
from graphattn.nn.positions.coordinates import positions_of


def test_indices_run_inside_each_example():
    key_pos, query_pos = positions_of(CompleteGraph([2, 0, 3], [1, 2, 2]))
    assert query_pos.tolist() == [[0], [1], [0], [1], [2]]
    assert key_pos.tolist() == [[0], [0], [1], [0], [1]]


def test_grids_have_coordinates_counted_in_keys():
    key_pos, query_pos = positions_of(GridGraph([(1, 2), (2, 1)], 1, stride=2))
    assert query_pos.tolist() == [[0, 0], [0, 2], [0, 0], [2, 0]]
    first = [[i, j] for i in range(2) for j in range(4)]
    assert key_pos.tolist() == first + [[i, j] for i in range(4) for j in range(2)]


def test_grids_of_one_axis_and_without_nodes():
    assert positions_of(GridGraph((3,), 1))[0].tolist() == [[0], [1], [2]]
    assert positions_of(GridGraph((0, 3), 1))[0].shape == (0, 2)


def test_given_positions_are_taken_for_both_sides():
    pos, other = torch.rand(4), torch.rand(2, 1)
    key_pos, query_pos = positions_of(CompleteGraph(4), pos)
    assert torch.equal(key_pos[:, 0], pos) and torch.equal(query_pos[:, 0], pos)
    key_pos, query_pos = positions_of(CompleteGraph(2, 4), (pos, other))
    assert torch.equal(key_pos[:, 0], pos) and torch.equal(query_pos, other)


@pytest.mark.parametrize(
    ("pos", "words"),
    [
        (torch.zeros(3), r"\[2, axes\] for the queries .got \[3, 1\]"),
        ((torch.zeros(2), torch.zeros(2)), r"for the keys .got \[2, 1\]"),
        ((torch.zeros(3, 2), torch.zeros(2)), "as many axes for keys .got 2. as for queries .got 1"),
    ],
)
def test_positions_that_do_not_fit_are_named(pos, words):
    with pytest.raises(ValueError, match=words):
        positions_of(CompleteGraph(2, 3), pos)


def test_positions_are_tensors():
    with pytest.raises(TypeError, match="got str"):
        positions_of(CompleteGraph(2), "left")
