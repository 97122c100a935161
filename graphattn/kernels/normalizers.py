"""What turns the scores of one query's edges into attention weights, and how partial results of it are put together."""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor


class Normalizer(ABC):
    """Scores of edges -> weights of edges.

    `merge` says how results over disjoint edge sets of one query combine: 'lse' (each weighted by its share of the
    exponentials) or 'sum' (added).
    """

    name: ClassVar[str]
    merge: ClassVar[str]
    scale_by_degree: bool = False

    @abstractmethod
    def weights(self, scores: Tensor, lse: Tensor) -> Tensor:
        """Weights of edges from their scores and the log-sum-exp of their query (used by softmax only)."""

    @abstractmethod
    def grad_scores(self, weights: Tensor, grad_weights: Tensor, delta: Tensor) -> Tensor:
        """Gradient of the scores; `delta` is the sum of weight times its gradient over all edges of the query."""


@dataclass(frozen=True)
class Softmax(Normalizer):
    """exp(score) / sum of exp(score) over the edges of the query."""

    name = "softmax"
    merge = "lse"

    def weights(self, scores, lse):
        # A query without any finite score has lse = -inf: its weights are 0, not exp(-inf + inf).
        return (scores - lse.masked_fill(lse == -torch.inf, 0.0)).exp()

    def grad_scores(self, weights, grad_weights, delta):
        return weights * (grad_weights - delta)


@dataclass(frozen=True)
class Relu(Normalizer):
    """max(score, 0), an unscaled sum; `scale_by_degree` divides by the number of edges of the query."""

    scale_by_degree: bool = False

    name = "relu"
    merge = "sum"

    def weights(self, scores, lse):
        return scores.relu()

    def grad_scores(self, weights, grad_weights, delta):
        return torch.where(weights > 0, grad_weights, 0.0)


@dataclass(frozen=True)
class Sigmoid(Normalizer):
    """1 / (1 + exp(-score)), an unscaled sum; `scale_by_degree` divides by the number of edges of the query."""

    scale_by_degree: bool = False

    name = "sigmoid"
    merge = "sum"

    def weights(self, scores, lse):
        return scores.sigmoid()

    def grad_scores(self, weights, grad_weights, delta):
        return weights * (1 - weights) * grad_weights


NORMALIZERS = {"softmax": Softmax, "relu": Relu, "sigmoid": Sigmoid}


def as_normalizer(normalizer: str | Normalizer) -> Normalizer:
    """The normalizer that a string names; a Normalizer object stands for itself."""
    if isinstance(normalizer, Normalizer):
        return normalizer
    if normalizer in NORMALIZERS:
        return NORMALIZERS[normalizer]()
    raise ValueError(f"'normalizer' must be one of {list(NORMALIZERS)} or a Normalizer object (got {normalizer!r})")
