"""Curves through all cells of a cube."""

import torch
from torch import Tensor

MOST_BITS = 62  # of a place on a curve; int64 has 63


def morton_index(cells: Tensor, bits: int) -> Tensor:
    """Places on the Morton curve (Z order): the bits of the coordinates in turn, the first coordinate's first.

    Args:
        cells: [num_cells, dims] integers in 0 ... 2 ** bits - 1.
        bits: Of each coordinate; bits * dims must be at most 62.

    >>> morton_index(torch.tensor([[0, 0], [0, 1], [1, 0], [1, 1], [0, 2]]), bits=2).tolist()
    [0, 1, 2, 3, 4]
    """
    _check(cells, bits)
    index = cells.new_zeros(cells.size(0), dtype=torch.int64)
    for bit in reversed(range(bits)):
        for coordinate in cells.long().unbind(1):
            index = index << 1 | coordinate >> bit & 1
    return index


def hilbert_index(cells: Tensor, bits: int) -> Tensor:
    """Places on the Hilbert curve, on which each cell is one step from the next (Skilling 2004, AxestoTranspose).

    Arguments as in `morton_index`.

    J. Skilling, "Programming the Hilbert curve", AIP Conference Proceedings 707, 381 (2004).

    >>> hilbert_index(torch.tensor([[0, 0], [0, 1], [1, 1], [1, 0]]), bits=1).tolist()
    [0, 1, 2, 3]
    """
    _check(cells, bits)
    axes = list(cells.long().unbind(1))
    for bit in reversed(range(1, bits)):  # undo the turns of each cube, from the largest to the smallest
        low = (1 << bit) - 1
        for i, axis in enumerate(axes):
            is_high = (axis >> bit & 1).bool()
            swapped = torch.where(is_high, 0, (axes[0] ^ axis) & low)
            axes[i] = axis ^ swapped
            axes[0] = torch.where(is_high, axes[0] ^ low, axes[0] ^ swapped)
    return morton_index(torch.stack(_gray(axes, bits), dim=1), bits)


def _gray(axes: list[Tensor], bits: int) -> list[Tensor]:
    """The Gray code of the bits of all axes in turn."""
    for i in range(1, len(axes)):
        axes[i] = axes[i] ^ axes[i - 1]
    flip = torch.zeros_like(axes[0])
    for bit in range(1, bits):
        flip = flip ^ (axes[-1] >> bit & 1) * ((1 << bit) - 1)
    return [axis ^ flip for axis in axes]


def cells_of(positions: Tensor) -> tuple[Tensor, int]:
    """([num_nodes, dims] cells, bits): as fine as a curve can tell, of one size in all directions."""
    dims = positions.size(1)
    bits = min(MOST_BITS // dims, 31)
    positions = positions.double()
    if positions.numel() == 0:
        return positions.long(), bits
    corner = positions.amin(0)
    extent = (positions.amax(0) - corner).max().clamp(min=torch.finfo(torch.float64).tiny)
    return ((positions - corner) / extent * (2**bits - 1)).long(), bits


def _check(cells: Tensor, bits: int) -> None:
    if cells.dim() != 2 or not 1 <= cells.size(1) * bits <= MOST_BITS:
        raise ValueError(
            f"'cells' must be [num_cells, dims] with dims * bits in 1 ... {MOST_BITS} (got "
            f"{list(cells.shape)}, {bits} bits)"
        )
