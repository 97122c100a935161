"""The scores that a layer learns: for each the parameter that the layer keeps, and the score that is made of it."""

import math
from abc import ABC, abstractmethod
from typing import Any, ClassVar

from torch import Tensor
from torch.nn.init import constant_
from torch_geometric.nn.inits import glorot

from graphattn.formulas.scores import Additive, Bilinear, Cosine, Gaussian, Score
from graphattn.functional import ScoreLike


class LearnedScore(ABC):
    """A score with one parameter. The layer keeps it under its own name, which checkpoints have, so that nothing is kept here."""

    parameter: ClassVar[str]
    takes_edges: ClassVar[bool] = False  # into what it scores; to the others edges add q · (W e)

    @abstractmethod
    def shape(self, heads: int, channels: int) -> tuple[int, ...]:
        """Of the parameter, for queries and keys [..., heads, channels]."""

    @abstractmethod
    def reset(self, parameter: Tensor, channels: int) -> None:
        """Fills the parameter as a new layer has it."""

    @abstractmethod
    def of(self, parameter: Tensor, edge_weight: Tensor | None) -> Score:
        """The score; `edge_weight` [heads, channels, edge_dim] if it `takes_edges` and there are any."""


class LearnedAdditive(LearnedScore):
    """vᵀ activation(q + k + W e)"""

    parameter = "att"
    takes_edges = True

    def __init__(self, activation: str):
        self.activation = activation

    def shape(self, heads: int, channels: int) -> tuple[int, ...]:
        return 1, heads, channels

    def reset(self, parameter: Tensor, channels: int) -> None:
        glorot(parameter)

    def of(self, parameter: Tensor, edge_weight: Tensor | None) -> Score:
        return Additive(parameter[0], edge_weight, self.activation)


class LearnedCosine(LearnedScore):
    """cos(q, k) / temperature, as in Swin Transformer V2 (Liu et al. 2022, sec. 3.2)"""

    parameter = "log_temperature"
    first, least = 0.1, 0.01  # temperatures

    def shape(self, heads: int, channels: int) -> tuple[int, ...]:
        return (heads,)

    def reset(self, parameter: Tensor, channels: int) -> None:
        constant_(parameter, math.log(self.first))

    def of(self, parameter: Tensor, edge_weight: Tensor | None) -> Score:
        return Cosine(parameter.exp().clamp(min=self.least))


class LearnedBilinear(LearnedScore):
    """qᵀ W k"""

    parameter = "score_weight"

    def shape(self, heads: int, channels: int) -> tuple[int, ...]:
        return heads, channels, channels

    def reset(self, parameter: Tensor, channels: int) -> None:
        glorot(parameter)

    def of(self, parameter: Tensor, edge_weight: Tensor | None) -> Score:
        return Bilinear(parameter)


class LearnedGaussian(LearnedScore):
    """-|q - k|² / (2 bandwidth²)"""

    parameter = "log_bandwidth"

    def shape(self, heads: int, channels: int) -> tuple[int, ...]:
        return (heads,)

    def reset(self, parameter: Tensor, channels: int) -> None:
        constant_(parameter, math.log(channels) / 4)  # (q · k) / sqrt(channels), as for 'dot'

    def of(self, parameter: Tensor, edge_weight: Tensor | None) -> Score:
        return Gaussian(parameter.exp())


LEARNED: dict[str, LearnedScore] = {
    "additive": LearnedAdditive("tanh"),
    "gatv2": LearnedAdditive("leaky_relu"),
    "cosine": LearnedCosine(),
    "bilinear": LearnedBilinear(),
    "gaussian": LearnedGaussian(),
}
SCORES = ("dot", *LEARNED)


def learned_score(score: ScoreLike) -> LearnedScore | None:
    """What a layer learns for the score of this name; None for other scores, which know their parameters themselves."""
    return LEARNED.get(score) if isinstance(score, str) else None


def check_score(score: Any) -> None:
    """What a layer can make its scores of."""
    if isinstance(score, Score):
        if score.parameters:
            raise ValueError(
                f"the parameters of a {type(score).__name__} object would not be learned (got {len(score.parameters)}); name the"
                f" score, one of {list(SCORES)}, and the layer has parameters of its own, or give a torch.nn.Module"
            )
    elif isinstance(score, type) or (not callable(score) and score not in SCORES):
        raise ValueError(
            f"'score' must be one of {list(SCORES)}, a Score object, a module or a function (got {score!r})"
        )
