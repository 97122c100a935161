"""Positions by a differential equation (Liu et al. 2020, FLOATER)."""

import torch
from torch import Tensor
from torch.nn import Linear, Parameter

from graphattn.nn.positions.recurrent import check_line


class ContinuousPositions(torch.nn.Module):
    r"""The solution at `pos` of a learned differential equation that starts at a learned vector (Liu et al. 2020, eq. 3).

    .. math::
        p(0) = p_0, \quad \dot p(t) = W_2 \tanh(W_1 [p(t), t / \mathrm{period}] + b_1) + b_2

    Solved by steps of one size (Runge and Kutta, fourth order), so that the encoding of a place depends on nothing else;
    between two steps a shorter one leads to it. The steps up to the furthest place are taken one after the other.

    Args:
        channels: Size of the encoding.
        hidden_channels: Size inside the equation; `channels` by default.
        step: Length of a step, in units of the position.
        period: Unit of the time that the equation sees, in units of the position.

    Shapes:
        - pos: [num_nodes] or [num_nodes, 1], any numbers from 0 on
        - output: [num_nodes, channels]

    Raises:
        ValueError: on positions below 0 or of several axes.

    Example:
        >>> ContinuousPositions(16)(torch.tensor([0.0, 0.3, 7.5])).shape
        torch.Size([3, 16])
    """

    def __init__(self, channels: int, hidden_channels: int | None = None, step: float = 1.0, period: float = 100.0):
        super().__init__()
        if not step > 0 or not period > 0:
            raise ValueError(f"'step' and 'period' must be positive (got {step} and {period})")
        self.channels, self.step, self.period = channels, step, period
        self.start = Parameter(torch.empty(channels))
        self.lin_in = Linear(channels + 1, hidden_channels or channels)
        self.lin_out = Linear(hidden_channels or channels, channels)
        self.reset_parameters()

    def reset_parameters(self):
        torch.nn.init.normal_(self.start)
        self.lin_in.reset_parameters()
        self.lin_out.reset_parameters()

    def forward(self, pos: Tensor) -> Tensor:
        pos = check_line(pos).to(self.start.dtype)
        number = torch.floor(pos / self.step).long()  # of whole steps before each place
        states = [self.start]
        for index in range(int(number.max()) if number.numel() else 0):
            time = self.start.new_full((), index * self.step)
            states.append(self.advance(states[-1], time, time.new_full((), self.step)))
        time = number * self.step
        return self.advance(torch.stack(states)[number], time, pos - time)

    def slope(self, state: Tensor, time: Tensor) -> Tensor:
        """Derivative of the states [..., channels] at the times [...]."""
        return self.lin_out(torch.tanh(self.lin_in(torch.cat([state, time[..., None] / self.period], -1))))

    def advance(self, state: Tensor, time: Tensor, step: Tensor) -> Tensor:
        """One step of Runge and Kutta's method of fourth order."""
        long, half = step[..., None], step[..., None] / 2
        first = self.slope(state, time)
        second = self.slope(state + half * first, time + step / 2)
        third = self.slope(state + half * second, time + step / 2)
        fourth = self.slope(state + long * third, time + step)
        return state + long / 6 * (first + 2 * second + 2 * third + fourth)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.channels}, step={self.step})"
