"""The classes and functions that a configuration may name: nothing else is made of a file that came from elsewhere."""

from collections.abc import Callable
from inspect import isabstract
from typing import Any

import torch

from graphattn import nn
from graphattn.formulas import normalizers, scores
from graphattn.nn.linear_attention import elu_plus_one

MODULES: dict[str, type[Any]] = {
    name: kind
    for name in nn.__all__
    if isinstance(kind := getattr(nn, name), type) and issubclass(kind, torch.nn.Module) and not isabstract(kind)
}
# Frozen dataclasses, told by their fields:
FORMULAS: dict[str, type[Any]] = {
    kind.__name__: kind for kind in (*normalizers.NAMED, normalizers.TopK, scores.Dot, scores.Cosine, scores.Gaussian)
}
FUNCTIONS: dict[str, Callable[..., Any]] = {
    "elu_plus_one": elu_plus_one,
    **{name: getattr(torch.nn.functional, name) for name in ("elu", "gelu", "relu", "sigmoid", "silu", "softplus")},
    **{f"torch.{name}": getattr(torch, name) for name in ("exp", "relu", "sigmoid", "tanh")},
}
