"""Encodings whose sign says nothing, such as eigenvectors."""

from typing import Any

import torch
from torch import Tensor
from torch.nn import Linear

from graphattn.graphs import as_graph


class RandomSigns(torch.nn.Module):
    """In training the sign of each column is drawn anew for each example (Dwivedi et al. 2020, section 4); else nothing.

    Shapes:
        - x: [num_nodes, k]
        - graph: any graph of these nodes, which tells the examples
        - output: [num_nodes, k]

    Example:
        >>> from graphattn import CompleteGraph
        >>> RandomSigns().eval()(torch.ones(3, 1), CompleteGraph([2, 1])).flatten()
        tensor([1., 1., 1.])
    """

    def forward(self, x: Tensor, graph: Any) -> Tensor:
        if not self.training:
            return x
        graph = as_graph(graph, x.size(0))
        signs = torch.randint(2, (graph.num_examples, x.size(1)), device=x.device) * 2 - 1
        return x * signs[graph.batch(x.device)]


class SignInvariant(torch.nn.Module):
    r"""A learned map that is the same for v and -v, column by column: SignNet (Lim et al. 2022, eq. 4).

    .. math::
        \rho\,([\phi(v_1) + \phi(-v_1), \dots, \phi(v_k) + \phi(-v_k)])

    phi is a map of single numbers with one hidden layer of relu, rho is linear.

    Args:
        k: Number of columns.
        channels: Size of the encoding.
        hidden_channels: Size inside phi and of its result.

    Shapes:
        - x: [num_nodes, k]
        - output: [num_nodes, channels]

    Example:
        >>> module, x = SignInvariant(8, 16), torch.randn(5, 8)
        >>> torch.allclose(module(x), module(-x), atol=1e-5)
        True
    """

    def __init__(self, k: int, channels: int, hidden_channels: int = 16):
        super().__init__()
        self.k, self.channels = k, channels
        self.lin_in = Linear(1, hidden_channels)
        self.lin_hidden = Linear(hidden_channels, hidden_channels)
        self.lin_out = Linear(k * hidden_channels, channels)

    def reset_parameters(self):
        for linear in (self.lin_in, self.lin_hidden, self.lin_out):
            linear.reset_parameters()

    def forward(self, x: Tensor) -> Tensor:
        if x.dim() != 2 or x.size(1) != self.k:
            raise ValueError(f"'x' must be [num_nodes, {self.k}] (got {list(x.shape)})")
        both = sum(self.lin_hidden(torch.relu(self.lin_in(v[..., None]))) for v in (x, -x))  # [num_nodes, k, hidden]
        return self.lin_out(both.flatten(1))

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.k}, {self.channels})"
