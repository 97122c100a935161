"""TalkingHeads: linear maps over the heads, before and after the normalizer."""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import Module, Parameter

from graphattn.graphs.spread import SpreadGraph
from graphattn.kernels.kernel import accumulation_dtype
from graphattn.kernels.plain.edgewise import sums
from graphattn.nn.edge_terms import with_edge_values
from graphattn.nn.scored import Scored
from graphattn.running.hidden import hidden_edges


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


@dataclass(frozen=True, eq=False)
class ScoredByTalkingHeads(Scored):
    """Attention whose heads talk: no kernel knows how its weights come about, so that all of them are laid out.

    What hides edges is a bias of -inf. What one head sees of an edge all of them get a part of.
    """

    bias: Tensor | None
    talking_heads: TalkingHeads

    def scores(self) -> Tensor:
        if isinstance(self.graph, SpreadGraph):
            self.graph.refuse()
        bias, hidden = self.bias, hidden_edges(self.bias, self.query, self.key, self.edge_attr)
        if hidden is None or bias is None:
            scores = self.talking_heads.mix_scores(self.scores_with(None))
            return scores if bias is None else with_bias(scores, bias)
        gone = hidden.all(1)  # from every head: such scores are not to be mixed
        lost = torch.zeros_like(gone, dtype=self.query.dtype).masked_fill(gone, -torch.inf)
        scores = self.scores_with(lost).masked_fill(gone[:, None], 0.0)
        return with_bias(self.talking_heads.mix_scores(scores), bias).masked_fill(hidden, -torch.inf)

    def weights(self, scores: Tensor | None = None) -> Tensor:
        return self.talking_heads.mix_weights(super().weights(self.scores() if scores is None else scores))

    def result(self, value: Tensor, dropout: float, kernel: str | None, weights: Tensor | None = None) -> Tensor:
        """[num_queries, heads, out_channels] from the weights of all edges."""
        weights = self.weights() if weights is None else weights
        weights = torch.nn.functional.dropout(weights, dropout)
        hidden = hidden_edges(self.bias, value, self.edge_attr)
        gone = None if hidden is None else hidden.all(1, keepdim=True)
        source, target = self.graph.edge_index(value.device)
        num_queries, dtype = self.graph.num_queries, accumulation_dtype(value.dtype)
        out = sums(weights.to(dtype), value.to(dtype), source, target, num_queries, gone).to(value.dtype)
        if self.edge_attr is None or self.edge_weight is None:
            return out
        edges = torch.arange(len(self.edge_attr), device=out.device)
        edge_out = sums(weights, self.edge_attr[:, None], edges, target, num_queries, gone)
        return with_edge_values(out, edge_out, self.edge_weight)


def with_bias(scores: Tensor, bias: Tensor) -> Tensor:
    """[num_edges, heads]; the bias is that, or one number for all heads, [num_edges] or [num_edges, 1]."""
    return scores + (bias[:, None] if bias.dim() == 1 else bias).to(scores.dtype)
