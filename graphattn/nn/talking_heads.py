"""TalkingHeads: linear maps over the heads, before and after the normalizer."""

import torch
from torch import Tensor
from torch.nn import Module, Parameter


class TalkingHeads(Module):
    r"""Scores and weights of the heads are mixed, edge by edge (Shazeer et al. 2020, https://arxiv.org/abs/2003.02436).

    .. math::
        \alpha = \mathrm{normalizer}(s P_l) P_w

    with s [num_edges, heads]. Both maps begin as the identity, where heads do not talk.

    Args:
        heads: Number of attention heads.

    Example:
        >>> import torch
        >>> TalkingHeads(2).mix_scores(torch.tensor([[1., 2.]]))
        tensor([[1., 2.]], grad_fn=<MmBackward0>)
    """

    def __init__(self, heads: int):
        super().__init__()
        self.heads = heads
        self.to_scores = Parameter(torch.empty(heads, heads))  # P_l
        self.to_weights = Parameter(torch.empty(heads, heads))  # P_w
        self.reset_parameters()

    def reset_parameters(self) -> None:
        torch.nn.init.eye_(self.to_scores)
        torch.nn.init.eye_(self.to_weights)

    def mix_scores(self, scores: Tensor) -> Tensor:
        """[num_edges, heads], before the normalizer and before any bias."""
        return scores @ self.to_scores.to(scores.dtype)

    def mix_weights(self, weights: Tensor) -> Tensor:
        """[num_edges, heads], after the normalizer."""
        return weights @ self.to_weights.to(weights.dtype)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.heads})"
