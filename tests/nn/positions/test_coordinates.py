import pytest
import torch

from graphattn import BandedGraph, CompleteGraph, GridGraph
from graphattn.nn.positions.coordinates import as_positions, difference, positions_of


def test_indices_run_inside_each_example():
    key_pos, query_pos = positions_of(CompleteGraph([2, 0, 3], [1, 2, 2]))
    assert query_pos.tolist() == [[0], [1], [0], [1], [2]]
    assert key_pos.tolist() == [[0], [0], [1], [0], [1]]


def test_queries_of_a_band_beside_its_keys_start_at_the_offset():
    graph = BandedGraph([2, 0, 3], 4, 0, num_keys=[5, 4, 3], offset=[3, 4, -1])
    key_pos, query_pos = positions_of(graph)
    assert query_pos.flatten().tolist() == [3, 4, -1, 0, 1]
    assert key_pos.flatten().tolist() == [0, 1, 2, 3, 4, 0, 1, 2, 3, 0, 1, 2]
    turned = positions_of(graph.T)
    assert torch.equal(turned[0], query_pos) and torch.equal(turned[1], key_pos)


def test_bands_with_different_offsets_need_positions():
    one, other = (BandedGraph(2, 3, 0, num_keys=9, offset=offset) for offset in (4, 7))
    with pytest.raises(ValueError, match="bands with different offsets .*give positions"):
        positions_of(one | other)
    assert positions_of(one | other, (torch.arange(9), torch.arange(2)))[1].flatten().tolist() == [0, 1]


def test_other_heads_say_where_positions_start():
    band = BandedGraph(2, 3, 0, num_keys=9, offset=7)
    assert positions_of(CompleteGraph(2, 9), beside=[band])[1].flatten().tolist() == [7, 8]
    assert positions_of(CompleteGraph([1, 1], [4, 5]), beside=[band])[1].flatten().tolist() == [0, 0]  # other examples


@pytest.mark.parametrize("dtype", [torch.uint8, torch.int8, torch.bfloat16, torch.float16])
def test_differences_are_exact(dtype):
    one, other = torch.tensor([3, 100]).to(dtype), torch.tensor([120, 1]).to(dtype)
    assert difference(one, other).tolist() == [-117, 99]
    assert (
        difference(torch.tensor([1024], dtype=torch.bfloat16), torch.tensor([3], dtype=torch.bfloat16)).item() == 1021
    )
    assert difference(one.double(), other).dtype is torch.float64


@pytest.mark.parametrize("pos", [[CompleteGraph(4)], CompleteGraph(4), [0, 1]], ids=repr)
def test_modules_take_tensors(pos):
    with pytest.raises(TypeError, match="'pos' must be a tensor"):
        as_positions(pos)


@pytest.mark.parametrize("pos", [torch.zeros(()), torch.zeros(2, 1, 1), torch.ones(3, dtype=torch.bool)], ids=repr)
def test_positions_are_numbers(pos):
    with pytest.raises(ValueError, match="'pos' must be numbers"):
        as_positions(pos)


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
