import pytest
import torch

from graphattn.nn import LearnedPositions


def test_sums_one_vector_per_axis():
    module = LearnedPositions((3, 5), 4)
    pos = torch.tensor([[0, 4], [2, 0]])
    rows, columns = (table.weight for table in module.tables)
    expected = torch.stack([rows[0] + columns[4], rows[2] + columns[0]])
    assert torch.equal(module(pos), expected)


def test_one_axis_and_zero_nodes():
    module = LearnedPositions(7, 4)
    assert torch.equal(module(torch.tensor([6])), module.tables[0].weight[6:])
    assert module(torch.empty(0)).shape == (0, 4)


@pytest.mark.parametrize(("pos", "words"), [([7], "0 .. 6 .got 7 .. 7"), ([-1, 2], "0 .. 6 .got -1 .. 2")])
def test_positions_outside_the_table_are_named(pos, words):
    with pytest.raises(ValueError, match=words):
        LearnedPositions(7, 4)(torch.tensor(pos))


def test_axes_must_agree():
    with pytest.raises(ValueError, match="must have 2 axes"):
        LearnedPositions((3, 5), 4)(torch.zeros(2))


def test_sizes_must_be_positive():
    with pytest.raises(ValueError, match="must be positive .got 0 and 4"):
        LearnedPositions(0, 4)


def test_three_axes():
    module = LearnedPositions((2, 3, 4), 5)
    wanted = sum(table.weight[place] for table, place in zip(module.tables, (1, 2, 3)))
    torch.testing.assert_close(module(torch.tensor([[1, 2, 3]])), wanted[None])
