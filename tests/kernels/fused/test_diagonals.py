"""Places (i, j) of a matrix by the sum i + j, by plain loops."""

import pytest
import torch

from graphattn.kernels.fused.diagonals import by_diagonal, sum_diagonals


@pytest.mark.parametrize(("count", "width"), [(1, 1), (1, 6), (6, 1), (3, 7), (7, 3), (5, 5)])
def test_views_and_sums(count, width):
    torch.manual_seed(0)
    table, matrix = torch.randn(2, count + width - 1), torch.randn(2, count, width, dtype=torch.float64)
    view, wanted = by_diagonal(table, width), torch.zeros(2, count + width - 1, dtype=torch.float64)
    assert view.shape == matrix.shape and view.data_ptr() == table.data_ptr()
    for i in range(count):
        for j in range(width):
            assert view[:, i, j].equal(table[:, i + j])
            wanted[:, i + j] += matrix[:, i, j]
    torch.testing.assert_close(sum_diagonals(matrix), wanted)
    torch.testing.assert_close(sum_diagonals(matrix.mT.contiguous().mT), wanted)  # not contiguous
