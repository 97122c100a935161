"""TokenEmbedding: vectors of tokens and of their places."""

import math
from collections.abc import Callable

import torch
from torch import Tensor

from graphattn.nn.dropout import drop
from graphattn.nn.positions import SinusoidalPositions
from graphattn.running.arguments import check_dropout

TOKEN_DTYPES = (torch.int64, torch.int32)  # what torch.nn.Embedding reads

Encoding = str | Callable[[Tensor], Tensor] | None  # of positions [num_nodes] as [num_nodes, channels]


class TokenEmbedding(torch.nn.Module):
    """sqrt(channels) * table[token] + encoding(position) (Vaswani et al. 2017, sections 3.4 and 3.5).

    Args:
        num_tokens: Number of different tokens.
        channels: Size of the vectors.
        encoding: 'sinusoidal', a module pos -> [num_nodes, channels], or None where positions enter otherwise (rotary
            positions, biases).
        dropout: Probability of dropping a number of the sum in training.

    Shapes:
        - tokens: [num_nodes], in 0 .. num_tokens - 1
        - pos: [num_nodes], or [num_nodes, axes]
        - output: [num_nodes, channels]

    Raises:
        TypeError, ValueError: if tokens or `pos` are no tensors, or `pos` does not name as many positions.

    Example:
        >>> TokenEmbedding(100, 16)(torch.tensor([5, 99, 7]), torch.arange(3)).shape
        torch.Size([3, 16])
    """

    def __init__(
        self,
        num_tokens: int,
        channels: int,
        encoding: Encoding = "sinusoidal",
        dropout: float = 0.0,
    ):
        super().__init__()
        if isinstance(encoding, str):
            if encoding != "sinusoidal":
                raise ValueError(f"'encoding' must be 'sinusoidal', a module or None (got {encoding!r})")
            encoding = SinusoidalPositions(channels)
        self.table = torch.nn.Embedding(num_tokens, channels)
        self.encoding = encoding
        self.dropout = check_dropout(dropout)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        torch.nn.init.normal_(self.table.weight, std=self.table.embedding_dim**-0.5)
        reset = getattr(self.encoding, "reset_parameters", None)
        if reset is not None:
            reset()

    def forward(self, tokens: Tensor, pos: Tensor) -> Tensor:
        if not isinstance(tokens, Tensor):
            raise TypeError(f"'tokens' must be a tensor of integers [num_nodes] (got {type(tokens).__name__})")
        if isinstance(pos, Tensor) and tokens.dim() == 1 and pos.size(0) != tokens.size(0):  # one would be that of all
            raise ValueError(f"'pos' must name a position for each of {tokens.size(0)} tokens (got {list(pos.shape)})")
        x = self.table(tokens) * math.sqrt(self.table.embedding_dim)
        x = x if self.encoding is None else x + self.encoding(pos).to(x.dtype)
        return drop(x, self.dropout, self.training)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.table.num_embeddings}, {self.table.embedding_dim})"


def check_tokens(tokens: Tensor) -> None:
    """Tokens of examples laid end to end."""
    if not isinstance(tokens, Tensor):
        raise TypeError(f"'tokens' must be a tensor of integers [num_nodes] (got {type(tokens).__name__})")
    if tokens.dtype not in TOKEN_DTYPES or tokens.dim() != 1:
        raise ValueError(
            f"'tokens' must be integers [num_nodes], int64 or int32 (got {tokens.dtype} {list(tokens.shape)}); lay examples"
            " end to end, and their graph says where each starts"
        )
