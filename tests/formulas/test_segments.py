import pytest
import torch

from graphattn.formulas.segments import Segments

ROWS = Segments(torch.tensor([0, 0, 0, 2, 2, 3]), 5)  # rows 1 and 4 are empty
X = torch.tensor([[3.0, -1.0], [5.0, -torch.inf], [4.0, 2.0], [7.0, 7.0], [7.0, 1.0], [-torch.inf, 0.0]])


def test_largest_of_each_row():
    assert ROWS.largest(X, 2)[[0, 2, 3]].tolist() == [[4, -1], [7, 1], [-torch.inf, 0]]
    assert ROWS.largest(X, 1)[[0, 2, 3]].tolist() == [[5, 2], [7, 7], [-torch.inf, 0]]
    assert ROWS.largest(X[:0], 3).shape == (5, 2)


def test_from_top_moves_each_row_to_zero():
    assert ROWS.from_top(X)[:, 0].tolist() == [-2, 0, -1, 0, 0, -torch.inf]


@pytest.mark.parametrize("power", [1, 2])
@pytest.mark.parametrize("spacing", [0.0, 1e-7, 1e-3, 1.0])
def test_support_of_a_long_row(power, spacing):
    """Above the threshold, found here by bisection."""
    x = -spacing * torch.arange(5000, dtype=torch.float64)
    low, high = -1.0, 0.0
    for _ in range(200):
        middle = (low + high) / 2
        low, high = (middle, high) if (x - middle).relu().pow(power).sum() > 1 else (low, middle)
    support = Segments(torch.zeros(5000, dtype=torch.long), 1).support(x[:, None], power)
    assert support.sum() == (x > high).sum()


def test_nan_stays_in_its_row():
    x = X.clone()
    x[3] = torch.nan
    for power in (1, 2):
        rows = ROWS.from_top(x)
        assert ROWS.support(rows, power)[:3].equal(ROWS.support(ROWS.from_top(X), power)[:3])
    assert ROWS.largest(x, 2)[0].equal(ROWS.largest(X, 2)[0])
