"""Scores of the next token: which tokens are likely enough to be written."""

import math
from typing import Any

import numpy as np
import torch
from torch import Tensor

from graphattn.graphs.sizes import parse_integer

# Below it scores of float32 differ by more than their probabilities can show: the likeliest token alone is left.
LEAST_TEMPERATURE = 1e-5


def likely(scores: Tensor, temperature: float = 1.0, top_k: int | None = None, top_p: float | None = None) -> Tensor:
    """Scores [..., num_tokens] divided by the temperature, -inf for what `top_k` and `top_p` leave out (see `sample`).

    In float32 at least. Of equal scores the first ones stay, as argmax takes them.

    >>> likely(torch.tensor([0.5, 0.3, 0.2]).log(), top_p=0.6).exp()
    tensor([0.5000, 0.3000, 0.0000])
    """
    temperature, top_k, top_p = check_sampling(temperature, top_k, top_p)
    scores = precise(scores)
    if temperature < LEAST_TEMPERATURE:
        top_k = 1
    else:
        scores = (scores / temperature).masked_fill(scores == -torch.inf, -torch.inf)  # -inf / inf is none
    if top_k is None and top_p is None:
        return scores
    values, order = scores.sort(dim=-1, descending=True, stable=True)
    if top_k is not None:
        values[..., top_k:] = -torch.inf
    if top_p is not None:
        probabilities = values.softmax(-1)
        reached = probabilities.cumsum(-1) - probabilities >= top_p  # by the likelier ones alone
        values = values.masked_fill(reached, -torch.inf)
    return torch.empty_like(scores).scatter(-1, order, values)


def precise(scores: Tensor) -> Tensor:
    """In float32 at least: sums of many logarithms and of many probabilities do not fit into half precision."""
    return scores.to(torch.promote_types(scores.dtype, torch.float32))


def checked_scores(scores: Tensor) -> Tensor:
    """What a model says of the next token, `precise`: finite, or -inf for tokens that cannot be.

    A score of inf is that of a certain token: 0 beside -inf for all others.

    Raises:
        ValueError: if a score is nan, or no token of an example can be.
    """
    scores = precise(scores)
    most = scores.amax(-1)  # nan where any is
    if not bool((most > -torch.inf).all()):
        if bool(most.isnan().any()):
            raise ValueError(
                "the scores of the next token must be numbers (got nan from the model); look for nan in its weights and inputs,"
                " and for numbers too great for its dtype"
            )
        raise ValueError("at least one next token must be possible (got scores that are -inf for all of them)")
    is_certain = scores == torch.inf
    has_certain = (most == torch.inf)[..., None]
    return torch.where(has_certain, scores.new_zeros(()).where(is_certain, -torch.inf), scores)


def check_sampling(temperature: Any, top_k: Any, top_p: Any) -> tuple[float, int | None, float | None]:
    """The options as numbers; a `top_p` that drops nothing as None."""
    temperature = parse_number("temperature", temperature)
    if not temperature > 0:
        raise ValueError(f"'temperature' must be positive (got {temperature}); greedy_search is its limit 0")
    top_k = None if top_k is None else parse_integer("top_k", top_k, minimum=1)
    top_p = None if top_p is None else parse_number("top_p", top_p)
    if top_p is not None and not 0 < top_p <= 1:
        raise ValueError(f"'top_p' must be in 0 (excluded) .. 1 (got {top_p})")
    return temperature, top_k, None if top_p == 1 else top_p


def parse_number(name: str, value: Any) -> float:
    if isinstance(value, (bool, np.bool_)) or not isinstance(value, (int, float, np.number)):
        raise TypeError(f"{name!r} must be a number (got {value!r})")
    if math.isnan(value):
        raise ValueError(f"{name!r} must be a number (got {value})")
    return float(value)
