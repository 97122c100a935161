"""Rotary positions (Su et al. 2021, RoFormer)."""

import torch
from torch import Tensor

from graphattn.nn.positions.angles import angles
from graphattn.nn.positions.coordinates import as_positions


class RotaryPositions(torch.nn.Module):
    r"""Turns queries and keys by an angle that grows with their position, so that scores see differences of positions.

    .. math::
        (x_{2i}, x_{2i+1}) \mapsto (x_{2i} \cos a_i - x_{2i+1} \sin a_i,\; x_{2i} \sin a_i + x_{2i+1} \cos a_i), \quad
        a_i = \mathrm{pos} \cdot \mathrm{max\_period}^{-2i / d}

    (Su et al. 2021, eq. 34.) Positions may be any coordinates. With several axes the channels of a head are shared out
    equally among them, axis after axis; channels that are left over (fewer than 2 * axes) are not turned.

    Args:
        max_period: The longest period is 2 pi times this, in units of the position.

    Shapes:
        - x: [num_nodes, heads, dim]
        - pos: [num_nodes] or [num_nodes, axes]
        - output: [num_nodes, heads, dim]

    Example:
        >>> import torch
        >>> from graphattn import causal
        >>> from graphattn.nn import GraphAttention
        >>> layer = GraphAttention(16, 8, heads=4, positions=RotaryPositions())
        >>> layer(torch.randn(10, 16), causal([4, 6])).shape
        torch.Size([10, 32])
        >>> layer(torch.randn(5, 16), causal(5), pos=torch.rand(5, 3)).shape  # in space
        torch.Size([5, 32])
    """

    def __init__(self, max_period: float = 10_000.0):
        super().__init__()
        if not max_period > 1:
            raise ValueError(f"'max_period' must be above 1 (got {max_period})")
        self.max_period = max_period

    def forward(self, x: Tensor, pos: Tensor) -> Tensor:
        if not isinstance(x, Tensor):
            raise TypeError(f"'x' must be a tensor of queries or keys [num_nodes, heads, dim] (got {type(x).__name__})")
        pos = as_positions(pos)
        if pos.size(0) != x.size(0):
            raise ValueError(f"'pos' must be [{x.size(0)}] or [{x.size(0)}, axes] (got {list(pos.shape)})")
        pairs = x.size(-1) // (2 * pos.size(1))
        if pairs < 1:
            raise ValueError(f"'x' needs two channels for each of the {pos.size(1)} axes (got {x.size(-1)})")
        dtype = torch.promote_types(x.dtype, torch.float32)
        dtype = torch.promote_types(dtype, pos.dtype) if pos.is_floating_point() else dtype
        angle = angles(pos.to(dtype), pairs, self.max_period).flatten(1)[:, None]  # [num_nodes, 1, axes * pairs]
        turned, rest = x.split([2 * angle.size(-1), x.size(-1) - 2 * angle.size(-1)], -1)
        even, odd = turned.to(dtype).unflatten(-1, (-1, 2)).unbind(-1)
        cos, sin = angle.cos(), angle.sin()
        turned = torch.stack([even * cos - odd * sin, even * sin + odd * cos], -1).flatten(-2)
        return torch.cat([turned.to(x.dtype), rest], -1)

    def __repr__(self) -> str:
        return f"{type(self).__name__}(max_period={self.max_period})"
