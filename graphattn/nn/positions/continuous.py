"""Positions by a differential equation (Liu et al. 2020, FLOATER)."""

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import Linear, Parameter
from torch.nn.functional import linear

from graphattn.compiling.replayed import replayed
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
        - output: [num_nodes, channels], in the dtype of the parameters; solved in float32 at least

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

    def reset_parameters(self) -> None:
        torch.nn.init.normal_(self.start)
        self.lin_in.reset_parameters()
        self.lin_out.reset_parameters()

    def forward(self, pos: Tensor) -> Tensor:
        maps = self.lin_in.weight, self.lin_in.bias, self.lin_out.weight, self.lin_out.bias
        return solution_at(self.start, *maps, pos, self.step, self.period)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.channels}, step={self.step})"


@replayed(lambda start, *rest: (rest[4].size(0), start.size(0)))
def solution_at(
    start: Tensor,
    in_weight: Tensor,
    in_bias: Tensor,
    out_weight: Tensor,
    out_bias: Tensor,
    pos: Tensor,
    step: float,
    period: float,
) -> Tensor:
    """[num_nodes, channels]: the solution of the equation of these two maps at each place."""

    dtype = torch.promote_types(start.dtype, torch.float32)  # half precision cannot tell time 300 from 301
    first, in_weight, in_bias, out_weight, out_bias = (
        x.to(dtype) for x in (start, in_weight, in_bias, out_weight, out_bias)
    )

    def slope(state: Tensor, time: Tensor) -> Tensor:
        hidden = linear(torch.cat([state, time[..., None] / period], -1), in_weight, in_bias)
        return linear(torch.tanh(hidden), out_weight, out_bias)

    pos = check_line(pos).to(dtype)
    number = torch.floor(pos / step).long()  # of whole steps before each place
    states = [first]
    with torch.autocast(start.device.type, enabled=False):
        for index in range(int(number.max()) if number.numel() else 0):
            time = first.new_full((), index * step)
            states.append(advance(slope, states[-1], time, time.new_full((), step)))
        time = number * step
        return advance(slope, torch.stack(states)[number], time, pos - time).to(start.dtype)


def advance(slope: Callable[[Tensor, Tensor], Tensor], state: Tensor, time: Tensor, step: Tensor) -> Tensor:
    """States [..., channels] at times [...] one step later, by Runge and Kutta's method of fourth order."""
    long, half = step[..., None], step[..., None] / 2
    first = slope(state, time)
    second = slope(state + half * first, time + step / 2)
    third = slope(state + half * second, time + step / 2)
    fourth = slope(state + long * third, time + step)
    return state + long / 6 * (first + 2 * second + 2 * third + fourth)
