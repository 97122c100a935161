"""How well a query and a key fit: the number that a normalizer turns into an attention weight."""

from abc import ABC, abstractmethod
from dataclasses import dataclass

import torch
from torch import Tensor

ACTIVATIONS = {"tanh": torch.tanh, "leaky_relu": lambda x: torch.nn.functional.leaky_relu(x, 0.2)}


class Score(ABC):
    """A function of one query and one key vector, evaluated for many pairs at once by broadcasting."""

    name: str

    @property
    def parameters(self) -> tuple[Tensor, ...]:
        """The tensors that take part in differentiation."""
        return ()

    def replace(self, *parameters: Tensor) -> "Score":
        """The same score with other `parameters`."""
        return self

    def default_scale(self, dim: int) -> float:
        return 1.0

    def check(self, heads: int, dim: int, edge_dim: int | None) -> None:  # noqa: B027  (most scores have none)
        """Raise ValueError where the parameters do not fit the shapes."""

    @abstractmethod
    def between(self, query: Tensor, key: Tensor, edge_features: Tensor | None) -> Tensor:
        """`query`, `key` [..., heads, dim], `edge_features` [..., edge_dim] -> scores [..., heads]."""


@dataclass(frozen=True)
class Dot(Score):
    """query · key, scaled by 1 / sqrt(dim) unless told otherwise (Vaswani et al. 2017, eq. 1)."""

    name = "dot"

    def default_scale(self, dim):
        return max(dim, 1) ** -0.5

    def between(self, query, key, edge_features):
        return (query * key).sum(-1)


@dataclass(frozen=True, eq=False)
class Additive(Score):
    """vector · activation(query + key + edge_weight @ edge_features), per head.

    With 'tanh' it is Bahdanau et al. 2015 (appendix A.1.2), with 'leaky_relu' (slope 0.2) GATv2 (Brody et al. 2022, eq. 7).

    Args:
        vector: [heads, dim].
        edge_weight: [heads, dim, edge_dim], or None if edges have no part in the score.
        activation: 'tanh' or 'leaky_relu'.
    """

    vector: Tensor
    edge_weight: Tensor | None = None
    activation: str = "tanh"

    name = "additive"

    def __post_init__(self):
        if self.activation not in ACTIVATIONS:
            raise ValueError(f"'activation' must be one of {sorted(ACTIVATIONS)} (got {self.activation!r})")

    @property
    def parameters(self):
        return (self.vector,) if self.edge_weight is None else (self.vector, self.edge_weight)

    def replace(self, *parameters):
        return Additive(*parameters, activation=self.activation)

    def check(self, heads, dim, edge_dim):
        if self.vector.shape != (heads, dim):
            raise ValueError(
                f"'vector' of the additive score must be [heads, dim] = [{heads}, {dim}] (got {list(self.vector.shape)})"
            )
        if self.edge_weight is not None and self.edge_weight.shape != (heads, dim, edge_dim):
            raise ValueError(
                f"'edge_weight' of the additive score must be [heads, dim, edge_dim] = [{heads}, {dim}, {edge_dim}]"
                f" (got {list(self.edge_weight.shape)}); it needs 'edge_features' beside it"
            )

    def between(self, query, key, edge_features):
        hidden = query + key
        if self.edge_weight is not None:
            hidden = hidden + torch.einsum("hcd,...d->...hc", self.edge_weight.to(hidden), edge_features)
        return (ACTIVATIONS[self.activation](hidden) * self.vector.to(hidden)).sum(-1)


def as_score(score: str | Score) -> Score:
    """The score that a string names; a Score object stands for itself."""
    if isinstance(score, Score):
        return score
    if score == "dot":
        return Dot()
    raise ValueError(f"'score' must be 'dot' or a Score object such as Additive(vector) (got {score!r})")
