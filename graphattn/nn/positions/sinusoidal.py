"""Sinusoidal positions (Vaswani et al. 2017, section 3.5)."""

import torch
from torch import Tensor

from graphattn.nn.positions.angles import angles
from graphattn.nn.positions.coordinates import as_positions


class SinusoidalPositions(torch.nn.Module):
    """Sines and cosines of geometrically growing periods, from any coordinates.

    Channel pairs (2i, 2i + 1) of an axis hold sin and cos of position / max_period^(2i / channels). With several axes the
    channels are shared out equally among them, axis after axis.

    Args:
        channels: Size of the encoding, a multiple of twice the number of axes.
        max_period: The longest period is 2 pi times this, in units of the position.

    Shapes:
        - pos: [num_nodes] or [num_nodes, axes]
        - output: [num_nodes, channels], in the dtype of `pos`, or in the default one if that holds integers; computed in
          float32 at least

    Example:
        >>> import torch
        >>> SinusoidalPositions(4)(torch.tensor([0., 1.]))
        tensor([[0.0000, 1.0000, 0.0000, 1.0000],
                [0.8415, 0.5403, 0.0100, 0.9999]])
    """

    def __init__(self, channels: int, max_period: float = 10_000.0):
        super().__init__()
        if channels < 2 or channels % 2:
            raise ValueError(f"'channels' must be a positive even number (got {channels})")
        if not max_period > 1:
            raise ValueError(f"'max_period' must be above 1 (got {max_period})")
        self.channels, self.max_period = channels, max_period

    def forward(self, pos: Tensor) -> Tensor:
        pos = as_positions(pos)
        axes = pos.size(1)
        if self.channels % (2 * axes):
            raise ValueError(f"'channels' must be a multiple of {2 * axes} for {axes} axes (got {self.channels})")
        dtype = pos.dtype if pos.is_floating_point() else torch.get_default_dtype()
        pairs = self.channels // (2 * axes)
        angle = angles(pos.to(torch.promote_types(dtype, torch.float32)), pairs, self.max_period)
        return torch.stack([angle.sin(), angle.cos()], -1).flatten(1).to(dtype)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.channels}, max_period={self.max_period})"
