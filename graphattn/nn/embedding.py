"""TokenEmbedding: vectors of tokens and of their places."""

import math
from collections.abc import Callable

import torch
from torch import Tensor

from graphattn.arguments import check_dropout
from graphattn.nn.positions import SinusoidalPositions


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

    Example:
        >>> TokenEmbedding(100, 16)(torch.tensor([5, 99, 7]), torch.arange(3)).shape
        torch.Size([3, 16])
    """

    def __init__(
        self,
        num_tokens: int,
        channels: int,
        encoding: str | Callable[[Tensor], Tensor] | None = "sinusoidal",
        dropout: float = 0.0,
    ):
        super().__init__()
        if isinstance(encoding, str) and encoding != "sinusoidal":
            raise ValueError(f"'encoding' must be 'sinusoidal', a module or None (got {encoding!r})")
        self.table = torch.nn.Embedding(num_tokens, channels)
        self.encoding = SinusoidalPositions(channels) if encoding == "sinusoidal" else encoding
        self.dropout = check_dropout(dropout)
        self.reset_parameters()

    def reset_parameters(self):
        torch.nn.init.normal_(self.table.weight, std=self.table.embedding_dim**-0.5)
        if hasattr(self.encoding, "reset_parameters"):
            self.encoding.reset_parameters()

    def forward(self, tokens: Tensor, pos: Tensor) -> Tensor:
        x = self.table(tokens) * math.sqrt(self.table.embedding_dim)
        x = x if self.encoding is None else x + self.encoding(pos).to(x.dtype)
        return torch.nn.functional.dropout(x, self.dropout, self.training)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.table.num_embeddings}, {self.table.embedding_dim})"
