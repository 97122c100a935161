"""Encodings whose sign says nothing, such as eigenvectors."""

import torch
from torch import Tensor
from torch.nn import Linear

from graphattn.graphs import as_graph
from graphattn.graphs.convert import GraphLike


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

    def forward(self, x: Tensor, graph: GraphLike) -> Tensor:
        if not self.training:
            return x
        graph = as_graph(graph, x.size(0))
        signs = torch.randint(2, (graph.num_examples, x.size(1)), device=x.device) * 2 - 1
        return x * signs[graph.batch(x.device)]


class SignInvariant(torch.nn.Module):
    r"""A learned map that is the same for v and -v, column by column: SignNet (Lim et al. 2022, eq. 4).

    .. math::
        \rho\,([\phi(v_1, \lambda_1) + \phi(-v_1, \lambda_1), \dots, \phi(v_k, \lambda_k) + \phi(-v_k, \lambda_k)])

    phi is a map of single numbers with one hidden layer of relu, rho is linear. With `eigenvalues` phi reads that of each
    column too, so that an eigenvector is known by its frequency and not by its rank alone (Lim et al. 2022, section 3.3; as
    pairs of both they are the input of Kreuzer et al. 2021, SAN, and of LapPE in Rampášek et al. 2022). Columns whose
    eigenvalue is 0 are not there, as `AddLaplacianPE` fills them up, and add nothing.

    Args:
        k: Number of columns.
        channels: Size of the encoding.
        hidden_channels: Size inside phi and of its result.
        eigenvalues: Whether the eigenvalues of the columns are given too.

    Shapes:
        - x: [num_nodes, k]
        - eigenvalues: [num_nodes, k], those of the component of each node, or [k] for all
        - output: [num_nodes, channels]

    Example:
        >>> module, x = SignInvariant(8, 16), torch.randn(5, 8)
        >>> torch.allclose(module(x), module(-x), atol=1e-5)
        True
        >>> SignInvariant(8, 16, eigenvalues=True)(x, torch.linspace(0.1, 2, 8)).shape
        torch.Size([5, 16])
    """

    def __init__(self, k: int, channels: int, hidden_channels: int = 16, eigenvalues: bool = False):
        super().__init__()
        self.k, self.channels, self.eigenvalues = k, channels, eigenvalues
        self.lin_in = Linear(2 if eigenvalues else 1, hidden_channels)
        self.lin_hidden = Linear(hidden_channels, hidden_channels)
        self.lin_out = Linear(k * hidden_channels, channels)

    def reset_parameters(self) -> None:
        for linear in (self.lin_in, self.lin_hidden, self.lin_out):
            linear.reset_parameters()

    def forward(self, x: Tensor, eigenvalues: Tensor | None = None) -> Tensor:
        if x.dim() != 2 or x.size(1) != self.k:
            raise ValueError(f"'x' must be [num_nodes, {self.k}] (got {list(x.shape)})")
        if (eigenvalues is not None) != self.eigenvalues:
            got = None if eigenvalues is None else list(eigenvalues.shape)
            raise ValueError(f"eigenvalues and the option of that name go together (got {got} and {self.eigenvalues})")
        if eigenvalues is None:
            both = self.phi(x[..., None]) + self.phi(-x[..., None])  # [num_nodes, k, hidden_channels]
        else:
            if eigenvalues.shape not in (x.shape, x.shape[1:]):
                raise ValueError(f"'eigenvalues' must be {list(x.shape)} or [{self.k}] (got {list(eigenvalues.shape)})")
            values = eigenvalues.to(x.dtype).expand_as(x)
            both = self.phi(torch.stack([x, values], -1)) + self.phi(torch.stack([-x, values], -1))
            both = both.masked_fill((values == 0)[..., None], 0.0)
        return self.lin_out(both.flatten(1))

    def phi(self, columns: Tensor) -> Tensor:
        """[num_nodes, k, 1 or 2] -> [num_nodes, k, hidden_channels]."""
        return self.lin_hidden(torch.relu(self.lin_in(columns)))

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.k}, {self.channels})"
