"""Matrices with one number on each diagonal, as views of the table of these numbers, and sums along diagonals.

The diagonals run from lower left to upper right: place (i, j) has number i + j. So views have positive strides, and a
bias by key - query is such a matrix where the queries come in reverse.
"""

import torch
from torch import Tensor


def by_diagonal(table: Tensor, width: int) -> Tensor:
    """[..., count + width - 1] -> [..., count, width], where (i, j) is number i + j: a view, nothing is copied.

    >>> by_diagonal(torch.arange(5), 3)
    tensor([[0, 1, 2],
            [1, 2, 3],
            [2, 3, 4]])
    """
    return table.unfold(-1, width, 1)


def sum_diagonals(matrix: Tensor) -> Tensor:
    """[..., count, width] -> [..., count + width - 1], the sum over all (i, j) of one i + j.

    >>> sum_diagonals(torch.tensor([[1, 2, 3], [10, 20, 30]]))
    tensor([ 1, 12, 23, 30])
    """
    count, width = matrix.shape[-2:]
    # Rows one longer than the result: read with rows as long as the result, each begins one place later than the last.
    rows = torch.nn.functional.pad(matrix, (0, count)).flatten(-2)[..., : count * (count + width - 1)]
    return rows.unflatten(-1, (count, -1)).sum(-2)
