"""The frame around every part of a Transformer block: norm, dropout, stochastic depth, sum."""

from collections.abc import Callable

import torch
from torch import Tensor

from graphattn.graphs import Graph
from graphattn.graphs.per_head import PerHead
from graphattn.nn.dropout import drop
from graphattn.running.arguments import check_dropout


class Residual(torch.nn.Module):
    """norm(x + f(x)) (Vaswani et al. 2017), or x + f(norm(x)) with `norm_first` (Xiong et al. 2020).

    Args:
        channels: Size of the node features.
        norm_first: Whether f sees normalized features.
        dropout: Probability of dropping a number of f in training.
        drop_path: Probability of dropping f for an example as a whole in training (stochastic depth, Huang et al. 2016);
            the rest is scaled by 1 / (1 - drop_path).
        eps: Added to the variance by the LayerNorm.
        bias: Whether the LayerNorm learns an offset.

    Shapes:
        - x, f(x), output: [num_nodes, channels]; the examples are those of the queries of `graph`

    Example:
        >>> from graphattn import CompleteGraph
        >>> Residual(4)(torch.randn(5, 4), torch.nn.Linear(4, 4), CompleteGraph([2, 3])).shape
        torch.Size([5, 4])
    """

    def __init__(
        self,
        channels: int,
        norm_first: bool = False,
        dropout: float = 0.0,
        drop_path: float = 0.0,
        eps: float = 1e-5,
        bias: bool = True,
    ):
        super().__init__()
        self.norm = torch.nn.LayerNorm(channels, eps=eps, bias=bias)
        self.norm_first, self.dropout = norm_first, check_dropout(dropout)
        self.drop_path = check_dropout(drop_path, "drop_path")

    def reset_parameters(self) -> None:
        self.norm.reset_parameters()

    def forward(self, x: Tensor, function: Callable[[Tensor], Tensor], graph: Graph | PerHead) -> Tensor:
        change = function(self.norm(x) if self.norm_first else x)
        change = drop(change, self.dropout, self.training)
        if self.training and self.drop_path > 0:
            change = drop_examples(change, self.drop_path, graph)
        return x + change if self.norm_first else self.norm(x + change)

    def __repr__(self) -> str:
        return (
            f"{type(self).__name__}({self.norm.normalized_shape[0]}, norm_first={self.norm_first},"
            f" dropout={self.dropout}, drop_path={self.drop_path})"
        )


def drop_examples(x: Tensor, probability: float, graph: Graph | PerHead) -> Tensor:
    """0 for all nodes of an example with this probability, else x / (1 - probability)."""
    keep = torch.ones(graph.num_examples, 1, device=x.device, dtype=x.dtype)
    return x * torch.nn.functional.dropout(keep, probability)[graph.batch(x.device)]
