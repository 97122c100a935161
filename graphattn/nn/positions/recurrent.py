"""Positions by a recurrent network that runs along them."""

import torch
from torch import Tensor
from torch.nn import GRUCell, Parameter

from graphattn.compiling.replayed import replayed
from graphattn.nn.positions.coordinates import as_positions


class RecurrentPositions(torch.nn.Module):
    """The state after `pos` steps of a GRU (Cho et al. 2014) that starts at a learned vector and reads a learned one.

    A recurrent network knows the place of what it reads by counting (Neishi and Yoshinaga 2019), and counts on past the
    longest example seen; here it does nothing else. See ContinuousPositions for places between whole numbers.

    Args:
        channels: Size of the encoding.

    Shapes:
        - pos: [num_nodes] or [num_nodes, 1], whole numbers from 0 on
        - output: [num_nodes, channels], in the dtype of the parameters; counted in float32 at least

    Raises:
        ValueError: on positions below 0 or of several axes.

    Example:
        >>> RecurrentPositions(16)(torch.tensor([0, 1, 1, 7])).shape
        torch.Size([4, 16])
    """

    def __init__(self, channels: int):
        super().__init__()
        self.channels = channels
        self.start = Parameter(torch.empty(channels))
        self.input = Parameter(torch.empty(channels))
        self.cell = GRUCell(channels, channels)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        torch.nn.init.normal_(self.start)
        torch.nn.init.normal_(self.input)
        self.cell.reset_parameters()

    def forward(self, pos: Tensor) -> Tensor:
        cell = self.cell
        return states_at(self.start, self.input, cell.weight_ih, cell.weight_hh, cell.bias_ih, cell.bias_hh, pos)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.channels})"


@replayed(lambda *tensors: (tensors[-1].size(0), tensors[0].size(0)))
def states_at(start: Tensor, given: Tensor, *weights_and_pos: Tensor) -> Tensor:
    """[num_nodes, channels]: the states of a GRU of these weights that reads `given` at every step."""
    *weights, pos = weights_and_pos
    pos = check_line(pos).long()
    steps = int(pos.max()) if pos.numel() else 0
    dtype = torch.promote_types(start.dtype, torch.float32)
    states, given, *weights = (x.to(dtype) for x in (start[None], given, *weights))
    if steps:
        with torch.autocast(start.device.type, enabled=False):
            later, _ = torch.gru(given.expand(steps, 1, -1), states[None], weights, True, 1, 0.0, False, False, False)
        states = torch.cat([states, later[:, 0]])
    return states[pos].to(start.dtype)


def check_line(pos: Tensor) -> Tensor:
    """Positions on one axis from 0 on: [num_nodes]."""
    if as_positions(pos).size(1) != 1:
        raise ValueError(f"'pos' must be [num_nodes] or [num_nodes, 1] (got {list(pos.shape)})")
    pos = pos.reshape(-1)
    if pos.numel() and not bool(pos.min() >= 0):
        raise ValueError(f"positions must be 0 or above (got {float(pos.min())})")
    return pos
