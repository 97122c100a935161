"""Learned positions (Gehring et al. 2017; BERT, ViT)."""

import torch
from torch import Tensor

from graphattn.nn.positions.coordinates import as_positions


class LearnedPositions(torch.nn.Module):
    """One learned vector for each integer position; on several axes the sum of one vector per axis.

    Args:
        num_positions: Number of positions, or one number per axis.
        channels: Size of the encoding.

    Shapes:
        - pos: [num_nodes] or [num_nodes, axes], whole numbers in 0 .. num_positions - 1
        - output: [num_nodes, channels]

    Raises:
        ValueError: if a position lies outside the table (in compiled code an IndexError).

    Example:
        >>> import torch
        >>> LearnedPositions((28, 28), 16)(torch.tensor([[0, 0], [27, 3]])).shape
        torch.Size([2, 16])
    """

    def __init__(self, num_positions: int | tuple[int, ...], channels: int):
        super().__init__()
        sizes = tuple(num_positions) if isinstance(num_positions, (tuple, list)) else (num_positions,)
        if not sizes or min(sizes) < 1 or channels < 1:
            raise ValueError(f"'num_positions' and 'channels' must be positive (got {num_positions} and {channels})")
        self.sizes, self.channels = sizes, channels
        self.tables = torch.nn.ModuleList(torch.nn.Embedding(size, channels) for size in sizes)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        for weight in self.tables.parameters():
            torch.nn.init.normal_(weight, std=0.02)

    def forward(self, pos: Tensor) -> Tensor:
        pos = as_positions(pos).long()
        if pos.size(1) != len(self.sizes):
            raise ValueError(f"'pos' must have {len(self.sizes)} axes (got {list(pos.shape)})")
        # Compiled code cannot ask for numbers; there the tables raise an IndexError.
        for axis, size in enumerate(() if torch.compiler.is_compiling() else self.sizes):
            if pos.numel() and not 0 <= int(pos[:, axis].min()) <= int(pos[:, axis].max()) < size:
                raise ValueError(
                    f"positions of axis {axis} must lie in 0 .. {size - 1} (got {int(pos[:, axis].min())} .. "
                    f"{int(pos[:, axis].max())}); make the table larger"
                )
        return sum(table(pos[:, axis]) for axis, table in enumerate(self.tables))

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.sizes if len(self.sizes) > 1 else self.sizes[0]}, {self.channels})"
