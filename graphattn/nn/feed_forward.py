"""The map that a Transformer block applies to every node alone."""

from collections.abc import Callable

import torch
from torch import Tensor
from torch_geometric.nn.dense import Linear

from graphattn.nn.dropout import drop
from graphattn.nn.linear_maps import apply_linear, relu_between, relu_over, suits_relu_between
from graphattn.nn.plain import is_linear
from graphattn.running.arguments import check_dropout

ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "relu": torch.nn.functional.relu,
    "gelu": torch.nn.functional.gelu,
    "swiglu": torch.nn.functional.silu,
}


class FeedForward(torch.nn.Module):
    r"""Two linear maps with an activation between them.

    'relu': W2 relu(W1 x) (Vaswani et al. 2017, eq. 2); 'gelu': W2 gelu(W1 x) (Hendrycks and Gimpel 2016);
    'swiglu': W2 (silu(W1 x) * V x), with a second map V to the hidden size (Shazeer 2020, eq. 6).

    Args:
        channels: Size of input and output.
        hidden_channels: Size between the maps.
        activation: 'relu', 'gelu' or 'swiglu'.
        dropout: Probability of dropping a hidden number in training.
        bias: Whether the maps learn an offset.

    Shapes:
        - x, output: [num_nodes, channels]

    Example:
        >>> FeedForward(16, 64, "swiglu")(torch.randn(5, 16)).shape
        torch.Size([5, 16])
    """

    def __init__(
        self, channels: int, hidden_channels: int, activation: str = "relu", dropout: float = 0.0, bias: bool = True
    ):
        super().__init__()
        if activation not in ACTIVATIONS:
            raise ValueError(f"'activation' must be one of {list(ACTIVATIONS)} (got {activation!r})")
        self.activation, self.dropout = activation, check_dropout(dropout)
        self.lin_in = Linear(channels, hidden_channels, bias=bias)
        self.lin_gate = Linear(channels, hidden_channels, bias=bias) if activation == "swiglu" else None
        self.lin_out = Linear(hidden_channels, channels, bias=bias)

    def reset_parameters(self) -> None:
        for linear in (self.lin_in, self.lin_gate, self.lin_out):
            if linear is not None:
                linear.reset_parameters()

    def forward(self, x: Tensor) -> Tensor:
        drops = self.training and self.dropout > 0
        if self.activation == "relu" and not drops and suits_relu_between(x, self.lin_in, self.lin_out):
            return relu_between(x, self.lin_in, self.lin_out)
        maps = (self.lin_in,) if self.lin_gate is None else (self.lin_in, self.lin_gate)
        is_new = is_linear(self.lin_in)
        hidden, *gate = apply_linear(x, *maps)
        hidden = relu_over(hidden) if is_new and self.activation == "relu" else ACTIVATIONS[self.activation](hidden)
        hidden = hidden * gate[0] if gate else hidden
        return apply_linear(drop(hidden, self.dropout, self.training), self.lin_out)[0]

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.lin_in.in_channels}, {self.lin_in.out_channels}, {self.activation!r})"
