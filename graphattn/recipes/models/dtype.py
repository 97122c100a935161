"""Features in the precision of the weights."""

from typing import TypeVar

from torch import Tensor, nn

Features = TypeVar("Features", Tensor, Tensor | None)


def as_weights(model: nn.Module, features: Features) -> Features:
    """Floating point features in the dtype of the model's weights; NumPy's are float64. Numbers of words and None stay.

    >>> import torch
    >>> as_weights(nn.Linear(2, 1), torch.ones(3, 2, dtype=torch.float64)).dtype
    torch.float32
    """
    if features is None or not features.is_floating_point():
        return features
    return features.to(next(model.parameters()).dtype)
