"""What turns the scores of one query's edges into attention weights, and how partial results of it are put together."""

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, replace
from math import isfinite
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from graphattn.formulas.names import check_name
from graphattn.formulas.segments import Segments


class Normalizer(ABC):
    """Scores of edges -> weights of edges. An edge with the score -inf has weight 0.

    `merge` says how results over disjoint edge sets of one query combine: 'lse' (each weighted by its share of the
    exponentials), 'sum' (added) or None (they cannot: a row is one part).
    """

    name: ClassVar[str]
    merge: ClassVar[str | None]
    scale_by_degree: bool = False
    sink: Tensor | float | None = None

    @property
    def facts(self) -> tuple | None:
        """All that checks and kernels look at; None where that is more, and they look again at every call."""
        if self.sink is not None or type(self) not in NORMALIZERS.values():
            return None
        return type(self), self.scale_by_degree

    def check(self, heads: int) -> None:  # noqa: B027  (most normalizers have no parameters)
        """Raise ValueError where the parameters do not fit the number of heads."""

    def of_sink(self, change: Callable[[Tensor], Tensor]) -> "Normalizer":
        """The same normalizer with another sink, if it has a tensor for one."""
        with_sink: Any = self  # a dataclass, where there is one
        return replace(with_sink, sink=change(self.sink)) if isinstance(self.sink, Tensor) else self

    # What `EdgeNormalizer` and `RowNormalizer` define: kernels know by `merge` which of them to ask.

    def weights(self, scores: Tensor, lse: Tensor) -> Tensor:
        raise NotImplementedError(f"{type(self).__name__} finds weights row by row")

    def grad_scores(self, weights: Tensor, grad_weights: Tensor, delta: Tensor) -> Tensor:
        raise NotImplementedError(f"{type(self).__name__} finds weights row by row")

    def row_weights(self, scores: Tensor, rows: Segments) -> Tensor:
        raise NotImplementedError(f"{type(self).__name__} finds weights edge by edge")

    def row_grad_scores(self, scores: Tensor, weights: Tensor, grad_weights: Tensor, rows: Segments) -> Tensor:
        raise NotImplementedError(f"{type(self).__name__} finds weights edge by edge")


class EdgeNormalizer(Normalizer):
    """The weight of an edge follows from its score and one number of its query."""

    @abstractmethod
    def weights(self, scores: Tensor, lse: Tensor) -> Tensor:
        """Weights of edges from their scores and the log-sum-exp of their query (used by softmax only)."""

    @abstractmethod
    def grad_scores(self, weights: Tensor, grad_weights: Tensor, delta: Tensor) -> Tensor:
        """Gradient of the scores; `delta` is the sum of weight times its gradient over all edges of the query."""


class RowNormalizer(Normalizer):
    """All scores of a row are needed at once to find the weights of its edges."""

    merge = None

    @abstractmethod
    def row_weights(self, scores: Tensor, rows: Segments) -> Tensor:
        """Weights [num_edges, heads] from scores [num_edges, heads]; differentiable, more than once."""

    def sensitivity(self, weights: Tensor) -> Tensor | None:
        """How fast each weight follows its own score while the others are held: s in `row_grad_scores`; None if autograd is to
        find the gradient."""
        return None

    def row_grad_scores(self, scores: Tensor, weights: Tensor, grad_weights: Tensor, rows: Segments) -> Tensor:
        """Gradient of the scores: (diag(s) - s sᵀ / sum(s)) grad_weights (Peters et al. 2019, prop. 2)."""
        s = self.sensitivity(weights)
        if s is None:
            with torch.enable_grad():
                scores = scores.detach().requires_grad_()
                return torch.autograd.grad(self.row_weights(scores, rows), scores, grad_weights)[0]
        mean = rows.sum(s * grad_weights) / one_if_zero(rows.sum(s))
        return torch.where(s > 0, s * (grad_weights - rows.spread(mean)), 0.0)


@dataclass(frozen=True, eq=False)
class Softmax(EdgeNormalizer):
    """exp(score) / sum of exp(score) over the edges of the query.

    Args:
        sink: [heads] or a number, finite: the score of one more key with value 0, so that a query may attend to nothing: exp(sink)
            joins the sum. 0 is the 'off by one' softmax (Miller 2023), a learned one that of Xiao et al. 2024 (sec. 3.3).
    """

    sink: Tensor | float | None = None

    name = "softmax"
    merge = "lse"

    def __post_init__(self):
        is_number = (
            isinstance(self.sink, (int, float, np.number)) and not isinstance(self.sink, bool) and isfinite(self.sink)
        )
        if not (self.sink is None or isinstance(self.sink, Tensor) or is_number):
            raise ValueError(f"'sink' must be None, a finite number or a tensor [heads] (got {self.sink!r})")

    def check(self, heads):
        if isinstance(self.sink, Tensor) and self.sink.shape != (heads,):
            raise ValueError(f"'sink' must be [heads] = [{heads}] (got {list(self.sink.shape)})")

    def weights(self, scores, lse):
        # A query without any finite score has lse = -inf: its weights are 0, not exp(-inf + inf).
        return (scores - lse.masked_fill(lse == -torch.inf, 0.0)).exp()

    def grad_scores(self, weights, grad_weights, delta):
        return weights * (grad_weights - delta)


@dataclass(frozen=True)
class Relu(EdgeNormalizer):
    """max(score, 0), an unscaled sum; `scale_by_degree` divides by the number of edges of the query."""

    scale_by_degree: bool = False

    name = "relu"
    merge = "sum"

    def weights(self, scores, lse):
        return scores.relu()

    def grad_scores(self, weights, grad_weights, delta):
        return torch.where(weights > 0, grad_weights, 0.0)


@dataclass(frozen=True)
class SquaredRelu(EdgeNormalizer):
    """max(score, 0)² (So et al. 2021; Hua et al. 2022), an unscaled sum; `scale_by_degree` divides by the number of edges."""

    scale_by_degree: bool = False

    name = "squared_relu"
    merge = "sum"

    def weights(self, scores, lse):
        return scores.relu().square()

    def grad_scores(self, weights, grad_weights, delta):
        return 2 * weights.sqrt() * grad_weights


@dataclass(frozen=True)
class Sigmoid(EdgeNormalizer):
    """1 / (1 + exp(-score)), an unscaled sum; `scale_by_degree` divides by the number of edges of the query."""

    scale_by_degree: bool = False

    name = "sigmoid"
    merge = "sum"

    def weights(self, scores, lse):
        return scores.sigmoid()

    def grad_scores(self, weights, grad_weights, delta):
        return weights * (1 - weights) * grad_weights


@dataclass(frozen=True)
class Identity(EdgeNormalizer):
    """The score itself, an unscaled sum; `scale_by_degree` divides by the number of edges of the query."""

    scale_by_degree: bool = False

    name = "identity"
    merge = "sum"

    def weights(self, scores, lse):
        return scores.masked_fill(scores == -torch.inf, 0.0)

    def grad_scores(self, weights, grad_weights, delta):
        return grad_weights


@dataclass(frozen=True)
class Sparsemax(RowNormalizer):
    """max(score - t, 0) with the t for which a row sums to 1: its projection onto the simplex (Martins and Astudillo 2016)."""

    name = "sparsemax"

    def row_weights(self, scores, rows):
        scores = rows.from_top(scores)
        support = rows.support(scores.detach(), power=1)
        kept = torch.where(support, scores, 0.0)
        threshold = (rows.sum(kept) - 1) / rows.sum(support.to(scores.dtype)).clamp(min=1)
        return torch.where(support, kept - rows.spread(threshold), 0.0).relu()

    def sensitivity(self, weights):
        return (weights > 0).to(weights.dtype)


@dataclass(frozen=True)
class Entmax15(RowNormalizer):
    """max(score / 2 - t, 0)² with the t for which a row sums to 1: 1.5-entmax (Peters et al. 2019, eq. 9 and sec. 3.1)."""

    name = "entmax15"

    def row_weights(self, scores, rows):
        halves = rows.from_top(scores) / 2
        support = rows.support(halves.detach(), power=2)
        kept = torch.where(support, halves, 0.0)
        count = rows.sum(support.to(scores.dtype)).clamp(min=1)
        mean = rows.sum(kept) / count
        spread = rows.sum(torch.where(support, kept - rows.spread(mean), 0.0).square())
        threshold = mean - ((1 - spread).clamp(min=0) / count).sqrt()
        return torch.where(support, kept - rows.spread(threshold), 0.0).relu().square()

    def sensitivity(self, weights):
        return weights.sqrt()


@dataclass(frozen=True)
class TopK(RowNormalizer):
    """Softmax over the k largest scores of each row, the others get 0 (Gupta et al. 2021).

    Scores equal to the k-th largest are all kept, so that the result does not depend on the order of edges. Where fewer than
    k edges have a finite score it is softmax over them.

    Args:
        k: How many, at least 1.
    """

    k: int

    name = "top_k"

    def __post_init__(self):
        if isinstance(self.k, bool) or not isinstance(self.k, (int, np.integer)) or self.k < 1:
            raise ValueError(f"'k' must be a positive int (got {self.k!r})")

    def row_weights(self, scores, rows):
        is_dropped = scores < rows.spread(rows.largest(scores.detach(), self.k))
        kept = rows.from_top(scores).masked_fill(is_dropped, -torch.inf).exp()
        return kept / rows.spread(one_if_zero(rows.sum(kept)))

    def sensitivity(self, weights):
        return weights


@dataclass(frozen=True)
class CustomNormalizer(RowNormalizer):
    """Any differentiable function of the scores of a row, which it is given without the edges of score -inf.

    Rows with as many edges go to the function together. It runs on 'edges_torch'; compilers break their graph at it.

    Args:
        function: scores [..., num_edges of a row] -> weights of the same shape, along the last axis as `torch.softmax(x, -1)`.
            Gradients flow to the scores, and to nothing else: a tensor that it closes over and that needs one is refused.
    """

    function: Callable[[Tensor], Tensor]

    name = "custom"

    def check(self, heads):
        scores = torch.zeros(heads, 2, device="cpu")
        with torch.enable_grad():
            weights = self.of_rows(scores)
        if weights.requires_grad:
            raise ValueError(
                "'normalizer' closes over a tensor that needs a gradient, which would be lost; scale scores by a learned number"
                " before (score=...), or write a layer on attention_scores and weighted_sum"
            )

    def of_rows(self, scores: Tensor) -> Tensor:
        weights = self.function(scores)
        if not isinstance(weights, Tensor) or weights.shape != scores.shape:
            got = list(weights.shape) if isinstance(weights, Tensor) else type(weights).__name__
            raise ValueError(f"'normalizer' must give a weight for each score {list(scores.shape)} (got {got})")
        return weights

    def row_weights(self, scores, rows):
        if torch.compiler.is_compiling():
            torch._dynamo.graph_break(
                "a function as normalizer is not traced; a RowNormalizer is (see docs/extending.md)"
            )
        heads = scores.size(1)
        row = (rows.row[:, None] * heads + torch.arange(heads, device=scores.device)).flatten()  # of each head
        place = (scores.detach() != -torch.inf).flatten().nonzero().flatten()
        place = place[row[place].argsort(stable=True)]
        count = torch.bincount(row[place], minlength=rows.num_rows * heads)
        first = count.cumsum(0) - count
        numbers = scores.flatten()
        weights = torch.zeros_like(numbers)
        for degree in count.unique().tolist():
            if degree:
                of_rows = place[first[count == degree, None] + torch.arange(degree, device=scores.device)]
                weights = weights.index_put((of_rows,), self.of_rows(numbers[of_rows]).to(weights.dtype))
        return weights.view_as(scores)


def one_if_zero(total: Tensor) -> Tensor:
    """A divisor for rows without edges: 0 / 1, which has derivatives."""
    return total.masked_fill(total == 0, 1.0)


NAMED = (Softmax, Relu, SquaredRelu, Sigmoid, Identity, Sparsemax, Entmax15)
NORMALIZERS = {kind.name: kind for kind in NAMED}


OWN = {kind.name: kind for kind in (*NAMED, TopK, CustomNormalizer)}
MERGES = "lse", "sum", None


def as_normalizer(normalizer: str | Normalizer | Callable[[Tensor], Tensor]) -> Normalizer:
    """The normalizer that a string names; a Normalizer object stands for itself, a function is made one."""
    if isinstance(normalizer, Normalizer):
        check_name(normalizer, OWN)
        merge = getattr(normalizer, "merge", "nothing")
        if merge not in MERGES:
            raise ValueError(f"'merge' of {type(normalizer).__name__} must be one of {list(MERGES)} (got {merge!r})")
        return normalizer
    if isinstance(normalizer, str) and normalizer in NORMALIZERS:
        return NORMALIZERS[normalizer]()
    if callable(normalizer) and not isinstance(normalizer, type):
        return CustomNormalizer(normalizer)
    raise ValueError(
        f"'normalizer' must be one of {list(NORMALIZERS)}, a Normalizer object or a function of the scores of a row (got"
        f" {normalizer!r})"
    )
