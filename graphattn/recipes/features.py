"""Features of nodes as a model takes them."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

LARGE = 10.0  # numbers beyond this are brought to mean 0 and deviation 1
FURTHEST = 5.0  # deviations from the mean; what lies beyond counts as this


def scale_of(features: Sequence[Tensor]) -> dict[str, Any]:
    """'mean' and 'deviation' over the nodes of the training examples, or None for both where all numbers are small."""
    if not any(x.numel() and float(x.abs().max()) > LARGE for x in features):
        return {"mean": None, "deviation": None}
    x = torch.cat(list(features))
    return {"mean": x.mean(0), "deviation": x.std(0).clamp(min=1e-6)}


def in_unit(found: Tensor, facts: dict[str, Any]) -> Tensor:
    """Numbers of mean 0 and deviation 1 in the unit of the targets."""
    return found * facts["target_deviation"] + facts["target_mean"]


def scaled(x: Tensor, facts: dict[str, Any]) -> Tensor:
    """Features by what `scale_of` found."""
    if facts["mean"] is None:
        return x
    return ((x - facts["mean"]) / facts["deviation"]).clamp(-FURTHEST, FURTHEST)
